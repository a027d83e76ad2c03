"""The course's bus: the few promises it keeps, and those it does not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial

import pytest
from aiohttp import web

from lab.bus.base import BusUnavailable
from lab.bus.connect import open_bus
from lab.bus.course.client import CourseBus
from lab.bus.course.server import CourseServer
from lab.cluster.bus_engines import DELIVERIES
from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.domain.events import PostCreated
from tests.support.course_world import Subscriber, an_event, get, post, serving, until
from tests.support.laboratory import PATIENCE_S, Laboratory


class World:
    """The course's bus in this process, and its subscribers."""

    def __init__(self, opened: AsyncExitStack, nobody: Callable[[], str]) -> None:
        self._opened = opened
        self.nobody = nobody

    async def somebody(self, subscriber: Subscriber) -> str:
        self._opened.callback(subscriber.let_go.set)
        return await self._opened.enter_async_context(serving(subscriber))

    async def bus(self, delivery: str, *subscribers: str) -> str:
        server = CourseServer(subscribers, delivery)
        self._opened.push_async_callback(server._post.close)

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await (server.take if request.method == "POST" else server.all_so_far)(request)

        return await self._opened.enter_async_context(serving(answer))


async def tell(url: str, *names: str) -> None:
    bus = open_bus(f"course+{url}")
    try:
        await bus.append([an_event(name) for name in names])
    finally:
        await bus.close()


@pytest.fixture
def nobody() -> Iterator[Callable[[], str]]:
    """Yields addresses at which no subscriber listens."""
    with ExitStack() as held:
        yield lambda: f"http://127.0.0.1:{held.enter_context(reserve()).port}"


@pytest.fixture
async def world(nobody: Callable[[], str]) -> AsyncIterator[World]:
    async with AsyncExitStack() as opened:
        yield World(opened, nobody)


# ── Promises it keeps


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_subscriber_that_is_up_hears_everything(world: World, delivery: str) -> None:
    several = [Subscriber() for _ in range(3)]
    url = await world.bus(delivery, *[await world.somebody(one) for one in several])
    for name in "abc":
        await tell(url, name)
    for one in several:
        await until(lambda one=one: len(one.heard) == 3)  # type: ignore[misc]
        assert sorted(one.names) == ["a", "b", "c"]
    assert [event["data"]["id"] for event in await get(f"{url}/events")] == ["a", "b", "c"]


async def test_type_data_and_foreign_fields_are_all_that_travels(world: World) -> None:
    somebody = Subscriber()
    url = await world.bus("one-by-one", await world.somebody(somebody))
    await tell(url, "a")
    theirs = {"type": "Liked", "data": {"id": "a"}, "version": 2}
    assert await post(f"{url}/events", theirs) == (200, {"status": "OK"})
    ours = {"type": "PostCreated", "data": {"id": "a", "title": "Title a"}}
    assert somebody.heard == await get(f"{url}/events") == [ours, theirs]


async def test_what_is_no_event_is_refused_by_field(world: World) -> None:
    url = await world.bus("one-by-one", world.nobody())
    status, told = await post(f"{url}/events", {"type": "PostCreated"})
    assert (status, told["field"]) == (400, "data")
    assert await get(f"{url}/events") == []


# ── Promises it does not keep


async def test_a_subscriber_that_was_down_has_missed_the_event(world: World) -> None:
    there, away = Subscriber(), Subscriber()
    address = world.nobody()
    url = await world.bus("fire-and-forget", address, await world.somebody(there))
    await tell(url, "missed")
    await until(lambda: there.names == ["missed"])
    port = int(address.rsplit(":", 1)[1])
    async with serving(away, port):
        await tell(url, "heard")
        await until(lambda: bool(away.heard))
        assert away.names == ["heard"]


async def test_one_by_one_a_dead_subscriber_cuts_off_the_rest(world: World) -> None:
    first, last = Subscriber(), Subscriber()
    urls = [await world.somebody(first), world.nobody(), await world.somebody(last)]
    url = await world.bus("one-by-one", *urls)
    await tell(url, "a", "b")  # answered once the deliveries are done
    assert (first.names, last.names) == (["a", "b"], [])


