"""An HTTP/1.1 client over kept-alive connections, cheap enough to be on time.

Comfortable clients cost 100-300 µs a request; when ten arrivals fall into one millisecond, the last
request leaves late, and the delay is charged to the server. This client writes prepared bytes to a
connection, with one request at a time on each. It takes the time of a response when its bytes
arrive, before it parses them: what our own loop does afterwards is not the server's time.

`ConnectionPool` passes each piece of a response to a `ResponseSink` as it arrives. The sidecars of
external services forward requests and responses with it. `HttpClient`, on top of it, is the client
of the load: it delivers whole responses, and it never raises.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import httptools

from lab.domain import headers

# ── Requests

MAX_HEAD_BYTES = 64 * 1024
Headers = list[tuple[bytes, bytes]]
_NUMERIC_IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}")


class HttpOrigin(NamedTuple):
    """Where a service listens: a numeric IP address and a port."""

    host: str
    port: int

    @classmethod
    def from_url(cls, url: str) -> HttpOrigin:
        """Parse `http://127.0.0.1:4100`. Raises ValueError for anything that is not of this
        form."""
        parts = urlsplit(url)
        # A host name would need a look-up during a send, and `localhost` tries ::1 first.
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
        is_plain = parts.scheme == "http" and parts.path in ("", "/") and not parts.query
        if not is_plain or not _NUMERIC_IPV4.fullmatch(host):
            raise ValueError(f"{url!r} is not of the form http://127.0.0.1:PORT")
        return cls(host, parts.port or 80)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def resolve_url(url: str) -> str:
    """`http://HOST:PORT` with an IPv4 address in place of a name: a look-up during the load would
    count as latency. Raises ValueError, and socket.gaierror for a name without an address."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not (parts.hostname and parts.port) or parts.path not in ("", "/"):
        raise ValueError(f"saw {url!r}; expected http://HOST:PORT.")
    found = socket.getaddrinfo(parts.hostname, parts.port, socket.AF_INET, socket.SOCK_STREAM)
    return f"http://{found[0][4][0]}:{parts.port}"


class ResponseHead(NamedTuple):
    """Status and headers of a response."""

    status: int
    reason: bytes
    headers: Headers


class RequestFailure(NamedTuple):
    """Why there is no response, or only a part of one.

    `error`: `refused` (nothing was sent; `os_error` says why), `no_socket` (this machine had no
    socket left), `timeout`, `reset` (the connection ended) or `not_http` (the bytes are no
    response). For the last two `received` describes what came instead. `at_s`: when it was known.
    """

    error: str
    at_s: float
    received: str = ""
    os_error: OSError | None = None


