"""Requests at the raw port of a sidecar: parsed, queued, and encoded again to be forwarded.

A request is forwarded unchanged, except for headers that concern a single connection (RFC 9110,
section 7.6.1), `Expect` and `Lab-Caller`.
"""

from dataclasses import dataclass, field

import httptools
from pydantic_core import to_json

from lab.domain.errors import Invalid, PayloadTooLarge, ServiceError
from lab.external.fault_filter import Delivery
from lab.support.http_client import MAX_HEAD_BYTES, PendingRequest, ResponseHead

# ── Requests

HOP_BY_HOP_HEADERS = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization te transfer-encoding trailer "
    b"upgrade http2-settings".split()
)


@dataclass(slots=True, eq=False)
class ProxiedRequest:
    """A request and the state of its response.

    `header_lines`: the encoded headers to forward. `unsent_bytes`: bytes of `body` that are not yet
    forwarded. `error`: the error with which the sidecar responds instead of forwarding it.
    """

    target: bytes = b""
    method: bytes = b""
    version: str = "1.1"
    header_lines: list[bytes] = field(default_factory=list)
    caller: str = ""
    chunked: bool = False
    expects_continue: bool = False
    keep_alive: bool = True
    body: list[bytes] = field(default_factory=list)
    unsent_bytes: int = 0
    complete: bool = False
    started: bool = False
    body_ended: bool = False
    pending: PendingRequest | None = None
    later_deliveries: list[Delivery] = field(default_factory=list)
    error: ServiceError | None = None
    response_chunked: bool = False

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        lower = name.lower()
        if lower == b"transfer-encoding":
            self.chunked = True
        elif lower == b"lab-caller":
            self.caller = value.decode("latin-1")
        elif lower == b"expect":
            self.expects_continue = True
        elif lower not in HOP_BY_HOP_HEADERS:
            self.header_lines.append(b"%b: %b\r\n" % (name, value))

    def encode(self, *extra_headers: bytes) -> bytes:
        """Its head and the body received so far, to be forwarded."""
        first = b"%b %b HTTP/%b\r\n" % (self.method, self.target, self.version.encode())
        lines = [first, *self.header_lines, *extra_headers]
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if not self.keep_alive and self.version != "1.0":
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        lines.append(self.take_body())
        return b"".join(lines)

    def take_body(self) -> bytes:
        """The body received since the last call, framed as the caller framed it."""
        piece = b"".join(self.body)
        self.body.clear()
        self.unsent_bytes = 0
        if not self.chunked:
            return piece
        if piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        if self.complete and not self.body_ended:
            self.body_ended = True
            piece += b"0\r\n\r\n"
        return piece

    def encode_response_head(self, head: ResponseHead) -> bytes:
        """The response's head for the caller. Decides how the caller recognises the end."""
        lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
        has_length = was_chunked = False
        for name, value in head.headers:
            lower = name.lower()
            if lower not in HOP_BY_HOP_HEADERS:
                lines.append(b"%b: %b\r\n" % (name, value))
                has_length = has_length or lower == b"content-length"
            elif lower == b"transfer-encoding":
                was_chunked = True
        if self.method != b"HEAD" and head.status not in (204, 304) and not has_length:
            self.response_chunked = was_chunked and self.version == "1.1"
            if not self.response_chunked:
                self.keep_alive = False  # the end of the connection is its end
        if self.response_chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines.append(self.connection_header())
        lines.append(b"\r\n")
        return b"".join(lines)

    def encode_response_piece(self, body: bytes, complete: bool) -> bytes:
        """A piece of the response's body, framed for the caller."""
        if not self.response_chunked:
            return body
        if body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        return body + b"0\r\n\r\n" if complete else body

    def connection_header(self) -> bytes:
        """The `Connection` header for the caller; b"" if it needs none."""
        self.keep_alive = self.keep_alive and self.complete
        if not self.keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.version == "1.0" else b""

    def encode_problem(self, error: ServiceError, status: int | None = None) -> bytes:
        """A response of the sidecar itself: the problem document of an error."""
        status = status or error.status
        document = to_json(error.problem() | {"status": status})
        return self.encode_response(
            status, error.title.encode(), b"application/problem+json", document
        )

    def encode_response(
        self, status: int, reason: bytes, content_type: bytes, body: bytes
    ) -> bytes:
        """A response of the sidecar itself."""
        head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            status,
            reason,
            content_type,
            len(body),
            self.connection_header(),
        )
        return head if self.method == b"HEAD" else head + body


# ── Parser


class RequestParser:
    """Parses the bytes of a caller's connection into `queue`; its last request may be incomplete.

    An unreadable request is queued too, with its `error`, so that responses stay in order.
    """

    def __init__(self) -> None:
        self.queue: list[ProxiedRequest] = []
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
            if self._head_bytes > MAX_HEAD_BYTES:
                return self.refuse(
                    PayloadTooLarge(f"More than {MAX_HEAD_BYTES // 1024} KiB of headers.")
                )
        return True

    def refuse(self, error: ServiceError) -> bool:
        """Refuse the request that is being read. False if a part of it was already forwarded."""
        self.receiving = False
        if not self.queue or self.queue[-1].complete:
            self.queue.append(ProxiedRequest())
        last = self.queue[-1]
        last.error, last.complete, last.keep_alive = error, True, False
        return not last.started

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._current = ProxiedRequest()
        self.receiving, self._in_body, self._head_bytes = True, False, 0

    def on_url(self, url: bytes) -> None:
        self._current.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            self._current.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_body = True
        current = self._current
        current.method = self._parser.get_method()
        current.version = self._parser.get_http_version()
        current.keep_alive = self._parser.should_keep_alive()
        self.queue.append(current)

    def on_body(self, body: bytes) -> None:
        self._current.body.append(body)
        self._current.unsent_bytes += len(body)

    def on_message_complete(self) -> None:
        self._current.complete = True
        self.receiving = False
