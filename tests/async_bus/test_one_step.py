"""One step of the relay and one of the consumer: what counts as published, as consumed."""

from contextlib import closing
from pathlib import Path

import pytest

from lab.async_bus.inbox import DeliveryFailed
from lab.async_bus.outbox import OutboxRelay
from lab.bus.base import BusUnavailable
from lab.domain.events import Envelope, PostCreated
from lab.faults.kinds import parse_fault
from tests.support.consumers import MemoryBus, RecordingConsumer, comment


@pytest.mark.parametrize("down", [False, True])
async def test_what_the_bus_has_taken_is_told(tmp_path: Path, down: bool) -> None:
    with closing(RecordingConsumer(tmp_path).store) as store:
        with store.transaction() as change:
            for name in "abc":
                change.tell(PostCreated(id=name, title=name))
        waiting = store.read_outbox(0, 100)
        relay = OutboxRelay(store, bus := MemoryBus(down=down))
        if down:
            with pytest.raises(BusUnavailable):
                await relay._publish(waiting)
            assert relay.count_unpublished() == 3
            return
        await relay._publish(waiting)
        assert [one.id for one in bus.log] == [Envelope.from_json(line).id for _, line in waiting]
        assert [one.subject for one in bus.log] == ["a", "b", "c"]


def test_rows_and_offset_are_one_commit_up_to_a_gap(tmp_path: Path) -> None:
    consumer, done = RecordingConsumer(tmp_path), list[str]()
    with closing(consumer.store):
        consumer.store._writer.set_trace_callback(done.append)
        with pytest.raises(DeliveryFailed):
            consumer.inbox.apply_batch([comment(1), comment(2), comment(4)])
        assert (consumer.notes(), consumer.store.offset()) == (["1", "2"], 2)
    assert done.count("COMMIT") == 1


async def test_a_fault_on_each_event_lets_those_before_it_pass(tmp_path: Path) -> None:
    recording = RecordingConsumer(tmp_path)
    with closing(recording.store):
        consumer = recording.make_consumer(MemoryBus())
        await consumer._set_catch_up_target()
        half_of_them = {"per_event": True, "probability": 0.5}
        recording.fault_filter.add(
            "fault", parse_fault("error", "query", half_of_them), seed=37
        )  # hits the second
        events = [comment(number) for number in (1, 2, 3)]
        with pytest.raises(DeliveryFailed):
            await consumer._deliver(events)
        assert recording.notes() == ["1"]
        await consumer._deliver(events[1:])
        assert recording.notes() == ["1", "2", "3"]
        assert recording.fault_filter.evidence()["fault"] == {"visitors": 4, "acted": 1}
