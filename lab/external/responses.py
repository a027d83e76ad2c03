"""Decodes the responses of an external service: a post, a comment, the feed, or an error.

No response is trusted: it may be a page of HTML, compressed, millions of bytes long, a redirect, or
JSON of another shape. A good response becomes what the lab's own services would respond. Any other
raises UnexpectedResponse, whose message says what was seen and which line of the mapping may be
wrong.

The mapping says where to look. If a response is ambiguous (all comments so far, after one was
created), the text that was sent decides.
"""

import difflib
import html
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic_core import from_json

from lab.domain.errors import BadGateway
from lab.domain.model import Comment, Post, Status
from lab.external.mapping import CommentFields, CreateComment, CreatePost, ExternalRequest, ReadFeed
from lab.support.text import plain

# ── A response as JSON

MAX_BYTES = 8 * 1024 * 1024
_MAX_ID_LENGTH = 512
_MAX_ERROR_BYTES = 65_536
_COMPRESSED_MAGIC = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")


@dataclass(frozen=True)
class ExternalResponse:
    """A whole response of `service` to `request`. The names of `headers` are in lower case."""

    service: str
    request: ExternalRequest
    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(
        self, problem: str, *, definite: bool = False, response_status: int = 502
    ) -> "UnexpectedResponse":
        """An error whose message begins with the service, the status and the request."""
        begin = f"{self.service} answered {self.status} to {self.request.summary[:120]}"
        return UnexpectedResponse(
            f"{begin}: {problem}", definite=definite, response_status=response_status
        )


class UnexpectedResponse(BadGateway):
    """The lab can't use the response. `response_status`: the status of the lab's own response; that
    of the service, if it reports an error."""

    def __init__(self, detail: str, *, definite: bool, response_status: int) -> None:
        super().__init__(detail, definite=definite)
        self.response_status = response_status

    def problem(self) -> dict[str, Any]:
        """`answered` tells it from the problem of a request without a response."""
        return {**super().problem(), "answered": True}


class CreatedWithoutId(UnexpectedResponse):
    """The service reports success, and no id. Its problem document has `created`: true."""

    def problem(self) -> dict[str, Any]:
        return {**super().problem(), "created": True}


def decode_json(response: ExternalResponse) -> Any:
    """The decoded JSON. Raises UnexpectedResponse for an error status, a redirect, or no JSON."""
    body = _decompressed_body(response)
    status = response.status
    if 300 <= status < 400:
        location = response.headers.get("location", "")
        raise response.error(
            f"a redirect to {location[:200]!r}. It is not followed, for then one request would be "
            "measured as if it were two; say with `path` where the answer really is."
        )
    if status >= 400:
        hint = " Is `path` right?" if status in (404, 405) else ""
        # A refused request (4xx) was not executed. After 5xx or 408 it may have been.
        definite = status < 500 and status != 408
        message = error_message(body) or _excerpt(body)
        raise response.error(f"{message}.{hint}", definite=definite, response_status=status)
    if not body.strip():
        raise response.error("nothing else, where JSON was expected.")
    if body.lstrip()[:1] == b"<":
        raise response.error(
            f"HTML, which begins with {_excerpt(body)}, where JSON was expected. Is `path` right?"
        )
    try:
        return from_json(body)
    except ValueError as error:
        raise response.error(f"{_excerpt(body)}, which is no JSON ({str(error)[:120]}).") from None


def value_at(value: Any, path: str) -> Any:
    """The value at a place in a response; None if there is none."""
    for key in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _decompressed_body(response: ExternalResponse) -> bytes:
    """The body, decompressed if the service compressed it although the request said not to."""
    coding = response.headers.get("content-encoding", "").strip().lower()
    body = response.body
    if coding in ("", "identity") or not body:
        return body
    if coding not in ("gzip", "x-gzip", "deflate") or not body.startswith(_COMPRESSED_MAGIC):
        raise response.error(f"it is encoded as {coding[:40]!r}, which the request did not accept.")
    unpacking = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
    try:
        plain = unpacking.decompress(body, MAX_BYTES)
    except zlib.error as error:
        raise response.error(f"it says that it is {coding}, and is not ({error}).") from None
    if unpacking.unconsumed_tail:
        raise response.error(too_large_message())
    if not unpacking.eof:
        raise response.error(f"its {coding} breaks off in the middle.")
    return plain


def too_large_message() -> str:
    """The message about a response of more than MAX_BYTES."""
    return (
        f"more than {MAX_BYTES // 2**20} MiB, which is as much as is read of one answer. A feed "
        "of all posts grows with every post: begin with an empty blog, or give it a limit."
    )