class ResponseSink(Protocol):
    """Gets any number of calls of `receive`, or `failed` at any time, and then no further call."""

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool, at_s: float) -> None:
        """The next piece, and when it arrived (perf_counter). The first piece has a `head`; the
        last one is `complete`."""

    def failed(self, failure: RequestFailure) -> None:
        """There is no response, or it is incomplete."""

    def pause_sending(self, paused: bool) -> None:
        """Write no more of the request for now (True), or go on. Also called when a request that
        had to wait for a new connection gets it."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One request under way; `request` is its head, with its body or the beginning of it.

    `retryable`: it may be sent again if its connection was just being closed. `bodiless`: its
    response has no body, whatever the headers say (HEAD). `fully_sent`: all of it is written.
    """

    origin: HttpOrigin
    request: bytes
    sink: ResponseSink
    retryable: bool = False
    bodiless: bool = False
    fully_sent: bool = True
    connection: HttpConnection | None = None
    connecting: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    def fail_after(self, timeout_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the request, and report `timeout` to its sink, unless it has ended by then."""
        self.timer = loop.call_later(timeout_s, self._time_out)

    def _time_out(self) -> None:
        self.cancel()
        self.fail("timeout")

    def fail(self, error: str, received: str = "", os_error: OSError | None = None) -> None:
        """Report a failure to the sink (see RequestFailure)."""
        if self.timer is not None:
            self.timer.cancel()
        self.sink.failed(RequestFailure(error, perf_counter(), received, os_error))

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
        """Give the request up, and close its connection. Its sink is not called again."""
        if self.timer is not None:
            self.timer.cancel()
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        elif self.connection is not None and self.connection.pending is self:
            self.connection.pending = None
            self.connection.transport.abort()


# ── Connections

# A server may close an idle connection at the very moment we use it. Unlike a server that fails
# while it works, it then closes at once and without a reset.
_STALE_WITHIN_S = 0.002
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class SocketOptions(Protocol):
    """A socket, or a transport's view of it."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None: ...


def acknowledge_now(sock: SocketOptions) -> None:
    """Acknowledge received data now. Has an effect on Linux only.

    Many servers write the head and the body of a response separately, and their kernel holds the
    body back until the head is acknowledged (Nagle), which our kernel delays by up to 40 ms.
    """
    if _QUICKACK is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


class HttpConnection(asyncio.Protocol):
    """A kept-alive connection. The sink of a request passed to `send` is called, in any case."""

    def __init__(self, pool: ConnectionPool, origin: HttpOrigin, sock: socket.socket) -> None:
        self.pool, self.origin, self.sock = pool, origin, sock
        self.parser = httptools.HttpResponseParser(self)
        self.pending: PendingRequest | None = None
        self.idle_since_s = 0.0
        self.uses = 0
        self.writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, pending: PendingRequest) -> None:
        """Write the request. One at a time."""
        self.pending = pending
        pending.connection = self
        self.uses += 1
        self.reason = b""
        self.headers: Headers = []
        self.head_bytes = self.body_bytes = 0
        self.received_any = self.has_length = self.head_complete = self.head_forwarded = False
        self.complete = self.reusable = False
        self.pieces: list[bytes] = []
        self.sent_at_s = perf_counter()
        self.transport.write(pending.request)

    def is_usable(self) -> bool:
        """Whether the peer still holds this idle connection, as far as the kernel knows."""
        idle_s = perf_counter() - self.idle_since_s
        if self.transport.is_closing() or idle_s > self.pool.max_idle_s:
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False  # end-of-file, or bytes without a request

    def pause_writing(self) -> None:
        self.writing_paused = True
        if self.pending is not None:
            self.pending.sink.pause_sending(True)

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.pending is not None:
            self.pending.sink.pause_sending(False)

    def data_received(self, data: bytes) -> None:
        at_s = perf_counter()
        if self.pending is None:
            self.transport.abort()
            return
        self.received_any = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:  # bytes after a complete response only end the connection
                seen = f"something that is no HTTP; it begins with {bytes(data[:60])!r}"
                self._fail("not_http", seen)
                return
            self.reusable = False
        if self.pool.quick_ack and not self.complete:
            acknowledge_now(self.sock)
        if not self.head_complete:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES:
                limit = f"more than {MAX_HEAD_BYTES // 1024} KiB of headers"
                self._fail("not_http", limit)
                return
        self._forward_received(at_s)

    def connection_lost(self, exc: Exception | None) -> None:
        at_s = perf_counter()
        self.pool.discard(self)
        pending = self.pending
        if pending is None:
            return
        if self.head_complete and not self.has_length and exc is None:
            self.complete = True  # a body without a length ends with its connection
            self._forward_received(at_s)
        elif self._was_stale(exc, at_s):
            self.pending = pending.connection = None
            pending.retryable = False
            self.pool.connect(pending)
        elif self.received_any:
            seen = f"the beginning of an answer, {self.body_bytes} bytes of it, and closed"
            self._fail("reset", seen)
        else:
            self._fail("reset", "nothing, and closed the connection")

    def _was_stale(self, exc: Exception | None, at_s: float) -> bool:
        return (
            self.pending is not None
            and self.pending.retryable
            and self.uses > 1
            and not self.received_any
            and not isinstance(exc, ConnectionResetError)
            and at_s - self.sent_at_s < _STALE_WITHIN_S
        )

    def _forward_received(self, at_s: float) -> None:
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
            if pending.timer is not None:
                pending.timer.cancel()
            if self.reusable and pending.fully_sent:
                self.pool.release(self)
            else:
                self.transport.abort()
        if head or body or self.complete:
            pending.sink.receive(head, body, self.complete, at_s)

    def _fail(self, error: str, received: str) -> None:
        pending, self.pending = self.pending, None
        self.transport.abort()
        assert pending is not None
        pending.fail(error, received)

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

