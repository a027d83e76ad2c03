"""Decodes the responses of an external service: a post, a comment, the feed, or an error.

No response is trusted: it may be a page of HTML, compressed, millions of bytes long, a redirect, or
JSON of another shape. A good response becomes what the lab's own services would respond. Any other
raises NotUnderstood, whose message says what was seen and which line of the mapping may be wrong.

The mapping says where to look. If a response is ambiguous (all comments so far, after one was
created), the text that was sent decides.
"""

import difflib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic_core import from_json

from lab.domain.errors import BadAnswer
from lab.domain.model import Comment, Post, Status
from lab.external.mapping import Asked, CommentFields, CreateComment, CreatePost, ReadFeed

# ── A response as JSON

MOST_BYTES = 8 * 1024 * 1024
_LONGEST_ID = 512
_GZIP = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")


@dataclass(frozen=True)
class Answered:
    """A whole response of `service` to `asked`. The names of `headers` are in lower case."""

    service: str
    asked: Asked
    status: int
    headers: Mapping[str, str]
    body: bytes

    def wrong(self, what: str, *, definite: bool = False, shown: int = 502) -> "NotUnderstood":
        """An error whose message begins with the service, the status and the request."""
        begin = f"{self.service} answered {self.status} to {self.asked.words[:120]}"
        return NotUnderstood(f"{begin}: {what}", definite=definite, shown=shown)


class NotUnderstood(BadAnswer):
    """The lab can't use the response. `shown`: the status of the lab's own response, which is the
    service's status if that reports an error."""

    def __init__(self, detail: str, *, definite: bool, shown: int) -> None:
        super().__init__(detail, definite=definite)
        self.shown = shown


def json_of(answered: Answered) -> Any:
    """The decoded JSON. Raises NotUnderstood for an error status, a redirect, or no JSON."""
    body = _unpacked(answered)
    status = answered.status
    if 300 <= status < 400:
        to = answered.headers.get("location", "")
        raise answered.wrong(
            f"a redirect to {to[:200]!r}. It is not followed, for then one request would be "
            "measured as if it were two; say with `path` where the answer really is."
        )
    if status >= 400:
        hint = " Is `path` right?" if status in (404, 405) else ""
        # A refused request (4xx) was not executed. After 5xx or 408 it may have been.
        definite = status < 500 and status != 408
        raise answered.wrong(f"{_excerpt(body)}.{hint}", definite=definite, shown=status)
    if not body.strip():
        raise answered.wrong("nothing else, where JSON was expected.")
    if body.lstrip()[:1] == b"<":
        raise answered.wrong(
            f"HTML, which begins with {_excerpt(body)}, where JSON was expected. Is `path` right?"
        )
    try:
        return from_json(body)
    except ValueError as error:
        raise answered.wrong(f"{_excerpt(body)}, which is no JSON ({str(error)[:120]}).") from None


def at(value: Any, place: str) -> Any:
    """The value at a place in a response; None if there is none."""
    for part in place.split(".") if place else ():
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _unpacked(answered: Answered) -> bytes:
    """The body, decompressed if the service compressed it although the request said not to."""
    coding = answered.headers.get("content-encoding", "").strip().lower()
    body = answered.body
    if coding in ("", "identity") or not body:
        return body
    if coding not in ("gzip", "x-gzip", "deflate") or not body.startswith(_GZIP):
        raise answered.wrong(f"it is encoded as {coding[:40]!r}, which nobody had asked for.")
    unpacking = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        plain = unpacking.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise answered.wrong(f"it says that it is {coding}, and is not ({error}).") from None
    if unpacking.unconsumed_tail:
        raise answered.wrong(too_much())
    if not unpacking.eof:
        raise answered.wrong(f"its {coding} breaks off in the middle.")
    return plain


def too_much() -> str:
    """The message about a response of more than MOST_BYTES."""
    return (
        f"more than {MOST_BYTES // 2**20} MiB, which is as much as is read of one answer. A feed "
        "of all posts grows with every post: begin with an empty blog, or give it a limit."
    )


def id_of(found: Any) -> str:
    """An id as text; "" if the value is not an id."""
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    text = str(found) if isinstance(found, str) or abs(found) < 10**30 else ""
    return text if len(text) <= _LONGEST_ID else ""


def shown_place(place: str) -> str:
    """A place in a response, for messages."""
    return repr(place) if place else "its top"


def keys_of(value: Any) -> str:
    """The keys of an object, or what the value is instead; for messages."""
    if isinstance(value, dict):
        names = ", ".join(repr(str(key)[:40]) for key in islice(value, 8))
        return f"has {names}" if names else "is empty"
    return f"is {seen(value)}"


def seen(value: Any) -> str:
    """What was found instead of the expected value, for messages."""
    words: dict[type, str] = {dict: "an object", list: "a list", type(None): "nothing"}
    return words.get(type(value)) or f"{str(value)[:60]!r}"


def _excerpt(body: bytes) -> str:
    text = body[:240].decode(errors="replace").strip()
    return repr(text[:80]) if text else "nothing else"


# ── Posts, comments and the feed

_STATUSES: dict[str, Status] = {
    "pending": "pending",
    "approved": "approved",
    "rejected": "rejected",
}


def created_post(action: CreatePost, answered: Answered, title: str) -> Post:
    """The created post. Raises NotUnderstood."""
    found_id, _ = _created(action.id, json_of(answered), title, answered, "create_post")
    return Post(id=found_id, title=title)


def created_comment(
    action: CreateComment, read: ReadFeed, answered: Answered, post_id: str, content: str
) -> Comment:
    """The created comment. Raises NotUnderstood."""
    found_id, entry = _created(action.id, json_of(answered), content, answered, "create_comment")
    status = _status(read, entry, answered)
    return Comment(id=found_id, post_id=post_id, content=content, status=status)


def feed(
    read: ReadFeed, answered: Answered, limit: int, before: str | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The newest `limit` posts in the shape of the lab's feed, and the number of all posts.

    `before`: only posts that are older than the post with this id; none if that is missing. Ids of
    an external blog do not show a post's age, so the order of the response decides.

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
    """The id of the new post or comment, and the object that contains it."""
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
    """The objects in a list, in an object by id, or in lists below it, the last one first; each
    with its key, which is "" in a list."""
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
    """The id of a post or comment of the feed, and the entry. Raises NotUnderstood."""
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
    """Raise NotUnderstood if no comment has a text: the mapping names the wrong place.

    A single comment without a text can be an incomplete write of a broken system: it gets "".
    """
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
