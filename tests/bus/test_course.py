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


class InProcessCourse:
    """The course's bus in this process, and its subscribers."""

    def __init__(self, exit_stack: AsyncExitStack, unused_url: Callable[[], str]) -> None:
        self._exit_stack = exit_stack
        self.unused_url = unused_url

    async def start_subscriber(self, subscriber: Subscriber) -> str:
        self._exit_stack.callback(subscriber.release.set)
        return await self._exit_stack.enter_async_context(serving(subscriber))

    async def start_bus(self, delivery: str, *subscribers: str) -> str:
        server = CourseServer(subscribers, delivery)
        self._exit_stack.push_async_callback(server._post.close)

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await (server.publish if request.method == "POST" else server.list_events)(
                request
            )

        return await self._exit_stack.enter_async_context(serving(answer))


async def publish(url: str, *names: str) -> None:
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
async def world(nobody: Callable[[], str]) -> AsyncIterator[InProcessCourse]:
    async with AsyncExitStack() as opened:
        yield InProcessCourse(opened, nobody)


# ── Promises it keeps


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_subscriber_that_is_up_hears_everything(
    world: InProcessCourse, delivery: str
) -> None:
    several = [Subscriber() for _ in range(3)]
    url = await world.start_bus(delivery, *[await world.start_subscriber(one) for one in several])
    for name in "abc":
        await publish(url, name)
    for one in several:
        await until(lambda one=one: len(one.received) == 3)  # type: ignore[misc]
        assert sorted(one.names) == ["a", "b", "c"]
    assert [event["data"]["id"] for event in await get(f"{url}/events")] == ["a", "b", "c"]


async def test_type_data_and_foreign_fields_are_all_that_travels(world: InProcessCourse) -> None:
    somebody = Subscriber()
    url = await world.start_bus("one-by-one", await world.start_subscriber(somebody))
    await publish(url, "a")
    theirs = {"type": "Liked", "data": {"id": "a"}, "version": 2}
    assert await post(f"{url}/events", theirs) == (200, {"status": "OK"})
    ours = {"type": "PostCreated", "data": {"id": "a", "title": "Title a"}}
    assert somebody.received == await get(f"{url}/events") == [ours, theirs]


async def test_what_is_no_event_is_refused_by_field(world: InProcessCourse) -> None:
    url = await world.start_bus("one-by-one", world.unused_url())
    status, told = await post(f"{url}/events", {"type": "PostCreated"})
    assert (status, told["field"]) == (400, "data")
    assert await get(f"{url}/events") == []


# ── Promises it does not keep


async def test_a_subscriber_that_was_down_has_missed_the_event(world: InProcessCourse) -> None:
    there, away = Subscriber(), Subscriber()
    address = world.unused_url()
    url = await world.start_bus("fire-and-forget", address, await world.start_subscriber(there))
    await publish(url, "missed")
    await until(lambda: there.names == ["missed"])
    port = int(address.rsplit(":", 1)[1])
    async with serving(away, port):
        await publish(url, "heard")
        await until(lambda: bool(away.received))
        assert away.names == ["heard"]


async def test_one_by_one_a_dead_subscriber_cuts_off_the_rest(world: InProcessCourse) -> None:
    first, last = Subscriber(), Subscriber()
    urls = [
        await world.start_subscriber(first),
        world.unused_url(),
        await world.start_subscriber(last),
    ]
    url = await world.start_bus("one-by-one", *urls)
    await publish(url, "a", "b")  # answered once the deliveries are done
    assert (first.names, last.names) == (["a", "b"], [])


async def test_one_by_one_a_hanging_subscriber_delays_the_rest(world: InProcessCourse) -> None:
    hanging, last = Subscriber(), Subscriber()
    hanging.release.clear()
    url = await world.start_bus(
        "one-by-one", await world.start_subscriber(hanging), await world.start_subscriber(last)
    )
    telling = asyncio.create_task(publish(url, "a"))
    await until(lambda: hanging.names == ["a"])
    assert (last.names, telling.done()) == ([], False)
    hanging.release.set()
    await telling
    assert last.names == ["a"]


async def test_fire_and_forget_a_hanging_subscriber_delays_no_other(world: InProcessCourse) -> None:
    hanging, last = Subscriber(), Subscriber()
    hanging.release.clear()
    url = await world.start_bus(
        "fire-and-forget", await world.start_subscriber(hanging), await world.start_subscriber(last)
    )
    await publish(url, "a", "b")
    await until(lambda: sorted(last.names) == ["a", "b"])


@pytest.mark.parametrize("how", ["refuses", "fails"])
async def test_an_uncaught_error_ends_the_bus_that_said_ok(
    world: InProcessCourse, laboratory: Laboratory, how: str
) -> None:
    """In a new process, because the bus exits; after a restart it has forgotten everything."""
    somebody = (
        world.unused_url()
        if how == "refuses"
        else await world.start_subscriber(Subscriber(status=500))
    )
    url = world.unused_url()
    argv = ("--port", url.rpartition(":")[2], "--reuse-port")
    argv += ("--delivery", "uncaught", "--subscriber", somebody)
    log, name = laboratory.folder / f"{how}.log", f"course-{how}"
    program = Program(name, "lab.bus.course.server", argv, log, health=f"{url}/health")
    supervisor, run = laboratory.supervisor, partial(asyncio.to_thread, laboratory.run)
    with laboratory.start(program):
        await publish(url, "a")
        assert await run(supervisor.wait(name, PATIENCE_S)) == 1
        assert "PostCreated" in supervisor.unexpected_exits()[-1].last_lines[-1]
        with pytest.raises(BusUnavailable):
            await publish(url, "b")
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
