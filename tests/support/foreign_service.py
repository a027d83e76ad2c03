"""A scripted external service for tests: it answers byte for byte and records each request.

Also here: what the sidecar suites need, that is a sidecar in front of it and raw requests.
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
    """A request as it arrived; the lines of its head are unchanged."""

    head: list[str]
    body: bytes

    @property
    def what(self) -> str:
        """Method and path: `GET /posts?x=1`"""
        return self.head[0].rsplit(" ", 1)[0]

    def header(self, name: str) -> str | None:
        """The value of the first header with that name, or None."""
        for line in self.head[1:]:
            if line.lower().startswith(f"{name.lower()}: "):
                return line.split(": ", 1)[1]
        return None


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Says = bytes | Callable[[Heard], bytes | Awaitable[bytes]] | Talk
"""An answer: bytes, a function of the request, or a coroutine that uses the streams directly."""


def http(body: bytes | Any, status: str = "200 OK", *headers: str) -> bytes:
    """A complete HTTP answer; a `body` that is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", "")
    return "\r\n".join(lines).encode() + content


POST = http({"id": "a1", "title": "x"}, "201 Created")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request and never answer."""
    await reader.read()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""


@dataclass
class Foreign:
    """`script` maps `GET /path` (without the query) to an answer; `otherwise` answers all else.
    `accepted` counts connections opened, `closed` those that ended."""

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
    """The external service, listening inside the block."""
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
    """A sidecar in front of an external service, and a client."""

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
        """Send a request to the sidecar's adapter; status and JSON of its answer."""
        async with self.client.request(
            method, self.face + path, json=body, headers={"Lab-Token": TOKEN, **headers}
        ) as response:
            return response.status, await response.json(content_type=None)

    async def put(self, kind: str, **options: Any) -> None:
        """Put a fault into the sidecar's fault filter."""
        order = {"kind": kind, "target": "posts", "options": options, "seed": 1}
        status, told = await self.ask("PUT", f"/_lab/faults/{kind}", order)
        assert status == 200, told

    async def take(self, kind: str) -> dict[str, Any]:
        """Remove the fault; its evidence."""
        status, told = await self.ask("DELETE", f"/_lab/faults/{kind}")
        assert status == 200, told
        assert (await self.ask("GET", "/_lab/faults"))[1] == {}
        evidence: dict[str, Any] = told["evidence"]
        return evidence

    async def state(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.ask("GET", "/_lab/state"))[1]
        return told

    async def until_under_way(self, count: int) -> None:
        """Wait until `count` requests are in flight."""
        await until(lambda: self.sidecar._state()["under_way"] == count, f"{count} under way")


@asynccontextmanager
async def before(
    foreign: Foreign, name: str = "posts", *, listens: bool = True, **options: Any
) -> AsyncIterator[Before]:
    """A sidecar in front of the service; with `listens` False nothing listens behind it."""
    async with serving(foreign), aiohttp.ClientSession() as client:
        given = {"raw_port": 0, "token": TOKEN, "service_port": foreign.port} | options
        if not listens:
            given["service_port"] = await free_port()
        async with Sidecar(SidecarOptions(name, **given)) as sidecar:
            yield Before(foreign, sidecar, client)


async def free_port() -> int:
    """A port on which nothing listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def until(look: Callable[[], Any], says: str) -> None:
    """Wait until `look` returns something true."""
    give_up_at_s = perf_counter() + PATIENCE_S
    while not look():
        assert perf_counter() < give_up_at_s, f"{says} did not come true"
        await asyncio.sleep(0.002)


@dataclass
class Wire:
    """A connection that sends bytes unchanged."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *sent: bytes) -> None:
        self.writer.write(b"".join(sent))
        await self.writer.drain()

    async def answer(self, bodiless: bool = False) -> tuple[list[str], bytes]:
        """The next answer: the lines of its head, and its body without the framing."""
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
        """Send a request; the status and body of its answer."""
        await self.send(request(first, body, *headers))
        head, answered = await self.answer(first.startswith("HEAD"))
        return int(head[0].split()[1]), answered


def request(first: str, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a request: first line (`GET /posts`), extra headers, body."""
    lines = [f"{first} HTTP/1.1", "Host: localhost:4000", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """An open connection, closed after the block."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
