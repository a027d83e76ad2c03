"""The way to a foreign service, over connections that are kept for the next question."""

import asyncio
import socket
from contextlib import suppress
from time import perf_counter

from lab.domain.errors import Unreachable
from lab.foreign.connection import IDLE_AT_MOST_S, Connection
from lab.foreign.question import Origin, Question


class Pool:
    """Asks foreign services. `name` is who is asked, in sentences."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._asked: set[Question] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def ask(self, question: Question) -> None:
        """Send a request now: its head, and its body or the beginning of it."""
        idle = self._idle.get(question.origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                connection.begin(question)
                return
            connection.transport.abort()
        self.connect(question)

    def connect(self, question: Question) -> None:
        """Open a new connection for it."""
        self._asked.add(question)
        question.connecting = asyncio.get_running_loop().create_task(self._connect(question))
        question.connecting.add_done_callback(lambda _: self._asked.discard(question))

    def release(self, connection: Connection) -> None:
        """Keep an answered connection for the next question."""
        connection.idle_since_s = perf_counter()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(IDLE_AT_MOST_S, self._sweep)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Tear everything down."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for question in list(self._asked):
            question.drop()
        for connection in list(self._open):
            connection.question = None
            connection.transport.abort()

    def _sweep(self) -> None:
        self._sweeping = None
        now_s = perf_counter()
        for idle in self._idle.values():
            for connection in list(idle):
                if now_s - connection.idle_since_s >= IDLE_AT_MOST_S:
                    idle.remove(connection)
                    connection.transport.abort()
        if any(self._idle.values()):
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(IDLE_AT_MOST_S / 4, self._sweep)

    async def _connect(self, question: Question) -> None:
        origin = question.origin
        try:
            sock = await reach(origin)
        except OSError as error:
            question.connecting = None
            question.hearer.failed(unreachable(self.name, origin, error))
            return
        loop = asyncio.get_running_loop()
        connection = Connection(self, self.name, origin, sock)
        await loop.create_connection(lambda: connection, sock=sock)
        question.connecting = None
        self._open.add(connection)
        connection.begin(question)
        question.hearer.hold_back(connection.writing_paused)


async def reach(origin: Origin) -> socket.socket:
    """A connection to whoever listens there. Raises OSError.

    A server that was told to listen on `localhost` may have taken that for ::1 alone.
    """
    try:
        return await _connected(socket.AF_INET, origin)
    except ConnectionRefusedError as refused:
        if not socket.has_ipv6:
            raise
        with suppress(OSError):
            return await _connected(socket.AF_INET6, Origin("::1", origin.port))
        raise refused from None


async def _connected(family: socket.AddressFamily, origin: Origin) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (origin.host, origin.port))
    except BaseException:
        sock.close()
        raise
    return sock


def unreachable(name: str, origin: Origin, error: OSError) -> Unreachable:
    """Why a request never left: so nothing was done."""
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{name} can't be asked: nothing listens on port {origin.port}.")
    return Unreachable(f"{name} can't be asked at {origin}: {error.strerror or error}.")
