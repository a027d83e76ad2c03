"""A pending request to an external service, and the interface that receives its response."""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lab.domain.errors import DependencyFailed
from lab.external.mapping import Asked

Headers = list[tuple[bytes, bytes]]
_LONGEST_WORDS = 200


class Origin(NamedTuple):
    """Host and port of a service on this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def written(asked: Asked, origin: Origin, story: str | None = None) -> bytes:
    """A request of the lab, encoded for HTTP/1.1. `story`: its traceparent header."""
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
    """Status and headers of a response."""

    status: int
    reason: bytes
    headers: Headers


class Hearer(Protocol):
    """A response sink: gets any number of calls of `hear`, or `failed` at any time."""

    def hear(self, head: Head | None, body: bytes, over: bool) -> None:
        """The next piece. The first has a `head`; for the last, `over` is true."""

    def failed(self, failure: DependencyFailed) -> None:
        """There is no response, or it is incomplete."""

    def hold_back(self, back: bool) -> None:
        """Write no more of the request for now (True), or go on. Also called when a request that
        had to wait for a new connection gets it."""


class Carrier(Protocol):
    """The connection that carries a request."""

    question: "Question | None"
    transport: asyncio.Transport


@dataclass(slots=True, eq=False)
class Question:
    """A pending request.

    `may_repeat`: it may be sent again if its connection was just being closed. `bodiless`: its
    response has no body, whatever the headers say (HEAD). `whole`: all of it has been written.
    """

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
        """`POST /posts`, for messages."""
        return b" ".join(self.request.split(b" ", 2)[:2])[:_LONGEST_WORDS].decode("latin-1")

    def write(self, more: bytes) -> None:
        """Send more of its body. It must have a connection."""
        self.may_repeat = False
        if self.connection is not None and self.connection.question is self:
            self.connection.transport.write(more)

    def pause(self, pause: bool) -> None:
        """Read no more of the response for now (True), or go on."""
        if self.connection is not None and self.connection.question is self:
            if pause:
                self.connection.transport.pause_reading()
            else:
                self.connection.transport.resume_reading()

    def drop(self) -> None:
        """Cancel the request: its response sink is not called again."""
        if self.connecting is not None:
            self.connecting.cancel()
        elif self.connection is not None and self.connection.question is self:
            self.connection.question = None
            self.connection.transport.abort()
