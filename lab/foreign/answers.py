"""What a foreign service answered, in the lab's shape; or a sentence about what was wrong with it.

Nothing here trusts an answer: it may be a page of HTML, compressed, millions of bytes, a redirect,
JSON of another shape. What the lab makes of a good answer is the same that its own services
answer; what it makes of any other is a sentence that says what was seen and which line of the
mapping may be meant.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic_core import from_json

from lab.domain.errors import BadAnswer
from lab.foreign.mapping import Asked

MOST_BYTES = 8 * 1024 * 1024
_LONGEST_ID = 512
_GZIP = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")


@dataclass(frozen=True)
class Answered:
    """A whole answer of `service` to `asked`; the names of `headers` are in small letters."""

    service: str
    asked: Asked
    status: int
    headers: Mapping[str, str]
    body: bytes

    def wrong(self, what: str, *, definite: bool = False, shown: int = 502) -> "NotUnderstood":
        """An error that begins with who answered what to which request."""
        begin = f"{self.service} answered {self.status} to {self.asked.words[:120]}"
        return NotUnderstood(f"{begin}: {what}", definite=definite, shown=shown)


class NotUnderstood(BadAnswer):
    """The answer is of no use to the lab. `shown`: the status that the lab answers with, the
    service's own where it has told of a failure by itself."""

    def __init__(self, detail: str, *, definite: bool, shown: int) -> None:
        super().__init__(detail, definite=definite)
        self.shown = shown


def json_of(answered: Answered) -> Any:
    """What its JSON says. Raises NotUnderstood for a failure, a redirect, or no JSON."""
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
        # What they refuse they have not done; of what broke nobody knows how far it came.
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
    """What is at a place in an answer, None when there is nothing."""
    for part in place.split(".") if place else ():
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _unpacked(answered: Answered) -> bytes:
    """The body, decompressed where somebody compressed what was asked for as it is."""
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
    """The sentence about an answer of more than MOST_BYTES."""
    return (
        f"more than {MOST_BYTES // 2**20} MiB, which is as much as is read of one answer. A feed "
        "of all posts grows with every post: begin with an empty blog, or give it a limit."
    )


def id_of(found: Any) -> str:
    """An id as a text, "" where it is none."""
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    text = str(found) if isinstance(found, str) or abs(found) < 10**30 else ""
    return text if len(text) <= _LONGEST_ID else ""


def shown_place(place: str) -> str:
    """A place in an answer, in a sentence."""
    return repr(place) if place else "its top"


def keys_of(value: Any) -> str:
    """What an object has, in a sentence; or that it is none."""
    if isinstance(value, dict):
        names = ", ".join(repr(str(key)[:40]) for key in islice(value, 8))
        return f"has {names}" if names else "is empty"
    return f"is {seen(value)}"


def seen(value: Any) -> str:
    """What was found instead, in a sentence."""
    words: dict[type, str] = {dict: "an object", list: "a list", type(None): "nothing"}
    return words.get(type(value)) or f"{str(value)[:60]!r}"


def _excerpt(body: bytes) -> str:
    text = body[:240].decode(errors="replace").strip()
    return repr(text[:80]) if text else "nothing else"
