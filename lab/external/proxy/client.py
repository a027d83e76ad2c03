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

from lab.domain.errors import BadAnswer, DependencyFailed, TimedOut, Unreachable
from lab.external.proxy.pending import Head, Headers, Origin, Question
from lab.external.proxy.sockets import acknowledge
from lab.external.responses import MOST_BYTES, too_much

# ── Connection

IDLE_AT_MOST_S = 1.0
"""An idle connection is closed after this time, well before any usual server closes it (Node after
5 s). A request on a connection that the server is closing would look like a failed service, and a
POST can't be sent again to find out."""

MOST_HEAD_BYTES = 64 * 1024
_SAME_INSTANT_S = 0.002
_LOG = " Its log may say why."


class Owner(Protocol):
    """What a connection reports to its pool."""

    def release(self, connection: "Connection") -> None:
        """The response is complete: the connection can be used again."""

    def forget(self, connection: "Connection") -> None:
        """The connection has ended."""

    def connect(self, question: Question) -> None:
        """The connection ended before the request arrived: use a new one."""


class Connection(asyncio.Protocol):
    """A kept-alive connection. `begin` sends a request; `question.hearer` gets the response."""

    def __init__(self, owner: Owner, name: str, origin: Origin, sock: socket.socket) -> None:
        self.owner, self.name, self.origin, self.sock = owner, name, origin, sock
        self.parser = httptools.HttpResponseParser(self)
        self.question: Question | None = None
        self.idle_since_s = 0.0
        self.uses = 0
        self.writing_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def begin(self, question: Question) -> None:
        self.question = question
        question.connection = self
        self.uses += 1
        self.reason, self.headers = b"", Headers()
        self.head_bytes = self.body_bytes = 0
        self.heard = self.told = self.in_body = self.framed = self.complete = False
        self.reusable = False
        self.pieces: list[bytes] = []
        self.asked_at_s = perf_counter()
        self.transport.write(question.request)

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
        if self.question is not None:
            self.question.hearer.hold_back(True)

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self.question is not None:
            self.question.hearer.hold_back(False)

    def data_received(self, data: bytes) -> None:
        if self.question is None:
            self.transport.abort()
            return
        self.heard = True
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:  # bytes after a complete response only end the connection
                self._fail(f"something that is no HTTP; it begins with {bytes(data[:60])!r}")
                return
            self.reusable = False
        if not self.complete:
            acknowledge(self.sock)
        if not self.in_body:
            self.head_bytes += len(data)
        if self.head_bytes > MOST_HEAD_BYTES:
            self._fail(f"more than {MOST_HEAD_BYTES // 1024} KiB of headers")
            return
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.forget(self)
        question = self.question
        if question is None:
            return
        if self.in_body and not self.framed and exc is None:
            self.complete = True  # a body without a length ends with its connection
            self._tell()
        elif self._was_stale(exc):
            self.question = question.connection = None
            question.may_repeat = False
            self.owner.connect(question)
        elif self.heard:
            self._fail(
                f"the beginning of an answer, {self.body_bytes} bytes of it, and closed", _LOG
            )
        else:
            self._fail("nothing, and closed the connection", _LOG)

    def _was_stale(self, exc: Exception | None) -> bool:
        return (
            self.question is not None
            and self.question.may_repeat
            and self.uses > 1
            and not self.heard
            and not isinstance(exc, ConnectionResetError)
            and perf_counter() - self.asked_at_s < _SAME_INSTANT_S
        )

    def _tell(self) -> None:
        """Pass on what has arrived since the last call."""
        question = self.question
        assert question is not None
        if not (self.in_body or self.complete):
            return
        if question.bodiless:
            self.complete, self.reusable, self.pieces = True, False, []
        head = None
        if not self.told:
            head = Head(self.parser.get_status_code(), self.reason, self.headers)
            self.told = True
        body = b"".join(self.pieces)
        self.pieces.clear()
        if self.complete:
            self.question = None
            if self.reusable and question.whole:
                self.owner.release(self)
            else:
                self.transport.abort()
        if head or body or self.complete:
            question.hearer.hear(head, body, self.complete)

    def _fail(self, answered: str, hint: str = "") -> None:
        question, self.question = self.question, None
        self.transport.abort()
        assert question is not None
        # The request was sent, so the service may have executed it.
        said = f"{self.name} answered with {answered}; asked was {question.words}.{hint}"
        error = BadAnswer(said, definite=False)
        question.hearer.failed(error)

    # Callbacks of the parser. It swallows exceptions, so they only store what was parsed.

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:
            return  # a trailer after a chunked body
        self.headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.framed = True

    def on_headers_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.in_body = True
        else:  # 1xx comes before the final response
            self.reason, self.headers = b"", []

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.complete, self.reusable = True, self.parser.should_keep_alive()


# ── Pool


class Pool:
    """Sends requests over kept-alive connections. `name`: the service, for messages."""

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
        """Open a new connection for a request."""
        self._asked.add(question)
        question.connecting = asyncio.get_running_loop().create_task(self._connect(question))
        question.connecting.add_done_callback(lambda _: self._asked.discard(question))

    def release(self, connection: Connection) -> None:
        """Keep an idle connection for the next request."""
        connection.idle_since_s = perf_counter()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweeping is None:
            loop = asyncio.get_running_loop()
            self._sweeping = loop.call_later(IDLE_AT_MOST_S, self._sweep)

    def forget(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)
        idle = self._idle.get(connection.origin, [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Drop all requests and abort all connections."""
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
    """A socket that is connected to `origin`. Raises OSError.

    If 127.0.0.1 refuses it tries ::1: a server that listens on `localhost` may use only that.
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
    """The error for a failed connection. The request was not sent, so nothing was done."""
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{name} can't be asked: nothing listens on port {origin.port}.")
    return Unreachable(f"{name} can't be asked at {origin}: {error.strerror or error}.")


# ── Whole responses


class _Gathered:
    """A response sink that collects a response; with `head_only` it waits for the head only."""

    def __init__(self, name: str, head_only: bool) -> None:
        self._name, self._head_only = name, head_only
        self.whole: asyncio.Future[tuple[Head, bytes]] = asyncio.get_running_loop().create_future()
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._bytes = 0

    def hear(self, head: Head | None, body: bytes, over: bool) -> None:
        if self.whole.done():
            return
        self._head = head or self._head
        self._bytes += len(body)
        self._pieces.append(body)
        if self._bytes > MOST_BYTES:
            sentence = f"{self._name} answered with {too_much()}"
            self.whole.set_exception(BadAnswer(sentence, definite=False))
        elif over or self._head_only:
            assert self._head is not None
            self.whole.set_result((self._head, b"".join(self._pieces)))

    def failed(self, failure: DependencyFailed) -> None:
        if not self.whole.done():
            self.whole.set_exception(failure)

    def hold_back(self, back: bool) -> None:
        """Nothing to do: the request was sent in one piece."""


async def gather(
    pool: Pool,
    origin: Origin,
    request: bytes,
    within_s: float,
    *,
    may_repeat: bool = False,
    head_only: bool = False,
) -> tuple[Head, bytes]:
    """Send a request; returns the head and the body of the response.

    Raises Unreachable (nothing was sent), TimedOut, BadAnswer (the service may have executed it).
    """
    gathered = _Gathered(pool.name, head_only)
    question = Question(origin, request, gathered, may_repeat=may_repeat)
    pool.ask(question)
    try:
        async with asyncio.timeout(within_s):
            return await gathered.whole
    except TimeoutError:
        raise TimedOut(f"{pool.name} did not answer within {within_s:g} s.") from None
    finally:
        question.drop()
