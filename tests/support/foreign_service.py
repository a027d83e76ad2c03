"""A foreign service for tests: it answers what a script says to the byte, and keeps what it heard.

With it what the suites about the sidecar need: a sidecar before it, raw requests, its door.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import aiohttp

from lab.external.sidecar import Sidecar, SidecarOptions

TOKEN = "the token of these tests"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Heard:
    """A request as it arrived; the head with its lines as they were."""

    head: list[str]
    body: bytes

    @property
    def what(self) -> str:
        """`GET /posts?x=1`"""
        return self.head[0].rsplit(" ", 1)[0]

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        for line in self.head[1:]:
            if line.lower().startswith(f"{name.lower()}: "):
                return line.split(": ", 1)[1]
        return None


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Says = bytes | Callable[[Heard], bytes | Awaitable[bytes]] | Talk
"""What is answered: bytes, what a function of the request says, or what streams are used for."""


def http(body: bytes | Any, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer; what is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", "")
    return "\r\n".join(lines).encode() + content


POST = http({"id": "a1", "title": "x"}, "201 Created")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take it in, and never answer."""
    await reader.read()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing, and go."""


@dataclass
class Foreign:
    """`script`: what is said to `GET /path`, without the query; `otherwise`: to all else. `closed`
    counts connections that ended, `accepted` those that began."""

    script: dict[str, Says] = field(default_factory=dict)
    otherwise: Says = field(default_factory=lambda: http({"status": "OK"}))
    heard: list[Heard] = field(default_factory=list)
    port: int = 0
    accepted: int = 0
    closed: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                heard = await _read(reader)
                self.heard.append(heard)
                says = self.script.get(heard.what.partition("?")[0], self.otherwise)
                if callable(says) and len(inspect.signature(says).parameters) == 2:
                    await says(reader, writer)  # type: ignore[call-arg, arg-type, misc]
                    break
                told: Any = says(heard) if callable(says) else says  # type: ignore[call-arg]
                writer.write(await told if inspect.isawaitable(told) else told)
                await writer.drain()
        self.closed += 1
        self._writers.discard(writer)
        writer.close()

    def hang_up(self) -> None:
        """Close all connections from this side."""
        for writer in list(self._writers):
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    heard = Heard(head, b"")
    if (heard.header("Transfer-Encoding") or "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return Heard(head, body)
    return Heard(head, await reader.readexactly(int(heard.header("Content-Length") or 0)))


@asynccontextmanager
async def serving(foreign: Foreign, host: str = "127.0.0.1") -> AsyncIterator[Foreign]:
    """The foreign service, listening."""
    server = await asyncio.start_server(foreign.talk, host, 0, limit=1 << 20, backlog=512)
    foreign.port = server.sockets[0].getsockname()[1]
    try:
        yield foreign
    finally:
        server.close()
        foreign.hang_up()
        await until(lambda: foreign.closed == foreign.accepted, "the end of all connections")


@dataclass
class Before:
    """A sidecar before a foreign service, and a client."""

    foreign: Foreign
    sidecar: Sidecar
    client: aiohttp.ClientSession

    @property
    def face(self) -> str:
        return self.sidecar.face_url

    @property
    def raw(self) -> str:
        assert self.sidecar.raw_url is not None
        return self.sidecar.raw_url

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Ask the face; the status, and the JSON it answered."""
        async with self.client.request(
            method, self.face + path, json=body, headers={"Lab-Token": TOKEN, **headers}
        ) as response:
            return response.status, await response.json(content_type=None)

    async def put(self, kind: str, **options: Any) -> None:
        """Hang a fault on the door."""
        order = {"kind": kind, "target": "posts", "options": options, "seed": 1}
        status, told = await self.ask("PUT", f"/_lab/faults/{kind}", order)
        assert status == 200, told

    async def take(self, kind: str) -> dict[str, Any]:
        """Take it off; what it has done."""
        status, told = await self.ask("DELETE", f"/_lab/faults/{kind}")
        assert status == 200, told
        assert (await self.ask("GET", "/_lab/faults"))[1] == {}
        evidence: dict[str, Any] = told["evidence"]
        return evidence

    async def state(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.ask("GET", "/_lab/state"))[1]
        return told

    async def until_under_way(self, count: int) -> None:
        """Wait until so many requests are on their way."""
        await until(lambda: self.sidecar._state()["under_way"] == count, f"{count} under way")


@asynccontextmanager
async def before(
    foreign: Foreign, name: str = "posts", *, listens: bool = True, **options: Any
) -> AsyncIterator[Before]:
    """A sidecar before the service; without `listens` nobody is there to be asked."""
    async with serving(foreign), aiohttp.ClientSession() as client:
        given = {"raw_port": 0, "token": TOKEN, "service_port": foreign.port} | options
        if not listens:
            given["service_port"] = await free_port()
        async with Sidecar(SidecarOptions(name, **given)) as sidecar:
            yield Before(foreign, sidecar, client)


async def free_port() -> int:
    """A port on which nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def until(look: Callable[[], Any], says: str) -> None:
    """Wait until it is so."""
    give_up_at_s = perf_counter() + PATIENCE_S
    while not look():
        assert perf_counter() < give_up_at_s, f"{says} did not come true"
        await asyncio.sleep(0.002)


@dataclass
class Wire:
    """A connection on which bytes are sent as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *sent: bytes) -> None:
        self.writer.write(b"".join(sent))
        await self.writer.drain()

    async def answer(self, bodiless: bool = False) -> tuple[list[str], bytes]:
        """The next answer: the lines of its head, and its body without what framed it."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        heard = Heard(head, b"")
        if bodiless or head[0].split()[1] in ("204", "304", "100"):
            return head, b""
        if heard.header("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
            return head, body
        length = heard.header("Content-Length")
        if length is None:
            return head, await self.reader.read()
        return head, await self.reader.readexactly(int(length))

    async def ask(self, first: str, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
        """A request and the status and body of its answer."""
        await self.send(request(first, body, *headers))
        head, answered = await self.answer(first.startswith("HEAD"))
        return int(head[0].split()[1]), answered


def request(first: str, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a request: `GET /posts`, its body, its headers besides."""
    lines = [f"{first} HTTP/1.1", "Host: localhost:4000", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """An open connection."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
