"""RabbitMQ as a bus: enough of AMQP 0-9-1 (rabbitmq.com/resources/specs/amqp0-9-1.pdf).

`quorum`: a fanout exchange, and a quorum queue for each consumer. `stream`: one stream for all.
Every event is persistent, and confirmed by the broker before `append` returns.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from lab.bus.base import Batch
from lab.domain.events import Envelope
from lab.domain.model import new_id

_METHOD, _HEADER, _BODY = 1, 2, 3
_EXCHANGE = "bench"
_PREFETCH = 512


class RabbitBus:
    """A connection with one channel; `head` opens it."""

    def __init__(self, address: str) -> None:
        kind, at = urlsplit(address).scheme.removeprefix("amqp+"), urlsplit(address)
        self._stream, self._port = kind == "stream", at.port
        self._confirms: dict[int, asyncio.Future[None]] = {}
        self._published = 0
        self._listening: asyncio.Task[None] | None = None

    async def head(self) -> int:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(b"AMQP\0\0\x09\x01")
        await self._expect(10, 10)
        login = _table({}) + _short("PLAIN") + _long(b"\0guest\0guest") + _short("en_US")
        self._send(0, 10, 11, login)
        await self._expect(10, 30)
        self._send(0, 10, 31, struct.pack(">HIH", 1, 131072, 0))
        self._send(0, 10, 40, _short("/") + _short("") + b"\0")
        await self._expect(10, 41)
        await self._call(20, 10, _short(""))
        await self._call(85, 10, b"\0")  # confirm what is published
        if self._stream:
            await self._declare_queue("events", {"x-queue-type": "stream"})
        else:
            exchange = _short(_EXCHANGE) + _short("fanout") + b"\x02" + _table({})
            await self._call(40, 10, b"\0\0" + exchange)
        return 0

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        if self._listening is None:
            self._listening = asyncio.create_task(self._hear_confirms())
        loop = asyncio.get_running_loop()
        confirmed = []
        for envelope in envelopes:
            self._published += 1
            confirmed.append(loop.create_future())
            self._confirms[self._published] = confirmed[-1]
            self._publish(envelope.encode())
        await asyncio.gather(*confirmed)
        return []

    async def subscribe(self) -> None:
        """Consume from the start of the stream, or from a new queue."""
        queue, arguments = "events", {"x-stream-offset": "first"} if self._stream else {}
        await self._call(60, 10, struct.pack(">IHB", 0, _PREFETCH, 0))
        if not self._stream:
            queue = f"events-{new_id()}"
            await self._declare_queue(queue, {"x-queue-type": "quorum"})
            bind = _short(queue) + _short(_EXCHANGE) + _short("") + b"\0" + _table({})
            await self._call(50, 20, b"\0\0" + bind)
        await self._call(60, 20, b"\0\0" + _short(queue) + _short("") + b"\0" + _table(arguments))

    async def read(self, after: int) -> AsyncIterator[Batch]:
        number = 0
        while True:
            kind, payload = await self._frame()
            if kind == _BODY:
                number += 1
                yield [Envelope.from_json(payload)]
                if number % (_PREFETCH // 8) == 0:  # acknowledges all up to this one
                    self._send(1, 60, 80, struct.pack(">QB", number, 1))

    async def close(self) -> None:
        if self._listening:
            self._listening.cancel()
        self._writer.close()

    async def _hear_confirms(self) -> None:
        oldest = 1
        while True:
            _, payload = await self._frame()
            code, tag, multiple = struct.unpack(">IQB", payload[:13])
            if code != (60 << 16 | 80):
                raise RuntimeError(f"RabbitMQ did not confirm: {payload!r}")
            for one in range(oldest, tag + 1) if multiple else (tag,):
                if (future := self._confirms.pop(one, None)) is not None:
                    future.set_result(None)
            if multiple:
                oldest = tag + 1

    def _publish(self, body: bytes) -> None:
        exchange, key = ("", "events") if self._stream else (_EXCHANGE, "")
        method = struct.pack(">HHH", 60, 40, 0) + _short(exchange) + _short(key) + b"\0"
        persistent = struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 2)
        frames = ((_METHOD, method), (_HEADER, persistent), (_BODY, body))
        self._writer.write(b"".join(_frame(kind, 1, payload) for kind, payload in frames))

    async def _declare_queue(self, name: str, arguments: dict[str, str]) -> None:
        await self._call(50, 10, b"\0\0" + _short(name) + b"\x02" + _table(arguments))

    async def _call(self, class_id: int, method: int, arguments: bytes) -> None:
        """A method of the channel, and its "ok", whose number is the next one."""
        self._send(1, class_id, method, arguments)
        await self._expect(class_id, method + 1)

    def _send(self, channel: int, class_id: int, method: int, arguments: bytes) -> None:
        payload = struct.pack(">HH", class_id, method) + arguments
        self._writer.write(_frame(_METHOD, channel, payload))

    async def _expect(self, class_id: int, method: int) -> None:
        _, payload = await self._frame()
        if struct.unpack(">HH", payload[:4]) != (class_id, method):
            raise RuntimeError(f"RabbitMQ answered {payload!r}, expected {class_id}.{method}.")

    async def _frame(self) -> tuple[int, bytes]:
        kind, _, size = struct.unpack(">BHI", await self._reader.readexactly(7))
        return kind, (await self._reader.readexactly(size + 1))[:-1]


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def _short(text: str) -> bytes:
    return struct.pack(">B", len(text)) + text.encode()


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _table(fields: dict[str, str]) -> bytes:
    return _long(b"".join(_short(k) + b"S" + _long(v.encode()) for k, v in fields.items()))