def id_text(value: Any) -> str:
    """An id as text; "" if the value is not an id."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value) if isinstance(value, str) or abs(value) < 10**30 else ""
    return text if len(text) <= _MAX_ID_LENGTH else ""


def describe_path(path: str) -> str:
    """A place in a response, for messages."""
    return repr(path) if path else "its top"


def describe_keys(value: Any) -> str:
    """The keys of an object, or what the value is instead; for messages."""
    if isinstance(value, dict):
        names = ", ".join(repr(str(key)[:40]) for key in islice(value, 8))
        return f"has {names}" if names else "is empty"
    return f"is {describe(value)}"


def describe(value: Any) -> str:
    """What was found instead of the expected value, for messages."""
    names: dict[type, str] = {dict: "an object", list: "a list", type(None): "nothing"}
    return names.get(type(value)) or f"{str(value)[:60]!r}"


_MESSAGE_TAGS = ("pre", "h1", "title", "body")
_MESSAGE_KEYS = ("message", "detail", "error", "title", "msg")
_MAX_MESSAGE_LENGTH = 160


def error_message(body: bytes) -> str:
    """The message in an error page or in the JSON of an error, quoted; "" if there is none.

    Express has it in `<pre>`, with the stack trace behind it; Flask and nginx in `<h1>`.
    """
    text = body[:_MAX_ERROR_BYTES].decode(errors="replace")
    if text.lstrip().startswith("<"):
        contents = (
            re.search(rf"<{tag}[^>]*>(.*?)(?:<br|</{tag}>|$)", text, re.DOTALL | re.IGNORECASE)
            for tag in _MESSAGE_TAGS
        )
        found = [html.unescape(re.sub(r"<[^>]*>", " ", match[1])) for match in contents if match]
        message = next((each for each in found if each.strip()), "")
    else:
        message = _message_in_json(body)
    return repr(plain(message, _MAX_MESSAGE_LENGTH)) if message.strip() else ""


def _message_in_json(body: bytes) -> str:
    try:
        value = from_json(body)
    except ValueError:
        return ""
    for _ in range(2):  # {"error": {"message": "…"}}
        if isinstance(value, dict):
            value = next((value[key] for key in _MESSAGE_KEYS if value.get(key)), None)
    return value if isinstance(value, str) else ""


def _excerpt(body: bytes) -> str:
    text = body[:240].decode(errors="replace").strip()
    return repr(text[:80]) if text else "nothing else"


# ── Posts, comments and the feed

_JSON_OR_HTML = (b"<", b"{", b"[")
_STATUSES: dict[str, Status] = {
    "pending": "pending",
    "approved": "approved",
    "rejected": "rejected",
}


def decode_post(action: CreatePost, response: ExternalResponse, title: str) -> Post:
    """The created post. Raises UnexpectedResponse."""
    value = _decode_created(response)
    found_id, _ = _find_created(action.id, value, title, response, "create_post")
    return Post(id=found_id, title=title)


def decode_comment(
    action: CreateComment,
    read_feed: ReadFeed,
    response: ExternalResponse,
    post_id: str,
    content: str,
) -> Comment:
    """The created comment. Raises UnexpectedResponse."""
    value = _decode_created(response)
    found_id, entry = _find_created(action.id, value, content, response, "create_comment")
    status = _decode_status(read_feed, entry, response)
    return Comment(id=found_id, post_id=post_id, content=content, status=status)


def decode_feed(
    read_feed: ReadFeed, response: ExternalResponse, limit: int, before: str | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The newest `limit` posts in the shape of the lab's feed, and the number of all posts.

    `before`: only posts that are older than the post with this id; none if that is missing. Ids of
    an external blog do not show a post's age, so the order of the response decides.

    Raises UnexpectedResponse.
    """
    found = value_at(decode_json(response), read_feed.posts)
    if not isinstance(found, list | dict):
        raise response.error(
            f"no list of posts and no object by id is at {describe_path(read_feed.posts)}, "
            f"but {describe(found)}. Say with `posts` in [actions.read_feed] where the posts are."
        )
    entries = found if isinstance(found, list) else list(found.items())
    ordered = iter(reversed(entries) if read_feed.newest == "last" else entries)
    with_ids = (_identify(read_feed.post.id, entry, response) for entry in ordered)
    if before is not None:
        for post_id, _ in with_ids:
            if post_id == before:
                break
    page = list(islice(with_ids, limit))
    titles = [value_at(post, read_feed.post.title) for _, post in page]
    if page and not any(isinstance(title, str) for title in titles):
        raise response.error(
            f"no post has a text at {describe_path(read_feed.post.title)}; "
            f"the newest {describe_keys(page[0][1])}. "
            "Say with `post = { title = … }` in [actions.read_feed] where it is."
        )
    posts = [
        {
            "id": post_id,
            "title": title if isinstance(title, str) else "",
            "comments": _decode_comments(read_feed, post_id, post, response),
        }
        for (post_id, post), title in zip(page, titles, strict=True)
    ]
    _check_comment_texts(read_feed.comment, posts, response)
    return posts, len(entries)


