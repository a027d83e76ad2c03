"""A lecture hall: phones that read their streams and answer bets, as one small asyncio client."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import aiohttp

from tests.programs.patient import PATIENCE_S


@dataclass
class HallPhone:
    """A phone: what it has received. `refused`: the status instead of a stream."""

    port: int
    token: str = ""
    side: int = -1
    received_bytes: int = 0
    refused: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_stream(self) -> None:
        """Connect, and read until the stream ends or this is cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            path = f"/api/phone?phone={self.token}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split()[1])
            if status != 200:
                self.refused = status
                self.heard.set()
                return
            while size := int(await reader.readline() or b"0", 16):
                chunk = (await reader.readexactly(size + 2))[:-2]
                self.received_bytes += len(chunk)
                for event in chunk.split(b"\n\n")[:-1]:
                    name, _, data = event.partition(b"\n")
                    self._take(name.removeprefix(b"event: ").decode(), json.loads(data[6:]))
        finally:
            writer.close()

    def _take(self, name: str, data: Any) -> None:
        self.last[name] = data
        if name == "hello":
            self.token, self.side = data["phone"], data["side"]
            self.last["bet"] = data["bet"]
        self.heard.set()

    async def wait_for(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self.last):
                self.heard.clear()
                await self.heard.wait()

    async def vote(self, answer: int, **other: Any) -> int:
        """Answer the bet on this phone; returns the status. `other` replaces keys of the body."""
        body = {"phone": self.token, "bet": self.last["bet"]["n"], "answer": answer, **other}
        return await post(self.port, "/api/vote", body)


class NatsPhone:
    """A phone that reads from nats-server, as `nats.js` does."""

    def __init__(self, client: aiohttp.ClientSession, port: int, name: str, side: int) -> None:
        self._client, self._port, self._name = client, port, name
        self._subjects = ("phones.all", ("phones.left", "phones.right")[side])
        self.last: dict[str, Any] = {}
        self.errors: list[str] = []
        self.received_bytes = 0
        self._heard = asyncio.Event()
        self.is_closed = False

    async def connect(self) -> None:
        self._socket = await self._client.ws_connect(f"ws://127.0.0.1:{self._port}/")
        options = json.dumps({"verbose": False, "name": self._name})
        subscriptions = [f"SUB {name} {number}" for number, name in enumerate(self._subjects)]
        await self.send(f"CONNECT {options}", *subscriptions, "PING")
        self._reading = asyncio.create_task(self._read())

    async def send(self, *lines: str) -> None:
        await self._socket.send_bytes("".join(f"{line}\r\n" for line in lines).encode())

    async def _read(self) -> None:
        unread = b""
        async for message in self._socket:
            self.received_bytes += len(message.data)
            unread += message.data
            while b"\r\n" in unread:
                line, _, rest = unread.partition(b"\r\n")
                if line.startswith(b"MSG "):
                    size = int(line.split()[-1])
                    if len(rest) < size + 2:
                        break
                    name, _, data = rest[:size].partition(b" ")
                    self.last[name.decode()] = json.loads(data)
                    rest = rest[size + 2 :]
                elif line.startswith(b"-ERR"):
                    self.errors.append(line.decode())
                elif line == b"PING":
                    await self.send("PONG")
                unread = rest
                self._heard.set()
        self.is_closed = True
        self._heard.set()

    async def wait_for(self, holds: Callable[[dict[str, Any]], object]) -> None:
        await self._wait(lambda: holds(self.last))

    async def wait_for_error(self) -> None:
        """Wait until the server has refused something; a connection may be closed then."""
        await self._wait(lambda: self.errors or self.is_closed)
        self.errors.clear()

    async def wait_until_closed(self) -> None:
        await self._wait(lambda: self.is_closed)

    async def _wait(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._heard.clear()
                await self._heard.wait()

    async def close(self) -> None:
        await self._socket.close()
        await self._reading


async def post(port: int, path: str, body: Any) -> int:
    """One POST with its own connection; returns the status, 0 if the connection was cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nLab-Page: 1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + content)
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writer.close()


class Hall:
    """Phones that are connected for the duration of the context."""

    def __init__(self, port: int, count: int) -> None:
        self.phones = [HallPhone(port) for _ in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Hall":
        self._tasks = [asyncio.create_task(phone.read_stream()) for phone in self.phones]
        async with asyncio.timeout(PATIENCE_S):
            for phone in self.phones:
                await phone.heard.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def bytes_per_second(self, seconds: float) -> list[float]:
        """What each phone receives, measured over some seconds."""
        before, began_s = [phone.received_bytes for phone in self.phones], perf_counter()
        await asyncio.sleep(seconds)
        took_s = perf_counter() - began_s
        return [
            (phone.received_bytes - earlier) / took_s
            for phone, earlier in zip(self.phones, before, strict=True)
        ]
