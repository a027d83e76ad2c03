"""The contract that every engine of the bus must keep: one suite for all of them.

An engine supplies a `Place`: how it is started, killed and restarted, and how a client connects.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from lab.bus.base import Batch, Bus, BusUnavailable, LogTruncated
from lab.domain.events import Envelope, PostCreated
from tests.support.bus_places import (
    ENGINES,
    PARAMETERS,
    BusFactory,
    RestartableBus,
    an_event,
    read_first,
    subjects_of,
)
from tests.support.laboratory import PATIENCE_S, Laboratory


@pytest.fixture(scope="module", params=PARAMETERS)
def places(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[BusFactory]:
    with ENGINES[request.param](laboratory) as places:
        yield places


@pytest.fixture
def place(places: BusFactory) -> Iterator[RestartableBus]:
    with places() as place:
        yield place


@pytest.fixture
async def bus(place: RestartableBus) -> AsyncIterator[Bus]:
    connection = place.connect()
    yield connection
    await connection.close()


def id_of(event: str) -> str:
    return Envelope.from_json(event).id


async def one_batch(bus: Bus, after: int, cursor: str = "") -> Batch:
    stream = bus.read(after, cursor)
    try:
        return await asyncio.wait_for(anext(stream), PATIENCE_S)
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


async def restart_and_reconnect(place: RestartableBus, bus: Bus) -> None:
    """Restart the bus, and wait until this connection has found it again."""
    await asyncio.to_thread(place.restart)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.head()
            except BusUnavailable:
                await asyncio.sleep(0.005)
            else:
                return


async def test_numbers_grow_without_a_gap_in_the_order_of_telling(bus: Bus) -> None:
    assert await bus.head() == 0
    assert await bus.append([an_event("a")]) == [1]
    assert await bus.append([an_event(name) for name in "bcd"]) == [2, 3, 4]
    assert await bus.append([an_event("e")]) == [5]
    assert await bus.head() == 5
    for after in range(5):
        heard = await read_first(bus, 5 - after, after)
        assert subjects_of(heard) == list("abcde")[after:]
        assert [envelope.sequence for envelope in heard] == list(range(after + 1, 6))


async def test_an_event_is_heard_as_it_was_published(bus: Bus) -> None:
    event = PostCreated(id="p", title="ünï \u202e \x00 </script> 👍")
    told = Envelope.around(event, source="/tests/bus", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    extended = an_event().replace('"id"', '"partitionkey": "k", "id"', 1)
    await bus.append([told.model_dump_json(), extended])
    heard, other = await read_first(bus, 2)
    assert heard == told.model_copy(update={"sequence": 1}).set_cursor(heard.cursor)
    assert heard.event() == event
    assert other.model_dump()["partitionkey"] == "k"  # an extension that the lab does not know


async def test_an_event_published_twice_keeps_its_first_number(bus: Bus) -> None:
    one, other = an_event("one"), an_event("other")
    assert await bus.append([one, other]) == [1, 2]
    assert await bus.append([one]) == [1]
    assert await bus.append([an_event("third"), other, one]) == [3, 2, 1]
    twice = an_event("twice")
    assert await bus.append([twice, twice]) == [4, 4]
    assert await bus.head() == 4
    assert subjects_of(await read_first(bus, 4)) == ["one", "other", "third", "twice"]


async def test_several_readers_hear_what_comes_later(place: RestartableBus, bus: Bus) -> None:
    await bus.append([an_event(number) for number in range(5)])
    others = [place.connect() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        reading = [
            group.create_task(read_first(one, 10 - 2 * at, 2 * at)) for at, one in enumerate(others)
        ]
        for number in range(5, 10):
            await bus.append([an_event(number)])
    for at, task in enumerate(reading):
        assert subjects_of(task.result()) == [str(number) for number in range(2 * at, 10)]
    for one in others:
        await one.close()


async def test_events_of_many_tellers_are_neither_lost_nor_doubled(bus: Bus) -> None:
    async def tell(teller: int) -> list[int]:
        numbers = []
        for number in range(5):
            numbers += await bus.append([an_event(f"{teller}-{number}")])
        return numbers

    async with asyncio.TaskGroup() as group:
        tellers = [group.create_task(tell(teller)) for teller in range(32)]
    given = [task.result() for task in tellers]
    assert sorted(itertools.chain(*given)) == list(range(1, 161))
    heard = subjects_of(await read_first(bus, 160))
    assert len(set(heard)) == 160
    for teller, numbers in enumerate(given):
        assert [heard[number - 1] for number in numbers] == [f"{teller}-{n}" for n in range(5)]


async def test_what_was_acknowledged_is_there_after_a_kill(place: RestartableBus, bus: Bus) -> None:
    acknowledged: dict[int, str] = {}
    enough = asyncio.Event()

    async def tell(teller: int) -> None:
        for number in itertools.count():
            name = f"{teller}-{number}"
            try:
                (sequence,) = await bus.append([an_event(name)])
            except BusUnavailable:
                if enough.is_set():
                    return
                continue  # it was late: another event
            acknowledged[sequence] = name
            if len(acknowledged) >= 200:
                enough.set()

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        for teller in range(16):
            group.create_task(tell(teller))
        await enough.wait()
        await asyncio.to_thread(place.kill)
    with pytest.raises(BusUnavailable):
        await bus.head()
    await asyncio.to_thread(place.restart)
    head = await bus.head()
    assert head >= max(acknowledged)
    heard = await read_first(bus, head)
    assert [envelope.sequence for envelope in heard] == list(range(1, head + 1))
    assert len({envelope.id for envelope in heard}) == head
    assert {sequence: heard[sequence - 1].subject for sequence in acknowledged} == acknowledged


async def test_a_restart_keeps_numbers_ids_and_marks(place: RestartableBus, bus: Bus) -> None:
    old = an_event("old")
    assert await bus.append([an_event("older"), old]) == [1, 2]
    batch = await one_batch(bus, 1)
    assert subjects_of(batch) == ["old"]
    await restart_and_reconnect(place, bus)
    assert await bus.append([old, an_event("new")]) == [2, 3]
    assert subjects_of(await read_first(bus, 3)) == ["older", "old", "new"]
    assert subjects_of(await one_batch(bus, 2, batch[-1].cursor)) == ["new"]


async def test_a_reader_notices_an_outage_and_resumes_where_it_was(
    place: RestartableBus, bus: Bus
) -> None:
    await bus.append([an_event("a")])
    stream = bus.read(0)
    reached = (await anext(stream))[-1].sequence
    assert reached == 1
    await asyncio.to_thread(place.kill)
    with pytest.raises(BusUnavailable):
        await asyncio.wait_for(anext(stream), PATIENCE_S)
    await restart_and_reconnect(place, bus)
    await bus.append([an_event("c")])
    assert subjects_of(await read_first(bus, 1, after=reached)) == ["c"]


# ── Truncated and replaced logs


async def test_a_bus_holds_an_event_under_one_number_only(bus: Bus) -> None:
    one, other = an_event("one"), an_event("other")
    assert await bus.contains(0, "")
    assert not await bus.contains(1, id_of(one))
    assert await bus.append([one, other]) == [1, 2]
    assert await bus.contains(1, id_of(one))
    assert await bus.contains(2, id_of(other))
    assert not await bus.contains(2, id_of(one))
    assert not await bus.contains(3, id_of(other))


async def test_a_restarted_bus_is_asked_before_it_is_appended_to(
    place: RestartableBus, bus: Bus
) -> None:
    one, other = an_event("one"), an_event("other")
    assert await bus.contains(0, "")
    assert await bus.append([one]) == [1]
    await restart_and_reconnect(place, bus)
    with pytest.raises(BusUnavailable):
        await bus.append([other])
    assert await bus.head() == 1
    assert await bus.contains(1, id_of(one))
    assert await bus.append([other]) == [2]


async def test_a_reader_beyond_the_end_learns_of_the_lost_tail(bus: Bus) -> None:
    await bus.append([an_event("a")])
    with pytest.raises(LogTruncated, match="ends at 1, and event 2") as lost:
        await one_batch(bus, 2)
    assert lost.value.begins_after == 0


async def test_a_mark_of_another_bus_is_not_accepted(places: BusFactory, bus: Bus) -> None:
    """Another log may hold the same event under the same number, after other events."""
    event = an_event("the same")
    with places() as elsewhere:
        there = elsewhere.connect()
        await there.append([an_event("x"), event])
        batch = await one_batch(there, 1)
        await there.close()
    await bus.append([an_event("y"), event, an_event("z")])
    assert await bus.contains(2, id_of(event))
    assert batch[-1].cursor
    with pytest.raises(LogTruncated):
        await one_batch(bus, 2, batch[-1].cursor)


async def test_a_bus_that_is_not_there_is_unavailable(place: RestartableBus, bus: Bus) -> None:
    await asyncio.to_thread(place.kill)
    with pytest.raises(BusUnavailable):
        await bus.append([an_event()])
    with pytest.raises(BusUnavailable):
        await bus.head()
    with pytest.raises(BusUnavailable):
        await bus.contains(1, "id")
    with pytest.raises(BusUnavailable):
        await anext(bus.read(0))


async def test_what_is_no_envelope_is_refused_and_not_kept(bus: Bus) -> None:
    good = an_event("good")
    for bad in (
        "{}",
        "5",
        good.replace('"1.0"', '"2.0"'),
        good.replace('"subject":"good"', '"subject":7'),
        good.replace('"good"', "truth"),
    ):
        assert bad != good
        with pytest.raises(BusUnavailable):
            await bus.append([an_event(), bad])
    assert await bus.head() == 0
