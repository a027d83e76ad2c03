"""A question to a foreign service: a request under way, and who hears the answer to it."""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lab.domain.errors import DependencyFailed
from lab.external.mapping import Asked

Headers = list[tuple[bytes, bytes]]
_LONGEST_WORDS = 200


class Origin(NamedTuple):
    """Where something listens on this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def written(asked: Asked, origin: Origin, story: str | None = None) -> bytes:
    """A request of ours as bytes. `story`: its traceparent."""
    lines = [
        f"{asked.method} {asked.path} HTTP/1.1",
        f"Host: localhost:{origin.port}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        *(f"{name}: {value}" for name, value in asked.headers.items()),
    ]
    if asked.body:
        lines.append("Content-Type: application/json")
    if asked.body or asked.method != "GET":
        lines.append(f"Content-Length: {len(asked.body)}")
    if story:
        lines.append(f"traceparent: {story}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + asked.body


class Head(NamedTuple):
    """What an answer begins with."""

    status: int
    reason: bytes
    headers: Headers


class Hearer(Protocol):
    """Who hears the answer to a question: any number of `hear`, or `failed` at any time."""

    def hear(self, head: Head | None, body: bytes, over: bool) -> None:
        """The next piece; `head` comes with the first one, `over` with the last."""

    def failed(self, failure: DependencyFailed) -> None:
        """There is no answer, or no end of it."""

    def hold_back(self, back: bool) -> None:
        """Write no more of the question for now (True), or go on; also said when a question that
        had to wait for a new connection has one."""


class Carrier(Protocol):
    """The connection that carries a question."""

    question: "Question | None"
    transport: asyncio.Transport


@dataclass(slots=True, eq=False)
class Question:
    """A request under way. `may_repeat`: it may be sent again when it met a connection that was
    just being closed. `bodiless`: its answer has no body, whatever its head says (HEAD). `whole`:
    all of it has been written."""

    origin: Origin
    request: bytes
    hearer: Hearer
    may_repeat: bool = False
    bodiless: bool = False
    whole: bool = True
    connection: "Carrier | None" = None
    connecting: asyncio.Task[None] | None = None

    @property
    def words(self) -> str:
        """`POST /posts`, for sentences about it."""
        return b" ".join(self.request.split(b" ", 2)[:2])[:_LONGEST_WORDS].decode("latin-1")

    def write(self, more: bytes) -> None:
        """Send more of its body; only once it has a connection."""
        self.may_repeat = False
        if self.connection is not None and self.connection.question is self:
            self.connection.transport.write(more)

    def pause(self, pause: bool) -> None:
        """Take in no more of the answer for now (True), or go on."""
        if self.connection is not None and self.connection.question is self:
            if pause:
                self.connection.transport.pause_reading()
            else:
                self.connection.transport.resume_reading()

    def drop(self) -> None:
        """Nobody wants the answer any more: its hearer hears nothing from now on."""
        if self.connecting is not None:
            self.connecting.cancel()
        elif self.connection is not None and self.connection.question is self:
            self.connection.question = None
            self.connection.transport.abort()