async def test_one_by_one_a_hanging_subscriber_delays_the_rest(world: World) -> None:
    hanging, last = Subscriber(), Subscriber()
    hanging.let_go.clear()
    url = await world.bus("one-by-one", await world.somebody(hanging), await world.somebody(last))
    telling = asyncio.create_task(tell(url, "a"))
    await until(lambda: hanging.names == ["a"])
    assert (last.names, telling.done()) == ([], False)
    hanging.let_go.set()
    await telling
    assert last.names == ["a"]


async def test_fire_and_forget_a_hanging_subscriber_delays_no_other(world: World) -> None:
    hanging, last = Subscriber(), Subscriber()
    hanging.let_go.clear()
    url = await world.bus(
        "fire-and-forget", await world.somebody(hanging), await world.somebody(last)
    )
    await tell(url, "a", "b")
    await until(lambda: sorted(last.names) == ["a", "b"])


@pytest.mark.parametrize("how", ["refuses", "fails"])
async def test_an_uncaught_error_ends_the_bus_that_said_ok(
    world: World, laboratory: Laboratory, how: str
) -> None:
    """In a new process, because the bus exits; after a restart it has forgotten everything."""
    somebody = world.nobody() if how == "refuses" else await world.somebody(Subscriber(status=500))
    url = world.nobody()
    argv = ("--port", url.rpartition(":")[2], "--reuse-port")
    argv += ("--delivery", "uncaught", "--subscriber", somebody)
    log, name = laboratory.folder / f"{how}.log", f"course-{how}"
    program = Program(name, "lab.bus.course.server", argv, log, health=f"{url}/health")
    supervisor, run = laboratory.supervisor, partial(asyncio.to_thread, laboratory.run)
    with laboratory.start(program):
        await tell(url, "a")
        assert await run(supervisor.wait(name, PATIENCE_S)) == 1
        assert "PostCreated" in supervisor.unexpected_exits()[-1].last_lines[-1]
        with pytest.raises(BusUnavailable):
            await tell(url, "b")
        await run(supervisor.restart(name))
        assert await get(f"{url}/events") == []


# ── The services' client


async def test_the_bus_is_answered_when_the_event_has_been_applied() -> None:
    bus = CourseBus("http://127.0.0.1:9")
    async with serving(bus.routes[0].handler) as url:
        told = {"type": "PostCreated", "data": {"id": "a", "title": "A"}}
        answered = asyncio.create_task(post(f"{url}/events", told))
        reading = bus.read(after=7)
        (heard,) = await anext(reading)
        assert (heard.sequence, heard.event()) == (8, PostCreated(id="a", title="A"))
        assert not answered.done()
        going_on = asyncio.ensure_future(anext(reading))  # so the event has been applied
        assert await answered == (200, {"status": "OK"})
        going_on.cancel()


async def test_an_event_not_applied_is_an_error_and_gone() -> None:
    bus = CourseBus("http://127.0.0.1:9")
    async with serving(bus.routes[0].handler) as url:
        both = [
            asyncio.create_task(post(f"{url}/events", {"type": "T", "data": {"id": name}}))
            for name in "ab"
        ]
        reading = bus.read(after=0)
        ((first,),) = [await anext(reading)]
        await reading.aclose()  # type: ignore[attr-defined]
        again = bus.read(after=0)
        ((second,),) = [await anext(again)]
        assert {first.subject, second.subject} == {"a", "b"}
        going_on = asyncio.ensure_future(anext(again))
        answers = [(await one)[0] for one in both]
        assert sorted(answers) == [200, 500]
        going_on.cancel()


async def test_a_batch_that_broke_off_goes_on_where_it_broke() -> None:
    server = Subscriber(fails_on="b")
    async with serving(server) as url:
        bus = open_bus(f"course+{url}")
        batch = [an_event(name) for name in "abc"]
        with pytest.raises(BusUnavailable):
            await bus.append(batch)
        server.fails_on = ""
        assert await bus.append(batch) == [1, 2, 3]
        assert server.names == ["a", "b", "c"]
        await bus.close()
