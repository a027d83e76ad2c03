"""HTTP client for external services: connections, a pool of them, and whole responses.

A connection carries one request at a time. It passes each piece of the response on as it arrives,
and the receiver can pause it, so a response of a gigabyte needs no more memory than one of a
kilobyte. The pool keeps idle connections for the next request. `gather` returns a whole response,
limited in bytes and in time.
"""

import asyncio
import socket
from contextlib import suppress
from time import perf_counter
from typing import Protocol

import httptools

from lab.domain.errors import BadGateway, DependencyFailed, TimedOut, Unreachable
from lab.external.proxy.pending import Headers, PendingRequest, ResponseHead, ServiceOrigin
from lab.external.proxy.sockets import acknowledge_now
from lab.external.responses import MAX_BYTES, too_large_message

# ── Connection

IDLE_AT_MOST_S = 1.0
"""An idle connection is closed after this time, well before any usual server closes it (Node after
5 s). A request on a connection that the server is closing would look like a failed service, and a
POST can't be sent again to find out."""

MAX_HEAD_BYTES = 64 * 1024
_STALE_WITHIN_S = 0.002
_LOG_HINT = " Its log may say why."


class ConnectionOwner(Protocol):
    """What a connection reports to its pool."""

    def release(self, connection: "ServiceConnection") -> None:
        """The response is complete: the connection can be used again."""

    def forget(self, connection: "ServiceConnection") -> None:
        """The connection has ended."""

    def connect(self, pending: PendingRequest) -> None:
        """The connection ended before the request arrived: use a new one."""


class ServiceConnection(asyncio.Protocol):
    """A kept-alive connection. `begin` sends a request; `question.hearer` gets the response."""

    def __init__(
        self, owner: ConnectionOwner, name: str, origin: ServiceOrigin, sock: socket.socket
    ) -> None:
        self.owner, self.name, self.origin, self.sock = owner, name, origin, sock
        self.parser = httptools.HttpResponseParser(self)
        self.pending: PendingRequest | None = None
        self.idle_since_s = 0.0
        self.uses = 0
        self.writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, pending: PendingRequest) -> None:
        self.pending = pending
        pending.connection = self
        self.uses += 1
        self.reason, self.headers = b"", Headers()
        self.head_bytes = self.body_bytes = 0
        self.received_any = self.head_forwarded = self.head_complete = self.has_length = (
            self.complete
        ) = False
        self.reusable = False
        self.pieces: list[bytes] = []
        self.sent_at_s = perf_counter()
        self.transport.write(pending.request)

    def is_usable(self) -> bool:
        """Whether the peer still holds this idle connection, as far as the kernel knows now."""
        if self.transport.is_closing() or perf_counter() - self.idle_since_s > IDLE_AT_MOST_S:
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False  # it has ended, or has bytes that belong to no request

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.pending is not None:
            self.pending.sink.pause_sending(True)

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.pending is not None:
            self.pending.sink.pause_sending(False)

    def data_received(self, data: bytes) -> None:
        if self.pending is None:
            self.transport.abort()
            return
        self.received_any = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:  # bytes after a complete response only end the connection
                self._fail(f"something that is no HTTP; it begins with {bytes(data[:60])!r}")
                return
            self.reusable = False
        if not self.complete:
            acknowledge_now(self.sock)
        if not self.head_complete:
            self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES:
            self._fail(f"more than {MAX_HEAD_BYTES // 1024} KiB of headers")
            return
        self._forward_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.forget(self)
        pending = self.pending
        if pending is None:
            return
        if self.head_complete and not self.has_length and exc is None:
            self.complete = True  # a body without a length ends with its connection
            self._forward_received()
        elif self._was_stale(exc):
            self.pending = pending.connection = None
            pending.retryable = False
            self.owner.connect(pending)
        elif self.received_any:
            self._fail(
                f"the beginning of an answer, {self.body_bytes} bytes of it, and closed", _LOG_HINT
            )
        else:
            self._fail("nothing, and closed the connection", _LOG_HINT)

    def _was_stale(self, exc: Exception | None) -> bool:
        return (
            self.pending is not None
            and self.pending.retryable
            and self.uses > 1
            and not self.received_any
            and not isinstance(exc, ConnectionResetError)
            and perf_counter() - self.sent_at_s < _STALE_WITHIN_S
        )

    def _forward_received(self) -> None:
        """Pass on what has arrived since the last call."""
        pending = self.pending
        assert pending is not None
        if not (self.head_complete or self.complete):
            return
        if pending.bodiless:
            self.complete, self.reusable, self.pieces = True, False, []
        head = None
        if not self.head_forwarded:
            head = ResponseHead(self.parser.get_status_code(), self.reason, self.headers)
            self.head_forwarded = True
        body = b"".join(self.pieces)
        self.pieces.clear()
        if self.complete:
            self.pending = None
            if self.reusable and pending.fully_sent:
                self.owner.release(self)
            else:
                self.transport.abort()
        if head or body or self.complete:
            pending.sink.receive(head, body, self.complete)

    def _fail(self, received: str, hint: str = "") -> None:
        pending, self.pending = self.pending, None
        self.transport.abort()
        assert pending is not None
        # The request was sent, so the service may have executed it.
        detail = f"{self.name} answered with {received}; asked was {pending.summary}.{hint}"
        error = BadGateway(detail, definite=False)
        pending.sink.failed(error)

    # Callbacks of the parser. It swallows exceptions, so they only store what was parsed.

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_complete:
            return  # a trailer after a chunked body
        self.headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.has_length = True

    def on_headers_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.head_complete = True
        else:  # 1xx comes before the final response
            self.reason, self.headers = b"", []

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.complete, self.reusable = True, self.parser.should_keep_alive()


