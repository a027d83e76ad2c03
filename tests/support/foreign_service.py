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
class ReceivedRequest:
    """A request as it arrived; the lines of its head are unchanged."""

    head: list[str]
    body: bytes

    @property
    def summary(self) -> str:
        """Method and path: `GET /posts?x=1`"""
        return self.head[0].rsplit(" ", 1)[0]

    def header(self, name: str) -> str | None:
        """The value of the first header with that name, or None."""
        for line in self.head[1:]:
            if line.lower().startswith(f"{name.lower()}: "):
                return line.split(": ", 1)[1]
        return None


StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ScriptedAnswer = bytes | Callable[[ReceivedRequest], bytes | Awaitable[bytes]] | StreamHandler
"""An answer: bytes, a function of the request, or a coroutine that uses the streams directly."""


def encode_answer(body: bytes | Any, status: str = "200 OK", *headers: str) -> bytes:
    """A complete HTTP answer; a `body` that is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", "")
    return "\r\n".join(lines).encode() + content


POST_CREATED = encode_answer({"id": "a1", "title": "x"}, "201 Created")


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the request and never answer."""
    await reader.read()


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""


@dataclass
class ScriptedService:
    """`script` maps `GET /path` (without the query) to an answer; `otherwise` answers all else.
    `accepted` counts connections opened, `closed` those that ended."""

    script: dict[str, ScriptedAnswer] = field(default_factory=dict)
    default: ScriptedAnswer = field(default_factory=lambda: encode_answer({"status": "OK"}))
    received: list[ReceivedRequest] = field(default_factory=list)
    port: int = 0
    accepted: int = 0
    closed: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                received = await _read_request(reader)
                self.received.append(received)
                scripted = self.script.get(received.summary.partition("?")[0], self.default)
                if callable(scripted) and len(inspect.signature(scripted).parameters) == 2:
                    await scripted(reader, writer)  # type: ignore[call-arg, arg-type, misc]
                    break
                answer: Any = scripted(received) if callable(scripted) else scripted  # type: ignore[call-arg]
                writer.write(await answer if inspect.isawaitable(answer) else answer)
                await writer.drain()
        self.closed += 1
        self._writers.discard(writer)
        writer.close()

    def close_connections(self) -> None:
        """Close all connections from this side."""
        for writer in list(self._writers):
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> ReceivedRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    received = ReceivedRequest(head, b"")
    if (received.header("Transfer-Encoding") or "").lower() == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return ReceivedRequest(head, body)
    return ReceivedRequest(
        head, await reader.readexactly(int(received.header("Content-Length") or 0))
    )


@asynccontextmanager
async def serve_scripted(
    service: ScriptedService, host: str = "127.0.0.1"
) -> AsyncIterator[ScriptedService]:
    """The external service, listening inside the block."""
    server = await asyncio.start_server(service.handle, host, 0, limit=1 << 20, backlog=512)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        service.close_connections()
        await until(lambda: service.closed == service.accepted, "the end of all connections")


@dataclass
class SidecarSetup:
    """A sidecar in front of an external service, and a client."""

    service: ScriptedService
    sidecar: Sidecar
    client: aiohttp.ClientSession

    @property
    def adapter_url(self) -> str:
        return self.sidecar.adapter_url

    @property
    def raw_url(self) -> str:
        assert self.sidecar.raw_url is not None
        return self.sidecar.raw_url

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request to the sidecar's adapter; status and JSON of its answer."""
        async with self.client.request(
            method, self.adapter_url + path, json=body, headers={"Lab-Token": TOKEN, **headers}
        ) as response:
            return response.status, await response.json(content_type=None)

    async def add_fault(self, kind: str, **options: Any) -> None:
        """Put a fault into the sidecar's fault filter."""
        request = {"kind": kind, "target": "posts", "options": options, "seed": 1}
        status, answer = await self.ask("PUT", f"/_lab/faults/{kind}", request)
        assert status == 200, answer

    async def remove_fault(self, kind: str) -> dict[str, Any]:
        """Remove the fault; its evidence."""
        status, answer = await self.ask("DELETE", f"/_lab/faults/{kind}")
        assert status == 200, answer
        assert (await self.ask("GET", "/_lab/faults"))[1] == {}
        evidence: dict[str, Any] = answer["evidence"]
        return evidence

    async def state(self) -> dict[str, Any]:
        state: dict[str, Any] = (await self.ask("GET", "/_lab/state"))[1]
        return state

    async def until_under_way(self, count: int) -> None:
        """Wait until `count` requests are in flight."""
        await until(lambda: self.sidecar._state()["under_way"] == count, f"{count} under way")


@asynccontextmanager
async def sidecar_before(
    service: ScriptedService, name: str = "posts", *, listens: bool = True, **options: Any
) -> AsyncIterator[SidecarSetup]:
    """A sidecar in front of the service; with `listens` False nothing listens behind it."""
    async with serve_scripted(service), aiohttp.ClientSession() as client:
        settings = {"raw_port": 0, "token": TOKEN, "service_port": service.port} | options
        if not listens:
            settings["service_port"] = await unused_port()
        async with Sidecar(SidecarOptions(name, **settings)) as sidecar:
            yield SidecarSetup(service, sidecar, client)


async def unused_port() -> int:
    """A port on which nothing listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def until(condition: Callable[[], Any], description: str) -> None:
    """Wait until `look` returns something true."""
    give_up_at_s = perf_counter() + PATIENCE_S
    while not condition():
        assert perf_counter() < give_up_at_s, f"{description} did not come true"
        await asyncio.sleep(0.002)


@dataclass
class RawConnection:
    """A connection that sends bytes unchanged."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *sent: bytes) -> None:
        self.writer.write(b"".join(sent))
        await self.writer.drain()

    async def read_answer(self, bodiless: bool = False) -> tuple[list[str], bytes]:
        """The next answer: the lines of its head, and its body without the framing."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        received = ReceivedRequest(head, b"")
        if bodiless or head[0].split()[1] in ("204", "304", "100"):
            return head, b""
        if received.header("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
            return head, body
        length = received.header("Content-Length")
        if length is None:
            return head, await self.reader.read()
        return head, await self.reader.readexactly(int(length))

    async def ask(self, request_line: str, body: bytes = b"", *headers: str) -> tuple[int, bytes]:
        """Send a request; the status and body of its answer."""
        await self.send(encode_request(request_line, body, *headers))
        head, answered = await self.read_answer(request_line.startswith("HEAD"))
        return int(head[0].split()[1]), answered


def encode_request(request_line: str, body: bytes = b"", *headers: str) -> bytes:
    """The bytes of a request: first line (`GET /posts`), extra headers, body."""
    lines = [f"{request_line} HTTP/1.1", "Host: localhost:4000", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


@asynccontextmanager
async def open_raw(url: str) -> AsyncIterator[RawConnection]:
    """An open connection, closed after the block."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
