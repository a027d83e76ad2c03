"""One connection to a foreign service, and the one question at a time that it carries.

Nothing is gathered here: an answer is handed on as it comes in, a piece at a time, and whoever
hears it may ask for a pause. So an answer of a gigabyte needs no more memory than one of a
kilobyte.
"""

import asyncio
import socket
from time import perf_counter
from typing import Protocol

import httptools

from lab.domain.errors import BadAnswer
from lab.foreign.question import Head, Headers, Origin, Question
from lab.foreign.sockets import acknowledge

IDLE_AT_MOST_S = 1.0
"""A kept connection is given up after so long without use, well before any usual server closes it
(Node after 5 s). A request written into a connection that is just being closed would look like a
service that failed, and a POST can't be sent again to find out."""

MOST_HEAD_BYTES = 64 * 1024
_SAME_INSTANT_S = 0.002
_LOG = " Its log may say why."


class Owner(Protocol):
    """What a connection tells whoever holds it."""

    def release(self, connection: "Connection") -> None:
        """Its answer is in, it can be used again."""

    def forget(self, connection: "Connection") -> None:
        """It ended."""

    def connect(self, question: Question) -> None:
        """It had ended before the question came: take a new one."""


class Connection(asyncio.Protocol):
    """A kept connection: `begin` a question, and its hearer hears the answer, or that it failed."""

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
        return False  # its end, or bytes nobody asked for

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
            if not self.complete:  # what comes behind a whole answer only ends the connection
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
            self.complete = True  # a body without a length ends where its connection ends
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
        """Hand on what has come in since the last time."""
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
        # It was sent, so it may have been done.
        said = f"{self.name} answered with {answered}; asked was {question.words}.{hint}"
        error = BadAnswer(said, definite=False)
        question.hearer.failed(error)

    # What the parser calls. It swallows exceptions, so nothing of others runs in here.

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:
            return  # behind a chunked body: part of no head
        self.headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.framed = True

    def on_headers_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.in_body = True
        else:  # 1xx only announces the answer
            self.reason, self.headers = b"", []

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:
            self.complete, self.reusable = True, self.parser.should_keep_alive()
