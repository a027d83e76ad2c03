"""A foreign service's good answers in the lab's shape: a post, a comment, the feed.

Looked for is what the mapping says, and where an answer leaves room for doubt (all comments so far,
where one was created) what was sent decides.
"""

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from lab.domain.model import Comment, Post, Status
from lab.foreign.answers import Answered, at, id_of, json_of, keys_of, seen, shown_place
from lab.foreign.mapping import CommentFields, CreateComment, CreatePost, ReadFeed

_STATUSES: dict[str, Status] = {
    "pending": "pending",
    "approved": "approved",
    "rejected": "rejected",
}


def created_post(action: CreatePost, answered: Answered, title: str) -> Post:
    """The post that was created. Raises NotUnderstood."""
    found_id, _ = _created(action.id, json_of(answered), title, answered, "create_post")
    return Post(id=found_id, title=title)


def created_comment(
    action: CreateComment, read: ReadFeed, answered: Answered, post_id: str, content: str
) -> Comment:
    """The comment that was created. Raises NotUnderstood."""
    found_id, entry = _created(action.id, json_of(answered), content, answered, "create_comment")
    status = _status(read, entry, answered)
    return Comment(id=found_id, post_id=post_id, content=content, status=status)


def feed(
    read: ReadFeed, answered: Answered, limit: int, before: str | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The newest posts as the lab's feed has them, and how many there are in all.

    `before`: only those that stand behind the post with this id; none, if it is not there. Ids say
    nothing about age in other people's blogs, so the order is that of the answer.

    Raises NotUnderstood.
    """
    found = at(json_of(answered), read.posts)
    if not isinstance(found, list | dict):
        raise answered.wrong(
            f"no list of posts and no object by id is at {shown_place(read.posts)}, "
            f"but {seen(found)}. Say with `posts` in [actions.read_feed] where the posts are."
        )
    entries = found if isinstance(found, list) else list(found.items())
    ordered = iter(reversed(entries) if read.newest == "last" else entries)
    with_ids = (_with_id(read.post.id, one, answered) for one in ordered)
    if before is not None:
        for post_id, _ in with_ids:
            if post_id == before:
                break
    page = list(islice(with_ids, limit))
    titles = [at(post, read.post.title) for _, post in page]
    if page and not any(isinstance(title, str) for title in titles):
        raise answered.wrong(
            f"no post has a text at {shown_place(read.post.title)}; "
            f"the newest {keys_of(page[0][1])}. "
            "Say with `post = { title = … }` in [actions.read_feed] where it is."
        )
    shown = [
        {
            "id": post_id,
            "title": title if isinstance(title, str) else "",
            "comments": _comments(read, post_id, post, answered),
        }
        for (post_id, post), title in zip(page, titles, strict=True)
    ]
    _some_comment_has_its_text(read.comment, shown, answered)
    return shown, len(entries)


def _created(
    place: str, value: Any, text: str, answered: Answered, action: str
) -> tuple[str, Mapping[str, Any]]:
    """The id of what was created, and the object in which it was found."""
    whole = value if isinstance(value, dict) else {}
    within = at(value, place.rpartition(".")[0])
    if (not place or "." in place) and (found := id_of(at(value, place))):
        return found, within if isinstance(within, dict) else whole
    if text in whole.values() and (found := id_of(at(whole, place))):
        return found, whole
    for key, entry in _newest_first(value):
        if text in entry.values() and (found := id_of(at(entry, place)) or key):
            return found, entry
    if found := id_of(at(whole, place)):
        return found, whole
    if isinstance(value, list):
        raise answered.wrong(f"a list in which nothing with {text[:40]!r} has an id at {place!r}.")
    near = [key for key in whole if key.lower() in ("_id", "uuid", "key")]
    near += difflib.get_close_matches(place, whole, n=1, cutoff=0.4)
    meant = f'Did you mean `id = "{near[0]}"`' if near else "Say with `id` where it is"
    raise answered.wrong(
        f"no id is at {shown_place(place)}; it {keys_of(value)}. {meant} in [actions.{action}]"
        f"{'?' if near else '.'}"
    )


def _newest_first(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects in a list, in an object by id, or in a list one level down: the last one first.
    With the key under which each stands."""
    if isinstance(value, list):
        for entry in reversed(value):
            if isinstance(entry, dict):
                yield "", entry
    elif isinstance(value, dict):
        for key, entry in reversed(value.items()):
            if isinstance(entry, dict):
                yield key, entry
            elif isinstance(entry, list):
                yield from _newest_first(entry)


def _with_id(place: str, one: Any, answered: Answered) -> tuple[str, Any]:
    """The id of a post or comment of the feed, and itself."""
    key, entry = one if isinstance(one, tuple) else ("", one)
    found = id_of(at(entry, place)) or key
    if not isinstance(entry, dict) or not found:
        raise answered.wrong(
            f"one of them has no id at {shown_place(place)}; it {keys_of(entry)}. "
            "Say with `id` in [actions.read_feed] where it is."
        )
    return found, entry


def _comments(
    read: ReadFeed, post_id: str, post: Mapping[str, Any], answered: Answered
) -> list[dict[str, Any]]:
    found = at(post, read.post.comments)
    if found is None:
        return []
    if not isinstance(found, list | dict):
        raise answered.wrong(
            f"the comments of post {post_id!r} are {seen(found)}, and neither a list nor an object"
        )
    shown = []
    for one in found if isinstance(found, list) else found.items():
        comment_id, comment = _with_id(read.comment.id, one, answered)
        shown.append(
            {
                "id": comment_id,
                "post_id": post_id,
                "content": at(comment, read.comment.content),
                "status": _status(read, comment, answered),
            }
        )
    return shown


def _some_comment_has_its_text(
    fields: CommentFields, posts: list[dict[str, Any]], answered: Answered
) -> None:
    """One that has none is a half-done thing, which broken systems have; if none has, the mapping
    looks in the wrong place."""
    comments = [comment for post in posts for comment in post["comments"]]
    if comments and not any(isinstance(comment["content"], str) for comment in comments):
        raise answered.wrong(
            f"no comment has a text at {shown_place(fields.content)}. "
            "Say with `comment = { content = … }` in [actions.read_feed] where it is."
        )
    for comment in comments:
        if not isinstance(comment["content"], str):
            comment["content"] = ""


def _status(read: ReadFeed, comment: Mapping[str, Any], answered: Answered) -> Status:
    found = at(comment, read.comment.status)
    if found is None:
        return "approved"
    word = str(found) if isinstance(found, str | int) else ""
    status = read.statuses.get(word) or _STATUSES.get(word.lower())
    if status is None:
        raise answered.wrong(
            f"a comment's status is {seen(found)}. Known: pending, approved, rejected; "
            "say with `statuses = { … }` in [actions.read_feed] which of them is meant."
        )
    return status