_LOCAL_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}


class ConnectionPool:
    """Sends requests, and keeps idle connections for the next ones.

    `max_idle_s`: an idle connection is closed after this time. `quick_ack`: each connection
    acknowledges what it receives at once.
    """

    def __init__(self, max_idle_s: float = inf, quick_ack: bool = False) -> None:
        self.max_idle_s, self.quick_ack = max_idle_s, quick_ack
        self._idle: dict[HttpOrigin, list[HttpConnection]] = {}
        self._open: set[HttpConnection | PendingRequest] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    @property
    def connection_count(self) -> int:
        """How many connections are open or being opened, counted over all origins."""
        return len(self._open)

    def submit(self, pending: PendingRequest) -> None:
        """Send a request now, over an idle connection or a new one."""
        connection = self.take_idle(pending.origin)
        if connection is None:
            self.connect(pending)
        else:
            connection.send(pending)

    def connect(self, pending: PendingRequest) -> None:
        """Open a new connection for a request."""
        self._open.add(pending)
        pending.connecting = asyncio.get_running_loop().create_task(self._connect(pending))
        # Not in a `finally` of the task: a task cancelled before its first step never runs it.
        pending.connecting.add_done_callback(lambda _: self._open.discard(pending))

    async def _connect(self, pending: PendingRequest) -> None:
        sock: socket.socket | None = None
        try:
            sock = await self.open_socket(pending.origin)
            connection = HttpConnection(self, pending.origin, sock)
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
        except OSError as error:
            pending.connecting = None
            kind = "no_socket" if error.errno in _LOCAL_ERRNOS else "refused"
            pending.fail(kind, os_error=error)
        else:
            sock = pending.connecting = None
            self._open.add(connection)
            connection.send(pending)
            pending.sink.pause_sending(connection.writing_paused)
        finally:
            if sock is not None:
                sock.close()

    async def open_socket(self, origin: HttpOrigin) -> socket.socket:
        """A connected socket. Raises OSError."""
        return await connect_socket(socket.AF_INET, origin)

    def take_idle(self, origin: HttpOrigin) -> HttpConnection | None:
        """An idle connection that can be used, or None."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                return connection
            connection.transport.abort()
        return None

    def close_idle(self) -> bool:
        """Close the oldest idle connection of the origin that has most. False if there is none."""
        largest = max(self._idle.values(), key=len, default=[])
        if not largest:
            return False
        largest.pop(0).transport.abort()
        return True

    def release(self, connection: HttpConnection) -> None:
        """Keep a connection whose response is complete for the next request."""
        self._idle.setdefault(connection.origin, []).append(connection)
        if self.max_idle_s < inf:
            connection.idle_since_s = perf_counter()
            if self._sweep_timer is None:
                self._sweep_after(self.max_idle_s)

    def discard(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close all connections. The sink of a request under way is never called."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for entry in list(self._open):
            if isinstance(entry, PendingRequest):
                entry.cancel()
            elif entry.pending is not None:
                entry.pending.cancel()
            else:
                entry.transport.abort()

    def _sweep_after(self, seconds: float) -> None:
        self._sweep_timer = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        now_s = perf_counter()
        for idle in self._idle.values():
            for connection in list(idle):
                if now_s - connection.idle_since_s >= self.max_idle_s:
                    idle.remove(connection)
                    connection.transport.abort()
        if any(self._idle.values()):
            self._sweep_after(self.max_idle_s / 4)


async def connect_socket(family: socket.AddressFamily, origin: HttpOrigin) -> socket.socket:
    """A non-blocking socket that is connected to `origin`. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (origin.host, origin.port))
    except BaseException:
        sock.close()
        raise
    return sock


