"""A small HTTP/1.1 client whose send is cheap enough to be on time.

Comfortable clients cost 100-300 µs a request; when ten arrivals fall into one millisecond, the
last of them leaves late and the lateness is charged to the server. This one writes prepared bytes
to a kept-alive connection (one request at a time on each) and takes the moment of the answer when
its bytes come in. It reports, it never raises: what came of a request is an `Outcome`.

A connection never waits for a free place: where the limit is reached, `send` says no, because a
queue in the client would hide the very overload it is there to show.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from lab import deadline
from lab.load.connection import Connection, Done, Exchange
from lab.load.plan import Origin

_OUR_OWN_FAULT = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}


@dataclass(slots=True, eq=False)
class Client:
    """Sends requests over at most `max_connections` connections, all hosts together."""

    loop: asyncio.AbstractEventLoop
    max_connections: int
    _idle: dict[Origin, list[Connection]] = field(default_factory=dict)
    _open: set[Connection | Exchange] = field(default_factory=set)

    @property
    def connections(self) -> int:
        """How many connections are open or being opened."""
        return len(self._open)

    def send(
        self,
        method: str,
        origin: Origin,
        path: str,
        body: bytes,
        give_up_at_s: float,
        done: Done,
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Send now. True: `done` will be called exactly once, later. False: no connection is free.

        `give_up_at_s` is a moment of `perf_counter`; then the connection is torn down. The server
        is told how long that is, as any client should; whether it cares is its own affair.
        """
        idle = self._take_idle(origin)
        if idle is None and len(self._open) >= self.max_connections and not self._evict():
            return False
        wait_s = max(0.0, give_up_at_s - perf_counter())
        head = f"{method} {path} HTTP/1.1\r\nHost: {origin.host}:{origin.port}\r\n"
        head += f"{deadline.HEADER}: {int(wait_s * 1_000)}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        for name, value in (headers or {}).items():
            head += f"{name}: {value}\r\n"
        exchange = Exchange(origin, head.encode() + b"\r\n" + body, method == "GET", done)
        exchange.timer = self.loop.call_later(wait_s, self._give_up, exchange)
        if idle is None:
            self.connect(exchange)
        else:
            idle.begin(exchange)
        return True

    def connect(self, exchange: Exchange) -> None:
        """Open a new connection for `exchange`."""
        self._open.add(exchange)
        exchange.connecting = self.loop.create_task(self._connect(exchange))
        # Not in a `finally` of the task: one cancelled before its first step never gets there.
        exchange.connecting.add_done_callback(lambda task: self._open.discard(exchange))

    async def _connect(self, exchange: Exchange) -> None:
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            await self.loop.sock_connect(sock, exchange.origin)
            connection = Connection(self, exchange.origin, sock)
            await self.loop.create_connection(lambda: connection, sock=sock)
        except OSError as error:
            kind = "no_socket" if error.errno in _OUR_OWN_FAULT else "refused"
            exchange.finish(0, b"", kind, perf_counter())
        else:
            self._open.add(connection)
            connection.begin(exchange)
            sock = None
        finally:
            exchange.connecting = None
            if sock is not None:
                sock.close()

    def release(self, connection: Connection) -> None:
        """Keep an answered connection for the next request."""
        self._idle.setdefault(connection.origin, []).append(connection)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Tear everything down. Requests under way are forgotten: their `done` is never called."""
        for held in list(self._open):
            exchange = held.exchange if isinstance(held, Connection) else held
            if exchange is not None and exchange.timer is not None:
                exchange.timer.cancel()
            if isinstance(held, Connection):
                held.exchange = None
                held.transport.abort()
            elif held.connecting is not None:
                held.connecting.cancel()

    def _take_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                return connection
            connection.transport.abort()
        return None

    def _evict(self) -> bool:
        fullest = max(self._idle.values(), key=len, default=[])
        if not fullest:
            return False
        fullest.pop(0).transport.abort()
        return True

    def _give_up(self, exchange: Exchange) -> None:
        if exchange.connection is not None and exchange.connection.exchange is exchange:
            exchange.connection.exchange = None
            exchange.connection.transport.abort()
        elif exchange.connecting is not None:
            exchange.connecting.cancel()
        exchange.finish(0, b"", "timeout", perf_counter())
