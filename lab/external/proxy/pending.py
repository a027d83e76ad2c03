"""A pending request to an external service, and the interface that receives its response."""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lab.domain.errors import DependencyFailed
from lab.external.mapping import ExternalRequest

Headers = list[tuple[bytes, bytes]]
_MAX_SUMMARY = 200


class ServiceOrigin(NamedTuple):
    """Host and port of a service on this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def encode_request(
    request: ExternalRequest, origin: ServiceOrigin, trace_parent: str | None = None
) -> bytes:
    """A request of the lab, encoded for HTTP/1.1. `story`: its traceparent header."""
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: localhost:{origin.port}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    if request.body:
        lines.append("Content-Type: application/json")
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    if trace_parent:
        lines.append(f"traceparent: {trace_parent}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body


class ResponseHead(NamedTuple):
    """Status and headers of a response."""

    status: int
    reason: bytes
    headers: Headers


class ResponseSink(Protocol):
    """A response sink: gets any number of calls of `hear`, or `failed` at any time."""

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool) -> None:
        """The next piece. The first has a `head`; for the last, `over` is true."""

    def failed(self, failure: DependencyFailed) -> None:
        """There is no response, or it is incomplete."""

    def pause_sending(self, paused: bool) -> None:
        """Write no more of the request for now (True), or go on. Also called when a request that
        had to wait for a new connection gets it."""


class RequestConnection(Protocol):
    """The connection that carries a request."""

    pending: "PendingRequest | None"
    transport: asyncio.Transport


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A pending request.

    `may_repeat`: it may be sent again if its connection was just being closed. `bodiless`: its
    response has no body, whatever the headers say (HEAD). `whole`: all of it has been written.
    """

    origin: ServiceOrigin
    request: bytes
    sink: ResponseSink
    retryable: bool = False
    bodiless: bool = False
    fully_sent: bool = True
    connection: "RequestConnection | None" = None
    connecting: asyncio.Task[None] | None = None

    @property
    def summary(self) -> str:
        """`POST /posts`, for messages."""
        return b" ".join(self.request.split(b" ", 2)[:2])[:_MAX_SUMMARY].decode("latin-1")

    def write(self, more: bytes) -> None:
        """Send more of its body. It must have a connection."""
        self.retryable = False
        if self.connection is not None and self.connection.pending is self:
            self.connection.transport.write(more)

    def pause_receiving(self, paused: bool) -> None:
        """Read no more of the response for now (True), or go on."""
        if self.connection is not None and self.connection.pending is self:
            if paused:
                self.connection.transport.pause_reading()
            else:
                self.connection.transport.resume_reading()

    def cancel(self) -> None:
        """Cancel the request: its response sink is not called again."""
        if self.connecting is not None:
            self.connecting.cancel()
        elif self.connection is not None and self.connection.pending is self:
            self.connection.pending = None
            self.connection.transport.abort()