def _decode_created(response: ExternalResponse) -> Any:
    """The decoded JSON. Raises CreatedWithoutId for a success in words, UnexpectedResponse for
    all other responses that are no JSON."""
    try:
        return decode_json(response)
    except UnexpectedResponse as error:
        body = _decompressed_body(response)
        if 200 <= response.status < 300 and body.lstrip()[:1] not in _JSON_OR_HTML:
            raise CreatedWithoutId(error.detail, definite=False, response_status=502) from None
        raise


def _find_created(
    path: str, value: Any, text: str, response: ExternalResponse, action: str
) -> tuple[str, Mapping[str, Any]]:
    """The id of the new post or comment, and the object that contains it."""
    whole = value if isinstance(value, dict) else {}
    parent = value_at(value, path.rpartition(".")[0])
    if (not path or "." in path) and (found := id_text(value_at(value, path))):
        return found, parent if isinstance(parent, dict) else whole
    if text in whole.values() and (found := id_text(value_at(whole, path))):
        return found, whole
    for key, entry in _newest_first(value):
        if text in entry.values() and (found := id_text(value_at(entry, path)) or key):
            return found, entry
    if found := id_text(value_at(whole, path)):
        return found, whole
    if isinstance(value, list):
        problem = f"a list in which nothing with {text[:40]!r} has an id at {path!r}."
        raise _without_id(response, problem)
    near = [key for key in whole if key.lower() in ("_id", "uuid", "key")]
    near += difflib.get_close_matches(path, whole, n=1, cutoff=0.4)
    seen = f"no id is at {describe_path(path)}; it {describe_keys(value)}."
    if near:
        hint = f'Did you mean `id = "{near[0]}"` in [actions.{action}]?'
    else:
        hint = f'Say with `id` in [actions.{action}] where it is; "" means the whole answer.'
    raise _without_id(response, f"{seen} {hint}")


def _without_id(response: ExternalResponse, problem: str) -> CreatedWithoutId:
    detail = response.error(problem).detail
    return CreatedWithoutId(detail, definite=False, response_status=502)


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


def _identify(path: str, item: Any, response: ExternalResponse) -> tuple[str, Any]:
    """The id of a post or comment of the feed, and the entry. Raises UnexpectedResponse."""
    key, entry = item if isinstance(item, tuple) else ("", item)
    found = id_text(value_at(entry, path)) or key
    if not isinstance(entry, dict) or not found:
        raise response.error(
            f"one of them has no id at {describe_path(path)}; it {describe_keys(entry)}. "
            "Say with `id` in [actions.read_feed] where it is."
        )
    return found, entry


def _decode_comments(
    read_feed: ReadFeed, post_id: str, post: Mapping[str, Any], response: ExternalResponse
) -> list[dict[str, Any]]:
    found = value_at(post, read_feed.post.comments)
    if found is None:
        return []
    if not isinstance(found, list | dict):
        raise response.error(
            f"the comments of post {post_id!r} are {describe(found)}, "
            "and neither a list nor an object"
        )
    decoded = []
    for item in found if isinstance(found, list) else found.items():
        comment_id, comment = _identify(read_feed.comment.id, item, response)
        decoded.append(
            {
                "id": comment_id,
                "post_id": post_id,
                "content": value_at(comment, read_feed.comment.content),
                "status": _decode_status(read_feed, comment, response),
            }
        )
    return decoded


def _check_comment_texts(
    fields: CommentFields, posts: list[dict[str, Any]], response: ExternalResponse
) -> None:
    """Raise UnexpectedResponse if no comment has a text: the mapping names the wrong place.

    A single comment without a text can be an incomplete write of a broken system: it gets "".
    """
    comments = [comment for post in posts for comment in post["comments"]]
    if comments and not any(isinstance(comment["content"], str) for comment in comments):
        raise response.error(
            f"no comment has a text at {describe_path(fields.content)}. "
            "Say with `comment = { content = … }` in [actions.read_feed] where it is."
        )
    for comment in comments:
        if not isinstance(comment["content"], str):
            comment["content"] = ""


def _decode_status(
    read_feed: ReadFeed, comment: Mapping[str, Any], response: ExternalResponse
) -> Status:
    found = value_at(comment, read_feed.comment.status)
    if found is None:
        return "approved"
    word = str(found) if isinstance(found, str | int) else ""
    status = read_feed.statuses.get(word) or _STATUSES.get(word.lower())
    if status is None:
        raise response.error(
            f"a comment's status is {describe(found)}. Known: pending, approved, rejected; "
            "say with `statuses = { … }` in [actions.read_feed] which of them is meant."
        )
    return status
