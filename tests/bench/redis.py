"""A Redis stream as a bus: enough of RESP2 (redis.io, protocol specification)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from lab.bus.base import Batch
from lab.domain.events import Envelope

AT_ONCE = 512


class RedisBus(asyncio.Protocol):
    """Commands are pipelined: each `append` sends its events at once and awaits their replies."""

    def __init__(self, address: str) -> None:
        self._port = urlsplit(address).port or 6379
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    async def head(self) -> int:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        return int(await self._send("XLEN", "events"))

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        await asyncio.gather(
            *(self._send("XADD", "events", "*", "line", envelope) for envelope in envelopes)
        )
        return []

    async def read(self, after: int) -> AsyncIterator[Batch]:
        newest = b"0"
        while True:
            command = ("XREAD", "COUNT", AT_ONCE, "BLOCK", 0, "STREAMS", "events", newest)
            ((_, entries),) = await self._send(*command)
            newest = entries[-1][0]
            yield [Envelope.from_json(fields[1]) for _, fields in entries]

    async def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        at = 0
        try:
            while at < len(self._unread):
                reply, at = _reply(self._unread, at)
                self._waiting.popleft().set_result(reply)
        except ValueError:  # the rest has not arrived yet
            pass
        self._unread = self._unread[at:]

    def _send(self, *words: object) -> "asyncio.Future[Any]":
        assert self._transport
        encoded = [one if isinstance(one, bytes) else str(one).encode() for one in words]
        parts = b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in encoded)
        self._transport.write(b"*%d\r\n%b" % (len(encoded), parts))
        self._waiting.append(asyncio.get_running_loop().create_future())
        return self._waiting[-1]


def _reply(data: bytes, at: int) -> tuple[Any, int]:
    """The reply at `at`, and where it ends. Raises ValueError when it is not complete."""
    end = data.index(b"\r\n", at)
    kind, word, end = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"-":
        raise RuntimeError(f"Redis answered: {word.decode()}")
    if kind == b"$":
        size = int(word)
        if len(data) < end + size + 2:
            raise ValueError("incomplete")
        return data[end : end + size], end + size + 2
    if kind == b"*":
        items = []
        for _ in range(int(word)):
            item, end = _reply(data, end)
            items.append(item)
        return items, end
    return word, end
