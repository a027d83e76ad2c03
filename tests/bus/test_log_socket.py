"""The WebSocket by which services publish to the log: as with POST, only faster."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic_core import from_json, to_json

from lab.bus.base import BusUnavailable
from lab.bus.log.client import LogBus
from lab.bus.log.wire import MAX_BODY_BYTES
from lab.cluster.ports import reserve
from lab.domain import headers
from tests.support.bus_places import BusProcess, RestartableBus, an_event
from tests.support.consumers import evidence_now, wait_until
from tests.support.laboratory import PATIENCE_S, Laboratory, RunningBlog


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def url(bus_blog: RunningBlog) -> str:
    return bus_blog.stack.urls["event-bus"]


async def send(socket: aiohttp.ClientWebSocketResponse, message: bytes) -> dict[str, object]:
    await socket.send_bytes(message)
    answer: dict[str, object] = from_json(await socket.receive_bytes(timeout=PATIENCE_S))
    return answer


async def test_a_message_is_answered_as_a_post_would_be(
    session: aiohttp.ClientSession, url: str, bus_blog: RunningBlog
) -> None:
    head = bus_blog.get("event-bus", "/head")["sequence"]
    async with session.ws_connect(f"{url}/tell") as socket:
        assert await send(socket, an_event().encode()) == {"sequences": [head + 1]}
        two = f"[{an_event()}, {an_event()}]".encode()
        assert await send(socket, two) == {"sequences": [head + 2, head + 3]}
        refused = await send(socket, b"[{}]")
        assert (refused["status"], refused["field"]) == (400, "0.id")
        assert await send(socket, an_event().encode()) == {"sequences": [head + 4]}
    assert bus_blog.get("event-bus", "/head")["sequence"] == head + 4


async def test_no_page_in_a_browser_gets_in(session: aiohttp.ClientSession, url: str) -> None:
    """Browsers let a page of any site open a WebSocket to this machine."""
    for origin in ("https://example.org", url, "null"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}/tell", origin=origin)
        assert refused.value.status == 403


async def test_a_teller_of_another_log_is_refused(
    session: aiohttp.ClientSession, url: str, bus_blog: RunningBlog
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(f"{url}/tell", headers={headers.EPOCH: "another"})
    assert refused.value.status == 409
    epoch = bus_blog.get("event-bus", "/head")["epoch"]
    async with session.ws_connect(f"{url}/tell", headers={headers.EPOCH: epoch}) as socket:
        assert "sequences" in await send(socket, an_event().encode())


def test_a_plain_get_is_refused_with_advice(bus_blog: RunningBlog) -> None:
    response = bus_blog.ask("GET", "event-bus", "/tell")
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "POST" in response.json()["detail"]


@pytest.mark.parametrize("how", ["text", "too large"])
async def test_a_wrong_message_ends_the_connection_and_nothing_else(
    session: aiohttp.ClientSession, url: str, bus_blog: RunningBlog, how: str
) -> None:
    head = bus_blog.get("event-bus", "/head")
    async with session.ws_connect(f"{url}/tell") as socket:
        with suppress(ConnectionError):  # the connection may close before the last byte is sent
            if how == "text":
                await socket.send_str(an_event())
            else:
                await socket.send_bytes(b" " * (MAX_BODY_BYTES + 1))
        await socket.receive(timeout=PATIENCE_S)
        assert socket.closed
    assert bus_blog.get("event-bus", "/head") == head


@pytest.mark.parametrize(
    ("kind", "options"),
    [("error", {"status": 503}), ("reset_peer", {}), ("partition", {"from": "teller"})],
)
async def test_each_message_knocks_at_the_door(
    url: str, bus_blog: RunningBlog, kind: str, options: dict[str, Any]
) -> None:
    bus = LogBus(url, caller="teller")
    await bus.append([an_event()])
    head = bus_blog.get("event-bus", "/head")["sequence"]
    with bus_blog.broken(kind, "event-bus", **options) as injection:
        telling = asyncio.create_task(bus.append([an_event()]))
        if kind == "partition":  # no answer until the fault is removed
            await wait_until(lambda: evidence_now(bus_blog, "event-bus")["acted"] > 0)
        else:
            await asyncio.wait([telling])
    with pytest.raises(BusUnavailable):
        await telling
    assert await bus.append([an_event()]) == [head + 1]
    assert injection.evidence["acted"] >= 1  # the blog's services send requests there too
    await bus.close()


async def test_a_latency_at_the_door_holds_each_message(url: str, bus_blog: RunningBlog) -> None:
    bus = LogBus(url)
    with bus_blog.broken("latency", "event-bus", ms=20) as injection:
        for _ in range(3):
            await bus.append([an_event()])
    assert injection.evidence["acted"] >= 3
    assert injection.evidence["delayed_ms_min"] >= 20
    await bus.close()


@pytest.fixture
def place(laboratory: Laboratory) -> Iterator[RestartableBus]:
    with reserve() as port:
        place = BusProcess(laboratory, "lab.bus.log.server", port.port)
        with laboratory.start(place.program):
            yield place


async def test_a_connection_lost_while_idle_is_made_anew_silently(place: RestartableBus) -> None:
    bus = place.connect()
    assert await bus.append([an_event()]) == [1]
    await asyncio.to_thread(place.restart)
    assert await bus.head() == 1
    assert await bus.append([an_event()]) == [2]
    await bus.close()


@asynccontextmanager
async def a_server(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    server = web.Server(handler)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await server.shutdown(0.1)


@asynccontextmanager
async def a_slow_log() -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """A log that answers only when the test allows it; yields (URL, "asked", "may")."""
    asked, may = asyncio.Event(), asyncio.Event()
    numbers = itertools.count(1)

    async def tell(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            number = next(numbers)
            asked.set()
            await may.wait()
            await socket.send_bytes(to_json({"sequences": [number]}))
        return socket

    async with a_server(tell) as url:
        yield url, asked, may


async def test_an_answer_after_a_cancellation_is_taken_for_no_other() -> None:
    async with a_slow_log() as (url, asked, may):
        bus = LogBus(url)
        impatient = asyncio.create_task(bus._publish([]))
        await asked.wait()
        impatient.cancel()
        await asyncio.wait([impatient])
        may.set()
        assert await bus._publish([]) == [2]
        await bus.close()


async def test_messages_of_every_length_arrive_whole(url: str) -> None:
    bus = LogBus(url)
    head = await bus.head()
    for number, size in enumerate((1, 125, 126, 65_535, 65_536, 1_000_000), head + 1):
        event = an_event().replace('"data":{', f'"data":{{"x":"{"y" * size}",')
        assert await bus.append([event]) == [number]
    await bus.close()


async def test_a_ping_is_answered_and_fragments_end_the_connection() -> None:
    pinged = asyncio.Event()

    async def tell(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.PONG:
                pinged.set()
            elif not pinged.is_set():
                await socket.ping(b"there?")
                await socket.send_bytes(to_json({"sequences": [1]}))
            else:
                assert request.transport
                request.transport.write(b"\x02\x01x")  # not the last fragment
        return socket

    async with a_server(tell) as url:
        bus = LogBus(url)
        assert await bus._publish([]) == [1]
        await asyncio.wait_for(pinged.wait(), PATIENCE_S)
        with pytest.raises(BusUnavailable, match="no log sends"):
            await bus._publish([])
        await bus.close()
