"""A small HTTP/1.1 client whose send is cheap enough to be on time.

Comfortable clients cost 100-300 µs a request; when ten arrivals fall into one millisecond, the last
request leaves late, and the delay is charged to the server. This client writes prepared bytes to a
kept-alive connection, with one request at a time on each. It takes the time of a response when its
bytes arrive, before it parses them: what our own loop does afterwards is not the server's time. It
never raises: the result of a request is an `Outcome`.

A request never waits for a free connection: at the limit `send` returns False, because a queue in
the client would hide the overload that it is there to show.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import httptools

from lab.domain import headers

# ── Connections

_NUMERIC_IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_DEGRADED = headers.DEGRADED.lower().encode()

# A server may close an idle connection at the very moment we use it. Unlike a server that fails
# while it works, it then closes at once and without a reset.
_STALE_WITHIN_S = 0.002


class HttpOrigin(NamedTuple):
    """Where a service listens: a numeric IPv4 address and a port."""

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
class HttpExchange:
    """One request under way. `may_repeat`: it is a GET and was not repeated yet."""

    origin: HttpOrigin
    request: bytes
    may_retry: bool
    on_done: ResultCallback
    timer: asyncio.TimerHandle | None = None
    connection: HttpConnection | None = None
    connecting: asyncio.Task[None] | None = None

    def finish(
        self, status: int, body: bytes, error: str, at_s: float, degraded: bool = False
    ) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.on_done(HttpResult(status, body, error, at_s, degraded))


class HttpConnectionPool(Protocol):
    """The pool that holds a connection, as the connection sees it."""

    def release(self, connection: HttpConnection) -> None:
        """The response has arrived; the connection can be used again."""

    def discard(self, connection: HttpConnection) -> None:
        """The connection has ended."""

    def connect(self, exchange: HttpExchange) -> None:
        """The connection had ended before `exchange` began: open a new one."""


class HttpConnection(asyncio.Protocol):
    """A kept-alive connection. An exchange passed to `begin` is finished, whatever happens."""

    def __init__(self, pool: HttpConnectionPool, origin: HttpOrigin, sock: socket.socket) -> None:
        self.pool, self.origin, self.sock = pool, origin, sock
        self.parser = httptools.HttpResponseParser(self)
        self.exchange: HttpExchange | None = None
        self.uses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def begin(self, exchange: HttpExchange) -> None:
        """Write the request. One exchange at a time."""
        self.exchange = exchange
        exchange.connection = self
        self.uses += 1
        self.chunks: list[bytes] = []
        self.received_any = self.has_framing = self.in_body = self.complete = self.reusable = False
        self.degraded = False
        self.sent_at_s = perf_counter()
        self.transport.write(exchange.request)

    def is_usable(self) -> bool:
        """Whether the peer still holds this idle connection, as far as the kernel knows."""
        if self.transport.is_closing():
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False  # end-of-file, or bytes without a request

    def data_received(self, data: bytes) -> None:
        at_s = perf_counter()
        if self.exchange is None:
            self.transport.abort()
            return
        self.received_any = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end("reset", at_s)
            return
        if self.complete:
            self._end("", at_s)

    def connection_lost(self, exc: Exception | None) -> None:
        at_s = perf_counter()
        self.pool.discard(self)
        if self.exchange is None:
            return
        if self.in_body and not self.has_framing and exc is None:
            self._end("", at_s)  # a body without a length ends where its connection ends
        elif self._was_stale(exc, at_s):
            exchange, self.exchange = self.exchange, None
            exchange.may_retry = False
            self.pool.connect(exchange)
        else:
            self._end("reset", at_s)

    def _was_stale(self, exc: Exception | None, at_s: float) -> bool:
        return (
            self.exchange is not None
            and self.exchange.may_retry
            and self.uses > 1
            and not self.received_any
            and not isinstance(exc, ConnectionResetError)
            and at_s - self.sent_at_s < _STALE_WITHIN_S
        )

    def _end(self, error: str, at_s: float) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        if error or not self.reusable:
            self.transport.abort()
        else:
            self.pool.release(self)
        if error:
            exchange.finish(0, b"", error, at_s)
        else:
            status, body = self.parser.get_status_code(), b"".join(self.chunks)
            exchange.finish(status, body, "", at_s, self.degraded)

    # The parser calls these. It swallows exceptions, so they only record.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self.has_framing = True
        elif name == _DEGRADED:
            self.degraded = True

    def on_headers_complete(self) -> None:
        self.in_body = True

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:  # a 1xx precedes the response
            self.complete, self.reusable = True, self.parser.should_keep_alive()
        self.in_body = False


# ── The client

_LOCAL_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}


@dataclass(slots=True, eq=False)
class HttpClient:
    """Sends requests over at most `max_connections` connections, counted over all hosts."""

    loop: asyncio.AbstractEventLoop
    max_connections: int
    _idle: dict[HttpOrigin, list[HttpConnection]] = field(default_factory=dict)
    _open: set[HttpConnection | HttpExchange] = field(default_factory=set)

    @property
    def connection_count(self) -> int:
        """How many connections are open or being opened."""
        return len(self._open)

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
        """Send now. True: `done` will be called exactly once, later. False: no connection is free.

        `give_up_at_s` is a `perf_counter` time, at which the connection is closed. A header gives
        the server the remaining time in ms; the server may use it or not.
        """
        connection = self._take_idle(origin)
        if connection is None and len(self._open) >= self.max_connections and not self._evict():
            return False
        timeout_s = max(0.0, deadline_at_s - perf_counter())
        head = f"{method} {path} HTTP/1.1\r\nHost: {origin.host}:{origin.port}\r\n"
        head += f"{headers.DEADLINE}: {int(timeout_s * 1_000)}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        for name, value in (extra_headers or {}).items():
            head += f"{name}: {value}\r\n"
        exchange = HttpExchange(origin, head.encode() + b"\r\n" + body, method == "GET", on_done)
        exchange.timer = self.loop.call_later(timeout_s, self._time_out, exchange)
        if connection is None:
            self.connect(exchange)
        else:
            connection.begin(exchange)
        return True

    def connect(self, exchange: HttpExchange) -> None:
        """Open a new connection for `exchange`."""
        self._open.add(exchange)
        exchange.connecting = self.loop.create_task(self._connect(exchange))
        # Not in a `finally` of the task: a task cancelled before its first step never runs it.
        exchange.connecting.add_done_callback(lambda task: self._open.discard(exchange))

    async def _connect(self, exchange: HttpExchange) -> None:
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            await self.loop.sock_connect(sock, exchange.origin)
            connection = HttpConnection(self, exchange.origin, sock)
            await self.loop.create_connection(lambda: connection, sock=sock)
        except OSError as error:
            kind = "no_socket" if error.errno in _LOCAL_ERRNOS else "refused"
            exchange.finish(0, b"", kind, perf_counter())
        else:
            self._open.add(connection)
            connection.begin(exchange)
            sock = None
        finally:
            exchange.connecting = None
            if sock is not None:
                sock.close()

    def release(self, connection: HttpConnection) -> None:
        """Keep an answered connection for the next request."""
        self._idle.setdefault(connection.origin, []).append(connection)

    def discard(self, connection: HttpConnection) -> None:
        """Drop a connection that ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close all connections. The `done` of a request under way is never called."""
        for entry in list(self._open):
            exchange = entry.exchange if isinstance(entry, HttpConnection) else entry
            if exchange is not None and exchange.timer is not None:
                exchange.timer.cancel()
            if isinstance(entry, HttpConnection):
                entry.exchange = None
                entry.transport.abort()
            elif entry.connecting is not None:
                entry.connecting.cancel()

    def _take_idle(self, origin: HttpOrigin) -> HttpConnection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                return connection
            connection.transport.abort()
        return None

    def _evict(self) -> bool:
        largest = max(self._idle.values(), key=len, default=[])
        if not largest:
            return False
        largest.pop(0).transport.abort()
        return True

    def _time_out(self, exchange: HttpExchange) -> None:
        if exchange.connection is not None and exchange.connection.exchange is exchange:
            exchange.connection.exchange = None
            exchange.connection.transport.abort()
        elif exchange.connecting is not None:
            exchange.connecting.cancel()
        exchange.finish(0, b"", "timeout", perf_counter())