# ── Pool


class ConnectionPool:
    """Sends requests over kept-alive connections. `name`: the service, for messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._idle: dict[ServiceOrigin, list[ServiceConnection]] = {}
        self._open: set[ServiceConnection] = set()
        self._connecting: set[PendingRequest] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def send(self, pending: PendingRequest) -> None:
        """Send a request now: its head, and its body or the beginning of it."""
        idle = self._idle.get(pending.origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                connection.send(pending)
                return
            connection.transport.abort()
        self.connect(pending)

    def connect(self, pending: PendingRequest) -> None:
        """Open a new connection for a request."""
        self._connecting.add(pending)
        pending.connecting = asyncio.get_running_loop().create_task(self._connect(pending))
        pending.connecting.add_done_callback(lambda _: self._connecting.discard(pending))

    def release(self, connection: ServiceConnection) -> None:
        """Keep an idle connection for the next request."""
        connection.idle_since_s = perf_counter()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep_timer is None:
            loop = asyncio.get_running_loop()
            self._sweep_timer = loop.call_later(IDLE_AT_MOST_S, self._sweep)

    def forget(self, connection: ServiceConnection) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Drop all requests and abort all connections."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for pending in list(self._connecting):
            pending.cancel()
        for connection in list(self._open):
            connection.pending = None
            connection.transport.abort()

    def _sweep(self) -> None:
        self._sweep_timer = None
        now_s = perf_counter()
        for idle in self._idle.values():
            for connection in list(idle):
                if now_s - connection.idle_since_s >= IDLE_AT_MOST_S:
                    idle.remove(connection)
                    connection.transport.abort()
        if any(self._idle.values()):
            loop = asyncio.get_running_loop()
            self._sweep_timer = loop.call_later(IDLE_AT_MOST_S / 4, self._sweep)

    async def _connect(self, pending: PendingRequest) -> None:
        origin = pending.origin
        try:
            sock = await connect_to(origin)
        except OSError as error:
            pending.connecting = None
            pending.sink.failed(unreachable_error(self.name, origin, error))
            return
        loop = asyncio.get_running_loop()
        connection = ServiceConnection(self, self.name, origin, sock)
        await loop.create_connection(lambda: connection, sock=sock)
        pending.connecting = None
        self._open.add(connection)
        connection.send(pending)
        pending.sink.pause_sending(connection.writing_paused)


async def connect_to(origin: ServiceOrigin) -> socket.socket:
    """A socket that is connected to `origin`. Raises OSError.

    If 127.0.0.1 refuses it tries ::1: a server that listens on `localhost` may use only that.
    """
    try:
        return await _connect_socket(socket.AF_INET, origin)
    except ConnectionRefusedError as refused:
        if not socket.has_ipv6:
            raise
        with suppress(OSError):
            return await _connect_socket(socket.AF_INET6, ServiceOrigin("::1", origin.port))
        raise refused from None


async def _connect_socket(family: socket.AddressFamily, origin: ServiceOrigin) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (origin.host, origin.port))
    except BaseException:
        sock.close()
        raise
    return sock


def unreachable_error(name: str, origin: ServiceOrigin, error: OSError) -> Unreachable:
    """The error for a failed connection. The request was not sent, so nothing was done."""
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{name} can't be asked: nothing listens on port {origin.port}.")
    return Unreachable(f"{name} can't be asked at {origin}: {error.strerror or error}.")


# ── Whole responses


class _ResponseCollector:
    """A response sink that collects a response; with `head_only` it waits for the head only."""

    def __init__(self, name: str, head_only: bool) -> None:
        self._name, self._head_only = name, head_only
        self.result: asyncio.Future[tuple[ResponseHead, bytes]] = (
            asyncio.get_running_loop().create_future()
        )
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._bytes = 0

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool) -> None:
        if self.result.done():
            return
        self._head = head or self._head
        self._bytes += len(body)
        self._pieces.append(body)
        if self._bytes > MAX_BYTES:
            sentence = f"{self._name} answered with {too_large_message()}"
            self.result.set_exception(BadGateway(sentence, definite=False))
        elif complete or self._head_only:
            assert self._head is not None
            self.result.set_result((self._head, b"".join(self._pieces)))

    def failed(self, failure: DependencyFailed) -> None:
        if not self.result.done():
            self.result.set_exception(failure)

    def pause_sending(self, paused: bool) -> None:
        """Nothing to do: the request was sent in one piece."""


async def fetch(
    pool: ConnectionPool,
    origin: ServiceOrigin,
    request: bytes,
    within_s: float,
    *,
    retryable: bool = False,
    head_only: bool = False,
) -> tuple[ResponseHead, bytes]:
    """Send a request; returns the head and the body of the response.

    Raises Unreachable (nothing was sent), TimedOut, BadAnswer (the service may have executed it).
    """
    collector = _ResponseCollector(pool.name, head_only)
    pending = PendingRequest(origin, request, collector, retryable=retryable)
    pool.send(pending)
    try:
        async with asyncio.timeout(within_s):
            return await collector.result
    except TimeoutError:
        raise TimedOut(f"{pool.name} did not answer within {within_s:g} s.") from None
    finally:
        pending.cancel()
