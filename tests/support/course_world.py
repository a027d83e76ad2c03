"""The course's bus in a new process, with subscribers that a test can make fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from lab.cluster.arrangements import PRELOAD
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Supervisor
from lab.domain.errors import ServiceError
from lab.domain.events import Envelope, PostCreated
from lab.service.http import problem_response

PATIENCE_S = 60.0  # for tests that expect no timeout


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)


async def wait_until_equal(probe: Callable[[], Awaitable[Any]], expected: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await probe() != expected:  # noqa: ASYNC110 - the state is in other processes
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
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServiceError as error:  # as the service's server does
            return problem_response(error)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
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
    received: list[dict[str, Any]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.release.set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        event = await request.json()
        if event["data"]["id"] == self.fails_on:
            return web.json_response({}, status=500)
        self.received.append(event)
        await self.release.wait()
        return web.json_response({}, status=self.status)

    @property
    def names(self) -> list[str]:
        return [event["data"]["id"] for event in self.received]


@dataclass
class CourseWorld:
    """A supervisor and the programs it has started."""

    supervisor: Supervisor
    folder: Path
    reserved_ports: ExitStack
    exit_stack: AsyncExitStack

    def reserve_port(self) -> int:
        return self.reserved_ports.enter_context(reserve()).port

    async def start_subscriber(self, subscriber: Subscriber) -> str:
        self.exit_stack.callback(subscriber.release.set)
        return await self.exit_stack.enter_async_context(serving(subscriber))


@asynccontextmanager
async def open_course_world(folder: Path) -> AsyncIterator[CourseWorld]:
    async with Supervisor(PRELOAD, folder) as supervisor:
        with ExitStack() as reserved_ports:
            async with AsyncExitStack() as exit_stack:
                yield CourseWorld(supervisor, folder, reserved_ports, exit_stack)
