"""The course's bus in a new process, with subscribers that a test can make fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from lab.bus.connect import open_bus
from lab.cluster.arrangements import PRELOAD
from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.cluster.supervisor import Supervisor
from lab.domain.errors import ServiceError
from lab.domain.events import Envelope, PostCreated
from lab.service.http import problem

PATIENCE_S = 60.0  # for tests that expect no timeout


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)


async def until_it_says(look: Callable[[], Awaitable[Any]], answer: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await look() != answer:  # noqa: ASYNC110 - the state is in other processes
            await asyncio.sleep(0.001)


def an_event(name: str) -> str:
    event = PostCreated(id=name, title=f"Title {name}")
    return Envelope.around(event, source="/tests", traceparent="00-a-b-01").model_dump_json()


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return await response.json()


async def post(url: str, body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as client, client.post(url, json=body) as response:
        return response.status, await response.json()


@asynccontextmanager
async def serving(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], port: int = 0
) -> AsyncIterator[str]:
    async def answered(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServiceError as error:  # as the service's server does
            return problem(error)

    runner = web.ServerRunner(web.Server(answered), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, reuse_port=bool(port)).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Subscriber:
    """An `/events` endpoint that can fail or keep the bus waiting."""

    status: int = 200
    fails_on: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.let_go.set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        event = await request.json()
        if event["data"]["id"] == self.fails_on:
            return web.json_response({}, status=500)
        self.heard.append(event)
        await self.let_go.wait()
        return web.json_response({}, status=self.status)

    @property
    def names(self) -> list[str]:
        return [event["data"]["id"] for event in self.heard]


@dataclass
class World:
    """A supervisor and the programs it has started."""

    supervisor: Supervisor
    folder: Path
    held: ExitStack
    open: AsyncExitStack

    def a_port(self) -> int:
        return self.held.enter_context(reserve()).port

    def nobody(self) -> str:
        """The address of a subscriber that is down."""
        return f"http://127.0.0.1:{self.a_port()}"

    async def somebody(self, subscriber: Subscriber) -> str:
        self.open.callback(subscriber.let_go.set)
        return await self.open.enter_async_context(serving(subscriber))

    async def bus(self, delivery: str, *subscribers: str) -> str:
        port = self.a_port()
        argv = ["--port", str(port), "--reuse-port", "--delivery", delivery]
        for url in subscribers:
            argv += ["--subscriber", url]
        url = f"http://127.0.0.1:{port}"
        log = self.folder / "bus.log"
        await self.supervisor.start(
            Program("bus", "lab.bus.course.server", tuple(argv), log, health=f"{url}/health")
        )
        return url

    async def tell(self, url: str, *names: str) -> None:
        bus = open_bus(f"course+{url}")
        try:
            await bus.append([an_event(name) for name in names])
        finally:
            await bus.close()


@asynccontextmanager
async def a_world(folder: Path) -> AsyncIterator[World]:
    async with Supervisor(PRELOAD, folder) as supervisor:
        with ExitStack() as held:
            async with AsyncExitStack() as opened:
                yield World(supervisor, folder, held, opened)
