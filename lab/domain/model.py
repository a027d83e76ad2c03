"""Posts and comments, and the one rule about them.

All arrangements use these definitions, so the twins cannot differ in what a post is.
"""

import re
import secrets
import threading
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

Status = Literal["pending", "approved", "rejected"]

FORBIDDEN_WORD = "orange"


def _strip(text: str) -> str:
    if not (stripped := text.strip()):
        raise PydanticCustomError("blank", "String should have a character that is no white space")
    return stripped


# The lengths are those of the text as it was sent, because JSON Schema can't describe stripping.
_STRIPPED = AfterValidator(_strip)
# The white space of `str.strip`: the `\\s` of JSON Schema has another.
_NOT_BLANK = Field(
    json_schema_extra={
        "pattern": r"[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    }
)

Title = Annotated[str, StringConstraints(min_length=1, max_length=200), _STRIPPED, _NOT_BLANK]
Content = Annotated[str, StringConstraints(min_length=1, max_length=2_000), _STRIPPED, _NOT_BLANK]

Limit = Annotated[int, Field(ge=1, le=100)]
RecordNumber = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A number that SQLite stores; 0 stands before the first record."""


class Value(BaseModel):
    """A frozen value, validated strictly: no unknown fields, no `1` for `"1"`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class PostDraft(Value):
    """What a client sends to create a post."""

    title: Title


class CommentDraft(Value):
    """What a client sends to create a comment, or to get a verdict on one."""

    content: Content


class Post(Value):
    id: str
    title: str


class Comment(Value):
    id: str
    post_id: str
    content: str
    status: Status


class ModerationVerdict(Value):
    status: Status


class ModerationRecord(Value):
    """A verdict as `moderation` stores it; `number` counts from 1."""

    number: int
    content: str
    status: Status


class HopInfo(Value):
    """What one additional hop returns: only its name."""

    of: str


class FeedEntry(Value):
    """A post in the feed, with its comments, oldest first."""

    id: str
    title: str
    comments: list[Comment]


def feed_of(posts: Iterable[Post], comments: Iterable[Comment]) -> list[FeedEntry]:
    """The feed: the posts in the order given, each with its comments."""
    by_post: dict[str, list[Comment]] = {}
    for comment in comments:
        by_post.setdefault(comment.post_id, []).append(comment)
    return [
        FeedEntry(id=post.id, title=post.title, comments=by_post.get(post.id, [])) for post in posts
    ]


def moderate_content(content: str) -> Status:
    """The moderation rule: a comment that contains the forbidden word is rejected."""
    return "rejected" if FORBIDDEN_WORD in content else "approved"


_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(f"[0-7][{_BASE32}]{{13}}")  # up to the year 2255
clock: Any = time
"""What new ids take their time from: a simulation has its own clock."""
_last_microsecond = 0
_id_lock = threading.Lock()


def new_id() -> str:
    """A new identifier of 14 characters; as text, those of a service sort in order of creation.

    Eleven characters of Crockford's base 32 hold the microsecond, three are random, so that two
    processes in the same microsecond rarely collide. The microsecond grows strictly, even when the
    clock goes back: within a process, and after `continue_ids_after` also across restarts. The idea
    is the ULID's (github.com/ulid/spec), shorter to fit tables.
    """
    global _last_microsecond
    with _id_lock:
        _last_microsecond = max(_last_microsecond + 1, clock.time_ns() // 1_000)
        number = _last_microsecond << 15 | secrets.randbits(15)
    return "".join(_BASE32[number >> shift & 31] for shift in range(65, -1, -5))


def continue_ids_after(newest: str) -> None:
    """Let the next new identifiers be greater than `newest`; a text of another form is ignored."""
    global _last_microsecond
    if _ID.fullmatch(newest):
        microsecond = 0
        for character in newest[:11]:
            microsecond = microsecond << 5 | _BASE32.index(character)
        with _id_lock:
            _last_microsecond = max(_last_microsecond, microsecond)
