"""One connection to a service, and the one exchange (request and answer) it carries at a time.

The moment of an answer is taken the moment its bytes come in, before they are looked at: what our
own loop does with them afterwards is not the server's time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

import httptools

from lab import degraded
from lab.load.plan import Origin

_DEGRADED = degraded.HEADER.lower().encode()

# A server may close an idle connection at the very moment we use it. What tells this apart from a
# server that failed while working is that it happens at once, and politely (no reset).
_SAME_INSTANT_S = 0.002


class Outcome(NamedTuple):
    """What came of one request; `at_s` is the moment (perf_counter) it was known.

    `error` is "" when there was an answer, whatever its status, or else one of
    `refused` (nothing was sent), `timeout`, `reset` (the connection ended, or spoke nonsense,
    before a whole answer) or `no_socket` (this machine had no socket left: not the server's doing).
    `degraded`: the answer says of itself that it is less than it should be. `retried`: how often
    the request was sent again (`lab/load/again.py`).
    """

    status: int
    body: bytes
    error: str
    at_s: float
    degraded: bool = False
    retried: int = 0


Done = Callable[[Outcome], None]


@dataclass(slots=True, eq=False)
class Exchange:
    """One request under way. `may_repeat`: it is a GET and was not repeated yet."""

    origin: Origin
    request: bytes
    may_repeat: bool
    done: Done
    timer: asyncio.TimerHandle | None = None
    connection: Connection | None = None
    connecting: asyncio.Task[None] | None = None

    def finish(
        self, status: int, body: bytes, error: str, at_s: float, degraded: bool = False
    ) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.done(Outcome(status, body, error, at_s, degraded))


class Owner(Protocol):
    """What a connection tells whoever holds it."""

    def release(self, connection: Connection) -> None:
        """Its answer is in, it can be used again."""

    def forget(self, connection: Connection) -> None:
        """It ended."""

    def connect(self, exchange: Exchange) -> None:
        """It had ended before `exchange` began: take a new one."""


class Connection(asyncio.Protocol):
    """A kept-alive connection: `begin` an exchange, and it will be finished, whatever happens."""

    def __init__(self, owner: Owner, origin: Origin, sock: socket.socket) -> None:
        self.owner, self.origin, self.sock = owner, origin, sock
        self.parser = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.uses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def begin(self, exchange: Exchange) -> None:
        """Write the request. One exchange at a time."""
        self.exchange = exchange
        exchange.connection = self
        self.uses += 1
        self.chunks: list[bytes] = []
        self.heard = self.framed = self.in_body = self.complete = self.reusable = False
        self.degraded = False
        self.sent_at_s = perf_counter()
        self.transport.write(exchange.request)

    def is_usable(self) -> bool:
        """Whether the peer still holds this idle connection, as far as the kernel knows now."""
        if self.transport.is_closing():
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False  # its end, or bytes nobody asked for

    def data_received(self, data: bytes) -> None:
        at_s = perf_counter()
        if self.exchange is None:
            self.transport.abort()
            return
        self.heard = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._end("reset", at_s)
            return
        if self.complete:
            self._end("", at_s)

    def connection_lost(self, exc: Exception | None) -> None:
        at_s = perf_counter()
        self.owner.forget(self)
        if self.exchange is None:
            return
        if self.in_body and not self.framed and exc is None:
            self._end("", at_s)  # a body without a length ends where its connection ends
        elif self._was_stale(exc, at_s):
            exchange, self.exchange = self.exchange, None
            exchange.may_repeat = False
            self.owner.connect(exchange)
        else:
            self._end("reset", at_s)

    def _was_stale(self, exc: Exception | None, at_s: float) -> bool:
        return (
            self.exchange is not None
            and self.exchange.may_repeat
            and self.uses > 1
            and not self.heard
            and not isinstance(exc, ConnectionResetError)
            and at_s - self.sent_at_s < _SAME_INSTANT_S
        )

    def _end(self, error: str, at_s: float) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        if error or not self.reusable:
            self.transport.abort()
        else:
            self.owner.release(self)
        if error:
            exchange.finish(0, b"", error, at_s)
        else:
            status, body = self.parser.get_status_code(), b"".join(self.chunks)
            exchange.finish(status, body, "", at_s, self.degraded)

    # What the parser calls. It swallows exceptions, so nothing of ours runs in here.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self.framed = True
        elif name == _DEGRADED:
            self.degraded = True

    def on_headers_complete(self) -> None:
        self.in_body = True

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:  # 1xx only announces the answer
            self.complete, self.reusable = True, self.parser.should_keep_alive()
        self.in_body = False
