"""The engine nats: what every engine promises, and that it stays so while its server dies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from lab.bus.base import Bus, BusUnavailable
from lab.bus.nats_files import NatsFiles
from lab.bus.open import open_bus
from lab.domain.directory import BUS
from lab.domain.events import Envelope
from tests.support.nats_lab import ONE, WITHIN_S, Servers, heard, needs_nats, running, surely, told


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with running(tmp_path, ONE) as one:
        yield one


@pytest.fixture
async def bus(servers: Servers) -> AsyncIterator[Bus]:
    bus = open_bus(servers.address)
    yield bus
    await bus.close()


@needs_nats
async def test_events_are_numbered_from_one_without_gaps_in_the_order_they_were_told(
    bus: Bus,
) -> None:
    assert await bus.head() == 0
    assert await bus.append(told(*range(300))) == list(range(1, 301))
    assert await bus.append(told(300)) == [301]
    assert await bus.head() == 301
    events = await heard(bus, 0, 301)
    assert [one.id for one in events] == [str(number) for number in range(301)]
    assert [one.sequence for one in events] == list(range(1, 302))


@needs_nats
async def test_an_id_that_the_bus_already_holds_is_not_kept_twice(bus: Bus) -> None:
    assert await bus.append(told(1, 2, 1)) == [1, 2, 1]
    assert await bus.append(told(2, 3)) == [2, 3]
    assert await bus.head() == 3


@needs_nats
async def test_an_id_from_outside_can_not_smuggle_a_header_in(bus: Bus) -> None:
    sly = Envelope.from_json(told(1)[0]).model_copy(
        update={"id": "1\r\nNats-Expected-Last-Sequence: 99"}
    )
    assert await bus.append([sly.model_dump_json()]) == [1]
    assert (await heard(bus, 0, 1))[0].id == sly.id


@needs_nats
async def test_the_stream_can_be_read_from_any_number_on(bus: Bus) -> None:
    await bus.append(told(*range(20)))
    assert [one.sequence for one in await heard(bus, 17, 3)] == [18, 19, 20]


@needs_nats
async def test_who_has_heard_everything_waits_for_more(bus: Bus) -> None:
    await bus.append(told(1))
    batches = bus.read(0)
    assert [one.id for one in await anext(batches)] == ["1"]
    waiting = asyncio.ensure_future(anext(batches))
    await bus.append(told(2))
    assert [one.id for one in await waiting] == ["2"]


@needs_nats
async def test_many_may_tell_at_once_and_each_gets_its_own_number(bus: Bus) -> None:
    numbers = await asyncio.gather(*(bus.append(told(number)) for number in range(100)))
    events = await heard(bus, 0, 100)
    assert {one.id: one.sequence for one in events} == {
        str(number): sequence for number, [sequence] in enumerate(numbers)
    }


@needs_nats
async def test_over_a_killed_server_nothing_is_lost_doubled_or_overtaken(
    servers: Servers, bus: Bus
) -> None:
    """Teller and reader know nothing of the outage: they ask again, and that has to be enough."""
    batches = [told(*range(start, start + 20)) for start in range(0, 600, 20)]
    reader = open_bus(servers.address)
    hearing = asyncio.ensure_future(heard(reader, 0, 600))
    port = NatsFiles(servers.folder).last_port(BUS)
    for number, batch in enumerate(batches):
        if number == 10:
            telling = asyncio.ensure_future(surely(bus, batch))
            await servers.supervisor.kill(f"blog.{BUS}")
            await servers.supervisor.restart(f"blog.{BUS}")
            await telling
        else:
            await surely(bus, batch)
    events = await hearing
    assert [one.id for one in events] == [str(number) for number in range(600)]
    assert [one.sequence for one in events] == list(range(1, 601))
    assert NatsFiles(servers.folder).last_port(BUS) == port
    await reader.close()


@needs_nats
async def test_while_the_server_is_away_whoever_asks_is_told_so(servers: Servers, bus: Bus) -> None:
    await bus.append(told(1))
    await servers.supervisor.kill(f"blog.{BUS}")
    async with asyncio.timeout(WITHIN_S):
        for asking in (bus.append(told(2)), bus.head(), anext(bus.read(0))):
            with pytest.raises(BusUnavailable):
                await asking


@needs_nats
async def test_a_reader_notices_that_the_server_hangs_and_goes_on_when_it_does_not(
    servers: Servers, bus: Bus
) -> None:
    await bus.append(told(1))
    batches = bus.read(0)
    await anext(batches)
    await servers.supervisor.suspend(f"blog.{BUS}")
    server = servers.server()
    async with asyncio.timeout(WITHIN_S):
        while True:
            if server.status() == psutil.STATUS_STOPPED:
                break
            await asyncio.sleep(0.001)
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(BusUnavailable):
            await anext(batches)
    await servers.supervisor.resume(f"blog.{BUS}")
    assert await surely(bus, told(2)) == [2]
    assert [one.id for one in await heard(bus, 1, 1)] == ["2"]


@needs_nats
async def test_a_cluster_that_exists_is_used_with_a_stream_of_the_given_name(
    servers: Servers,
) -> None:
    (address,) = NatsFiles(servers.folder).urls()
    bus, same = open_bus(f"{address}/ours?replicas=1"), open_bus(f"{address}/ours")
    assert await bus.append(told(1)) == [1]
    assert await same.append(told(1, 2)) == [1, 2]
    assert await open_bus(servers.address).head() == 0
    await bus.close()
    await same.close()
