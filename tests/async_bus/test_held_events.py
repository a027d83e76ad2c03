"""An event that a fault holds back, so that the next one overtakes it, while the stream breaks."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.bus.base import Batch, BusUnavailable
from lab.faults.kinds import parse_fault
from tests.support.consumers import MemoryBus, RecordingConsumer, comment

REORDER = parse_fault("reorder", "query", {"first": 1})


class BreakingBus(MemoryBus):
    """Its stream breaks after each event that the log has now."""

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        stream = super().read(after, cursor)
        for _ in range(len(self.log) - after):
            yield await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        raise BusUnavailable("The stream broke.")


async def read_once(consumer: RecordingConsumer, bus: MemoryBus) -> None:
    with suppress(BusUnavailable):
        await consumer.make_consumer(bus).step()


@pytest.mark.parametrize("dedupe", [True, False])
async def test_an_event_held_over_a_stream_break_is_applied_once(
    tmp_path: Path, dedupe: bool
) -> None:
    consumer = RecordingConsumer(tmp_path, dedupe=dedupe)
    bus = BreakingBus([comment(1)])
    consumer.fault_filter.add("fault", REORDER, seed=1)
    await read_once(consumer, bus)
    assert consumer.notes() == []
    bus.publish(comment(2))
    bus.publish(comment(3))
    await read_once(consumer, bus)
    consumer.fault_filter.clear()
    await read_once(consumer, bus)
    assert sorted(consumer.notes()) == ["1", "2", "3"]
    assert consumer.notes() == (["1", "2", "3"] if dedupe else ["2", "1", "3"])


async def test_a_held_event_of_a_lost_tail_takes_no_other_event_s_place(tmp_path: Path) -> None:
    consumer = RecordingConsumer(tmp_path)
    bus = BreakingBus()
    bus.publish(comment(1), comment(2))
    await read_once(consumer, BreakingBus(bus.log[:1]))
    consumer.fault_filter.add("fault", REORDER, seed=1)
    await read_once(consumer, bus)
    del bus.log[1:]
    bus.publish(comment(3))
    await read_once(consumer, bus)
    bus.publish(comment(2), comment(4))  # the publisher repeats what the log has lost
    await read_once(consumer, bus)
    consumer.fault_filter.clear()
    await read_once(consumer, bus)
    assert consumer.notes() == ["1", "3", "2", "4"]