# ── The client of the load

_DEGRADED = headers.DEGRADED.lower().encode()


class HttpResult(NamedTuple):
    """The result of one request. `at_s`: when it was known (perf_counter).

    `error` is "" if a response came, whatever its status. Otherwise it is one of `refused` (nothing
    was sent), `timeout`, `reset` (the connection ended, or sent invalid HTTP, before a whole
    response) or `no_socket` (this machine had no socket left: not the server's fault).

    `degraded`: the response is marked as incomplete. `retried`: how often the request was sent
    again (`lab/load/sender.py`).
    """

    status: int
    body: bytes
    error: str
    at_s: float
    degraded: bool = False
    retried: int = 0


ResultCallback = Callable[[HttpResult], None]


@dataclass(slots=True, eq=False)
class _ResultSink:
    """Collects a whole response, and passes its result on."""

    on_done: ResultCallback
    head: ResponseHead = field(init=False)
    pieces: list[bytes] = field(default_factory=list)

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool, at_s: float) -> None:
        if head is not None:
            self.head = head
        self.pieces.append(body)
        if complete:
            degraded = _DEGRADED in [name.lower() for name, _ in self.head.headers]
            body = b"".join(self.pieces)
            self.on_done(HttpResult(self.head.status, body, "", at_s, degraded))

    def failed(self, failure: RequestFailure) -> None:
        error = "reset" if failure.error == "not_http" else failure.error
        self.on_done(HttpResult(0, b"", error, failure.at_s))

    def pause_sending(self, paused: bool) -> None:
        """Nothing to do: the request is sent in one piece."""


class HttpClient:
    """Sends requests over at most `max_connections` connections, counted over all origins.

    A request never waits for a free connection: at the limit `send` returns False, because a queue
    in the client would hide the overload that it is there to show.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_connections: int) -> None:
        self.loop, self.max_connections = loop, max_connections
        self._pool = ConnectionPool()

    @property
    def connection_count(self) -> int:
        """How many connections are open or being opened."""
        return self._pool.connection_count

    def send(
        self,
        method: str,
        origin: HttpOrigin,
        path: str,
        body: bytes,
        deadline_at_s: float,
        on_done: ResultCallback,
        extra_headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Send now. True: `on_done` is called exactly once, later. False: no connection is free.

        At `deadline_at_s`, a `perf_counter` time, the connection is closed. A header gives the
        server the remaining time in ms; the server may use it or not.
        """
        pool = self._pool
        connection = pool.take_idle(origin)
        at_limit = connection is None and pool.connection_count >= self.max_connections
        if at_limit and not pool.close_idle():
            return False
        timeout_s = max(0.0, deadline_at_s - perf_counter())
        head = f"{method} {path} HTTP/1.1\r\nHost: {origin.host}:{origin.port}\r\n"
        head += f"{headers.DEADLINE}: {int(timeout_s * 1_000)}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        for name, value in (extra_headers or {}).items():
            head += f"{name}: {value}\r\n"
        request = head.encode() + b"\r\n" + body
        pending = PendingRequest(origin, request, _ResultSink(on_done), retryable=method == "GET")
        pending.fail_after(timeout_s, self.loop)
        if connection is None:
            pool.connect(pending)
        else:
            connection.send(pending)
        return True

    def close(self) -> None:
        """Close all connections. The `on_done` of a request under way is never called."""
        self._pool.close()
