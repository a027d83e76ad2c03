"""Requests at the raw port of a sidecar: parsed, queued, and encoded again to be forwarded.

A request is forwarded unchanged, except for headers that concern a single connection (RFC 9110,
section 7.6.1), `Expect` and `Lab-Caller`.
"""

from dataclasses import dataclass, field

import httptools
from pydantic_core import to_json

from lab.domain.errors import Invalid, ServiceError, TooLarge
from lab.external.fault_filter import Delivery
from lab.external.proxy.client import MOST_HEAD_BYTES
from lab.external.proxy.pending import Head, Question

# ── Requests

OF_THE_CONNECTION = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te"),
        *(b"transfer-encoding", b"trailer", b"upgrade", b"http2-settings"),
    )
)


@dataclass(slots=True, eq=False)
class Incoming:
    """A request and the state of its response.

    `lines`: the encoded headers to forward. `waiting`: bytes of `body` that are not yet forwarded.
    `refused`: the error with which the sidecar responds instead of forwarding it.
    """

    target: bytes = b""
    method: bytes = b""
    version: str = "1.1"
    lines: list[bytes] = field(default_factory=list)
    caller: str = ""
    chunked: bool = False
    expects: bool = False
    keep_alive: bool = True
    body: list[bytes] = field(default_factory=list)
    waiting: int = 0
    complete: bool = False
    begun: bool = False
    ended: bool = False
    question: Question | None = None
    after: list[Delivery] = field(default_factory=list)
    refused: ServiceError | None = None
    answer_begun: bool = False
    answer_chunked: bool = False

    def header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        small = name.lower()
        if small == b"transfer-encoding":
            self.chunked = True
        elif small == b"lab-caller":
            self.caller = value.decode("latin-1")
        elif small == b"expect":
            self.expects = True
        elif small not in OF_THE_CONNECTION:
            self.lines.append(b"%b: %b\r\n" % (name, value))

    def request(self, *more: bytes) -> bytes:
        """Its head and the body received so far, to be forwarded; `more`: additional headers."""
        first = b"%b %b HTTP/%b\r\n" % (self.method, self.target, self.version.encode())
        lines = [first, *self.lines, *more]
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if not self.keep_alive and self.version != "1.0":
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        lines.append(self.more_body())
        return b"".join(lines)

    def more_body(self) -> bytes:
        """The body received since the last call, framed as the caller framed it."""
        piece = b"".join(self.body)
        self.body.clear()
        self.waiting = 0
        if not self.chunked:
            return piece
        if piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        if self.complete and not self.ended:
            self.ended = True
            piece += b"0\r\n\r\n"
        return piece

    def answer_head(self, head: Head) -> bytes:
        """The response's head for the caller. Decides how the caller recognises the end."""
        self.answer_begun = True
        lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
        has_length = was_chunked = False
        for name, value in head.headers:
            small = name.lower()
            if small not in OF_THE_CONNECTION:
                lines.append(b"%b: %b\r\n" % (name, value))
                has_length = has_length or small == b"content-length"
            elif small == b"transfer-encoding":
                was_chunked = True
        if self.method != b"HEAD" and head.status not in (204, 304) and not has_length:
            self.answer_chunked = was_chunked and self.version == "1.1"
            if not self.answer_chunked:
                self.keep_alive = False  # the end of the connection is its end
        if self.answer_chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines.append(self.about_the_connection())
        lines.append(b"\r\n")
        return b"".join(lines)

    def answer_piece(self, body: bytes, over: bool) -> bytes:
        """A piece of the response's body, framed for the caller."""
        if not self.answer_chunked:
            return body
        if body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        return body + b"0\r\n\r\n" if over else body

    def about_the_connection(self) -> bytes:
        """The `Connection` header for the caller; b"" if it needs none."""
        self.keep_alive = self.keep_alive and self.complete
        if not self.keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.version == "1.0" else b""

    def problem(self, error: ServiceError, status: int | None = None) -> bytes:
        """A response of the sidecar itself: the problem document of an error."""
        status = status or error.status
        document = to_json(error.problem() | {"status": status})
        return self.answer(status, error.title.encode(), b"application/problem+json", document)

    def answer(self, status: int, reason: bytes, kind: bytes, body: bytes) -> bytes:
        """A response of the sidecar itself."""
        head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            *(status, reason, kind, len(body)),
            self.about_the_connection(),
        )
        return head if self.method == b"HEAD" else head + body


# ── Parser


class Reader:
    """Parses the bytes of a caller's connection into `queue`; its last request may be incomplete.

    An unreadable request is queued too, as refused, so that responses stay in order.
    """

    def __init__(self) -> None:
        self.queue: list[Incoming] = []
        self.receiving = False
        self._parser = httptools.HttpRequestParser(self)
        self._in_body = False
        self._head_bytes = 0

    def feed(self, data: bytes) -> bool:
        """Parse more bytes. False: a request that is already being forwarded is broken."""
        size = len(data)
        while data:
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                # An upgrade to another protocol is ignored, so HTTP goes on.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError as error:
                if self.queue and self.queue[-1].complete:
                    return True  # bytes after a request that closes the connection
                return self.refuse(Invalid(f"This is no HTTP: {error}."))
        if self.receiving and not self._in_body:
            self._head_bytes += size
            if self._head_bytes > MOST_HEAD_BYTES:
                return self.refuse(TooLarge(f"More than {MOST_HEAD_BYTES // 1024} KiB of headers."))
        return True

    def refuse(self, error: ServiceError) -> bool:
        """Refuse the request that is being read. False if a part of it was already forwarded."""
        self.receiving = False
        if not self.queue or self.queue[-1].complete:
            self.queue.append(Incoming())
        last = self.queue[-1]
        last.refused, last.complete, last.keep_alive = error, True, False
        return not last.begun

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._coming = Incoming()
        self.receiving, self._in_body, self._head_bytes = True, False, 0

    def on_url(self, url: bytes) -> None:
        self._coming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            self._coming.header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        coming = self._coming
        coming.method = self._parser.get_method()
        coming.version = self._parser.get_http_version()
        coming.keep_alive = self._parser.should_keep_alive()
        self.queue.append(coming)

    def on_body(self, body: bytes) -> None:
        self._coming.body.append(body)
        self._coming.waiting += len(body)

    def on_message_complete(self) -> None:
        self._coming.complete = True
        self.receiving = False
