"""A client's two connections to the log: a WebSocket to publish on, a stream of events to read.

Every event passes them, and a single publisher waits for the sum of all steps. So they work in the
callbacks of the event loop: tasks and queues in between would double the time.
"""

import asyncio
import base64
import os
from collections import deque
from collections.abc import Callable

from lab.bus.log.wire import MAX_BODY_BYTES
from lab.support.http_client import (
    ConnectionPool,
    HttpOrigin,
    PendingRequest,
    RequestFailure,
    ResponseHead,
)


def encode_get(origin: HttpOrigin, path: str, headers: dict[str, str]) -> bytes:
    """A GET request without a body."""
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: {origin}\r\n{''.join(lines)}\r\n".encode()


# ── The stream of events

_PIECES_AHEAD = 64


class ResponseStream:
    """The response to a request while it arrives; a ResponseSink. `head` is set when that is there.

    What has arrived outlives the connection: a consumer that is busy with an earlier event gets
    what the bus sent just before it went down. Otherwise it would not know of a post that other
    services show.
    """

    def __init__(self, pool: ConnectionPool, origin: HttpOrigin, request: bytes) -> None:
        self.head: ResponseHead | None = None
        self._pieces: deque[bytes] = deque()
        self._ended = self._paused = False
        self._failure: RequestFailure | None = None
        self._changed: asyncio.Future[None] | None = None
        self._request = PendingRequest(origin, request, self)
        pool.submit(self._request)

    async def wait_for_head(self, connect_within_s: float) -> ResponseHead:
        """Raises TimeoutError without a connection in time, ConnectionError when it is lost."""
        async with asyncio.timeout(connect_within_s):
            await self._wait_until(lambda: self._request.connection is not None)
        await self._wait_until(lambda: self.head is not None)
        if self.head is None:
            raise ConnectionError(f"no answer: {self._failure}")
        return self.head

    async def read(self) -> bytes:
        """All of the body that has arrived, at least one byte; b"" at its end.

        Raises ConnectionError at the end of a response that is incomplete.
        """
        await self._wait_until(lambda: bool(self._pieces))
        if not self._pieces and self._failure:
            raise ConnectionError(f"the connection is lost: {self._failure}")
        body = b"".join(self._pieces)
        self._pieces.clear()
        if self._paused:
            self._pause(False)
        return body

    async def read_all(self) -> bytes:
        """The rest of the body."""
        body = b""
        while piece := await self.read():
            body += piece
        return body

    def close(self) -> None:
        """Close the connection, unless the response is complete."""
        if not self._ended:
            self._request.cancel()
            self.failed(RequestFailure("closed here", 0.0))

    async def _wait_until(self, has_come: Callable[[], bool]) -> None:
        while not has_come() and not self._ended:
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        self._request.pause_receiving(paused)

    # Called by the connection.

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool, at_s: float) -> None:
        self.head = head or self.head
        if body:
            self._pieces.append(body)
        self._ended = complete
        if len(self._pieces) == _PIECES_AHEAD:
            self._pause(True)
        self._wake()

    def failed(self, failure: RequestFailure) -> None:
        self._failure, self._ended = failure, True
        self._wake()

    def pause_sending(self, paused: bool) -> None:
        self._wake()  # there is a connection now


# ── The WebSocket of a publisher

_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10
_FINAL = _MASKED = 0x80
_SHORT, _LONG = 126, 127
"""These lengths mean that the length follows, in 2 or in 8 bytes."""


class WebSocket(asyncio.Protocol):
    """A client's end of a WebSocket (RFC 6455), for one message and its response at a time."""

    def __init__(self, handshake: bytes) -> None:
        self._handshake = handshake
        self._received = bytearray()
        self._upgraded = False
        self._response: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, origin: HttpOrigin, path: str, headers: dict[str, str]) -> "WebSocket":
        """A new connection. Raises OSError; ConnectionError when the server refuses it."""
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        handshake = encode_get(origin, path, headers | upgrade)
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(lambda: cls(handshake), origin.host, origin.port)
        try:
            await socket._response
        except BaseException:
            socket.close()
            raise
        return socket

    @property
    def is_open(self) -> bool:
        """Whether the connection is not lost, as far as this end knows."""
        return not self._transport.is_closing()

    async def exchange(self, message: bytes) -> bytes:
        """Send a message; returns the next one that comes. Raises ConnectionError."""
        self._response = asyncio.get_running_loop().create_future()
        self._send(_BINARY, message)
        return await self._response

    def close(self) -> None:
        self._transport.close()

    def _send(self, kind: int, payload: bytes) -> None:
        length, key = len(payload), os.urandom(4)
        head = bytes([_FINAL | kind])
        if length < _SHORT:
            head += bytes([_MASKED | length])
        elif length < 1 << 16:
            head += bytes([_MASKED | _SHORT]) + length.to_bytes(2)
        else:
            head += bytes([_MASKED | _LONG]) + length.to_bytes(8)
        # Every client has to mask what it sends. Two large numbers, because a loop takes a second
        # for a large message.
        mask = (key * (length // 4 + 1))[:length]
        masked = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(length)
        self._transport.write(head + key + masked)

    def _take_frame(self) -> tuple[int, bytes] | None:
        """The kind and the payload of the next frame; None when it has not arrived whole."""
        if len(self._received) < 2:
            return None
        final_and_kind, length = self._received[:2]
        begin = {_SHORT: 4, _LONG: 10}.get(length, 2)
        if begin > 2:
            length = int.from_bytes(self._received[2:begin])
        if not final_and_kind & _FINAL or length > MAX_BODY_BYTES:
            raise ConnectionError("It sends what no log sends.")
        if len(self._received) < begin + length:
            return None
        payload = bytes(self._received[begin : begin + length])
        del self._received[: begin + length]
        return final_and_kind & 0x0F, payload

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            if not self._upgraded:
                self._read_handshake()
            while self._upgraded and (frame := self._take_frame()):
                kind, payload = frame
                if kind == _PING:
                    self._send(_PONG, payload)
                elif kind == _BINARY and not self._response.done():
                    self._response.set_result(payload)
                elif kind != _PONG:
                    raise ConnectionError("The server closed the connection.")
        except ConnectionError as error:
            self._fail(error)

    def _read_handshake(self) -> None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        status = bytes(head.partition(b"\r\n")[0])
        if b" 101 " not in status:
            raise ConnectionError(f"The server answered {status!r}.")
        self._received, self._upgraded = rest, True
        self._response.set_result(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("The server closed the connection."))

    def _fail(self, error: Exception) -> None:
        self._transport.abort()
        if not self._response.done():
            self._response.set_exception(error)
