"""A request as it comes in at a sidecar's raw port, and as it goes on: the same, but for what
concerns the two connections and not the request (RFC 9110, section 7.6.1).
"""

from dataclasses import dataclass, field

from pydantic_core import to_json

from lab.domain.errors import ServiceError
from lab.foreign.gate import Delivery
from lab.foreign.question import Head, Question

OF_THE_CONNECTION = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te"),
        *(b"transfer-encoding", b"trailer", b"upgrade", b"http2-settings"),
    )
)


@dataclass(slots=True, eq=False)
class Incoming:
    """`lines` are its headers as they go on. `refused`: why it gets no further than here."""

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
        """Take in a header."""
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
        """Its head and what there is of its body so far; `more` are headers besides."""
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
        """What has come in of its body since the last time, framed as it was."""
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
        """The head of the answer as it goes back; decides how its end will be known."""
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
                self.keep_alive = False  # its end is the connection's end
        if self.answer_chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines.append(self.about_the_connection())
        lines.append(b"\r\n")
        return b"".join(lines)

    def answer_piece(self, body: bytes, over: bool) -> bytes:
        """A piece of the answer's body as it goes back."""
        if not self.answer_chunked:
            return body
        if body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        return body + b"0\r\n\r\n" if over else body

    def about_the_connection(self) -> bytes:
        """The header that says what becomes of the connection to the caller, where one has to."""
        self.keep_alive = self.keep_alive and self.complete
        if not self.keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if self.version == "1.0" else b""

    def problem(self, error: ServiceError, status: int | None = None) -> bytes:
        """An answer of the sidecar's own: the problem document of an error."""
        status = status or error.status
        document = to_json(error.problem() | {"status": status})
        return self.answer(status, error.title.encode(), b"application/problem+json", document)

    def answer(self, status: int, reason: bytes, kind: bytes, body: bytes) -> bytes:
        """An answer of the sidecar's own."""
        head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            *(status, reason, kind, len(body)),
            self.about_the_connection(),
        )
        return head if self.method == b"HEAD" else head + body
