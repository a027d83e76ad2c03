"""The course's bus: the few promises it keeps, and those it does not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.bus.base import BusUnavailable
from lab.bus.course import CourseBus
from lab.bus.open import open_bus
from lab.cluster.engines import DELIVERIES
from lab.domain.events import PostCreated
from tests.support.course_world import (
    PATIENCE_S,
    Subscriber,
    World,
    a_world,
    an_event,
    get,
    post,
    serving,
    until,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as here:
        yield here


# ── What it keeps ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_who_is_there_hears_everything(world: World, delivery: str) -> None:
    several = [Subscriber() for _ in range(3)]
    url = await world.bus(delivery, *[await world.somebody(one) for one in several])
    for name in "abc":
        await world.tell(url, name)
    for one in several:
        await until(lambda one=one: len(one.heard) == 3)  # type: ignore[misc]
        assert sorted(one.names) == ["a", "b", "c"]
    assert [event["data"]["id"] for event in await get(f"{url}/events")] == ["a", "b", "c"]


async def test_type_and_data_are_all_that_travels(world: World) -> None:
    somebody = Subscriber()
    url = await world.bus("one-by-one", await world.somebody(somebody))
    await world.tell(url, "a")
    told = {"type": "PostCreated", "data": {"id": "a", "title": "Title a"}}
    assert somebody.heard == [told]
    assert await get(f"{url}/events") == [told]


async def test_fields_of_other_peoples_services_are_passed_on(world: World) -> None:
    somebody = Subscriber()
    url = await world.bus("one-by-one", await world.somebody(somebody))
    theirs = {"type": "Liked", "data": {"id": "a"}, "version": 2}
    assert await post(f"{url}/events", theirs) == (200, {"status": "OK"})
    assert somebody.heard == [theirs]


async def test_what_is_no_event_is_refused_with_the_field_at_fault(world: World) -> None:
    url = await world.bus("one-by-one", world.nobody())
    status, told = await post(f"{url}/events", {"type": "PostCreated"})
    assert (status, told["field"]) == (400, "data")
    assert await get(f"{url}/events") == []


# ── What it does not ────────────────────────────────────────────────────────


async def test_who_was_down_has_missed_it_for_good(world: World) -> None:
    there, away = Subscriber(), Subscriber()
    address = world.nobody()
    url = await world.bus("fire-and-forget", address, await world.somebody(there))
    await world.tell(url, "missed")
    await until(lambda: there.names == ["missed"])
    port = int(address.rsplit(":", 1)[1])
    async with serving(away, port):
        await world.tell(url, "heard")
        await until(lambda: bool(away.heard))
        assert away.names == ["heard"]


async def test_one_by_one_nobody_behind_a_dead_one_hears(world: World) -> None:
    first, last = Subscriber(), Subscriber()
    urls = [await world.somebody(first), world.nobody(), await world.somebody(last)]
    url = await world.bus("one-by-one", *urls)
    await world.tell(url, "a", "b")  # answered when the deliveries are over
    assert (first.names, last.names) == (["a", "b"], [])


async def test_one_by_one_nobody_behind_a_hanging_one_hears_yet(world: World) -> None:
    hanging, last = Subscriber(), Subscriber()
    hanging.let_go.clear()
    url = await world.bus("one-by-one", await world.somebody(hanging), await world.somebody(last))
    telling = asyncio.create_task(world.tell(url, "a"))
    await until(lambda: hanging.names == ["a"])
    assert (last.names, telling.done()) == ([], False)
    hanging.let_go.set()
    await telling
    assert last.names == ["a"]


async def test_fired_and_forgotten_a_hanging_one_holds_nobody_up(world: World) -> None:
    hanging, last = Subscriber(), Subscriber()
    hanging.let_go.clear()
    url = await world.bus(
        "fire-and-forget", await world.somebody(hanging), await world.somebody(last)
    )
    await world.tell(url, "a", "b")
    await until(lambda: sorted(last.names) == ["a", "b"])


@pytest.mark.parametrize("how", ["refuses", "fails"])
async def test_an_uncaught_error_ends_the_bus_though_the_teller_has_its_ok(
    world: World, how: str
) -> None:
    failing = await world.somebody(Subscriber(status=500))
    url = await world.bus("uncaught", world.nobody() if how == "refuses" else failing)
    await world.tell(url, "a")
    assert await world.supervisor.wait("bus", PATIENCE_S) == 1
    (ended,) = world.supervisor.unexpected_exits()
    assert "PostCreated" in ended.last_lines[-1]
    with pytest.raises(BusUnavailable):
        await world.tell(url, "b")


async def test_a_restart_forgets_everything(world: World) -> None:
    url = await world.bus("one-by-one", await world.somebody(Subscriber()))
    await world.tell(url, "a")
    assert len(await get(f"{url}/events")) == 1
    await world.supervisor.restart("bus")
    assert await get(f"{url}/events") == []


# ── As services see it ──────────────────────────────────────────────────────


async def test_the_bus_is_answered_when_the_event_has_been_applied() -> None:
    bus = CourseBus("http://127.0.0.1:9")
    async with serving(bus.routes[0].handler) as url:
        told = {"type": "PostCreated", "data": {"id": "a", "title": "A"}}
        answered = asyncio.create_task(post(f"{url}/events", told))
        reading = bus.read(after=7)
        (heard,) = await anext(reading)
        assert (heard.sequence, heard.event()) == (8, PostCreated(id="a", title="A"))
        assert not answered.done()
        going_on = asyncio.ensure_future(anext(reading))  # so it has been applied
        assert await answered == (200, {"status": "OK"})
        going_on.cancel()


async def test_an_event_that_was_not_applied_is_answered_so_and_not_read_again() -> None:
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
