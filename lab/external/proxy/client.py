"""The HTTP client of a sidecar: requests to an external service, and the errors when they fail."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress

from lab.domain.errors import BadGateway, DependencyFailed, TimedOut, Unreachable
from lab.external.mapping import ExternalRequest
from lab.external.responses import MAX_BYTES, too_large_message
from lab.support.http_client import (
    ConnectionPool,
    HttpOrigin,
    PendingRequest,
    RequestFailure,
    ResponseHead,
    connect_socket,
)

IDLE_AT_MOST_S = 1.0
"""An idle connection is closed after this time, well before any usual server closes it (Node after
5 s). A request on a connection that the server is closing would look like a failed service, and a
POST can't be sent again to find out."""

_MAX_SUMMARY = 200


class ServicePool(ConnectionPool):
    """Connections to external services. `name`: the service, for messages."""

    def __init__(self, name: str) -> None:
        super().__init__(max_idle_s=IDLE_AT_MOST_S, quick_ack=True)
        self.name = name

    async def open_socket(self, origin: HttpOrigin) -> socket.socket:
        return await connect_to(origin)


async def connect_to(origin: HttpOrigin) -> socket.socket:
    """A socket that is connected to `origin`. Raises OSError.

    If 127.0.0.1 refuses it tries ::1: a server that listens on `localhost` may use only that.
    """
    try:
        return await connect_socket(socket.AF_INET, origin)
    except ConnectionRefusedError as refused:
        if not socket.has_ipv6:
            raise
        with suppress(OSError):
            return await connect_socket(socket.AF_INET6, HttpOrigin("::1", origin.port))
        raise refused from None


# ── Errors


def unreachable_error(name: str, origin: HttpOrigin, error: OSError) -> Unreachable:
    """The error for a failed connection. The request was not sent, so nothing was done."""
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{name} can't be asked: nothing listens on port {origin.port}.")
    return Unreachable(f"{name} can't be asked at {origin}: {error.strerror or error}.")


def dependency_error(
    name: str, pending: PendingRequest, failure: RequestFailure
) -> DependencyFailed:
    """The error for a request without a complete response."""
    if failure.os_error is not None:
        return unreachable_error(name, pending.origin, failure.os_error)
    hint = " Its log may say why." if failure.error == "reset" else ""
    # The request was sent, so the service may have executed it.
    return BadGateway(
        f"{name} answered with {failure.received}; asked was {_summary(pending)}.{hint}",
        definite=False,
    )


def _summary(pending: PendingRequest) -> str:
    """`POST /posts`, for messages."""
    return b" ".join(pending.request.split(b" ", 2)[:2])[:_MAX_SUMMARY].decode("latin-1")


# ── Whole responses


def encode_request(
    request: ExternalRequest, origin: HttpOrigin, trace_headers: Mapping[str, str] | None = None
) -> bytes:
    """A request of the lab, encoded for HTTP/1.1."""
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: localhost:{origin.port}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        *(
            f"{name}: {value}"
            for name, value in (*request.headers.items(), *(trace_headers or {}).items())
        ),
    ]
    if request.body:
        lines.append("Content-Type: application/json")
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + request.body


class _ResponseCollector:
    """A response sink that collects a response; with `head_only` it waits for the head only."""

    def __init__(self, head_only: bool) -> None:
        self._head_only = head_only
        self.result: asyncio.Future[tuple[ResponseHead, bytes] | RequestFailure] = (
            asyncio.get_running_loop().create_future()
        )
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._bytes = 0

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool, at_s: float) -> None:
        if self.result.done():
            return
        self._head = head or self._head
        self._bytes += len(body)
        self._pieces.append(body)
        if self._bytes > MAX_BYTES:
            self.result.set_result(RequestFailure("too_large", at_s, too_large_message()))
        elif complete or self._head_only:
            assert self._head is not None
            self.result.set_result((self._head, b"".join(self._pieces)))

    def failed(self, failure: RequestFailure) -> None:
        if not self.result.done():
            self.result.set_result(failure)

    def pause_sending(self, paused: bool) -> None:
        """Nothing to do: the request was sent in one piece."""


async def fetch(
    pool: ServicePool,
    origin: HttpOrigin,
    request: bytes,
    within_s: float,
    *,
    retryable: bool = False,
    head_only: bool = False,
) -> tuple[ResponseHead, bytes]:
    """Send a request; returns the head and the body of the response.

    Raises Unreachable (nothing was sent), TimedOut, BadGateway (the service may have executed it).
    """
    collector = _ResponseCollector(head_only)
    pending = PendingRequest(origin, request, collector, retryable=retryable)
    pending.fail_after(within_s, asyncio.get_running_loop())
    pool.submit(pending)
    try:
        result = await collector.result
    finally:
        pending.cancel()
    if not isinstance(result, RequestFailure):
        return result
    if result.error == "timeout":
        raise TimedOut(f"{pool.name} did not answer within {within_s:g} s.")
    if result.error == "too_large":
        raise BadGateway(f"{pool.name} answered with {result.received}", definite=False)
    raise dependency_error(pool.name, pending, result)
