"""A truncated log, seen by one side at a time: publisher, consumer, and retention in the log."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from lab.async_bus import consumer
from lab.async_bus.consumer import Alerts, Consumer
from lab.async_bus.inbox import ATTEMPTS, DeliveryFailed
from lab.async_bus.outbox import OutboxRelay
from lab.bus.base import LogTruncated, OffsetExpired
from lab.cluster.ports import reserve
from lab.domain.events import Envelope, PostCreated
from lab.service.store import Store
from lab.service.tracing import SpanLog
from tests.support.bus_places import BusProcess, an_event, read_first
from tests.support.consumers import MemoryBus, RecordingConsumer, comment, poison, wait_until
from tests.support.laboratory import Laboratory

# ── The publisher


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "posts.db", "", "/tests/posts")) as opened:
        yield opened


def publish(store: Store, *names: str) -> None:
    for name in names:
        with store.transaction() as change:
            change.tell(PostCreated(id=name, title=name))


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def relaying(store: Store, bus: MemoryBus) -> AsyncIterator[Alerts]:
    alerts = Alerts()
    async with running(OutboxRelay(store, bus, alerts).run()):
        yield alerts


def subjects(bus: MemoryBus) -> list[str]:
    return [event.subject for event in bus.log]


async def test_old_events_are_published_again_before_new_ones(store: Store) -> None:
    bus = MemoryBus()
    async with relaying(store, bus):
        await asyncio.to_thread(publish, store, "a", "b", "c")
        await wait_until(lambda: len(bus.log) == 3)
    ids = [event.id for event in bus.log]
    del bus.log[:]
    await asyncio.to_thread(publish, store, "d")
    async with relaying(store, bus) as alarms:
        await wait_until(lambda: len(bus.log) == 4)
    assert subjects(bus) == ["a", "b", "c", "d"]
    assert [event.id for event in bus.log][:3] == ids
    (sentence,) = alarms.messages
    assert "does not contain event 3" in sentence
    assert "for good" not in sentence


async def test_a_relay_with_nothing_to_do_notices_by_itself(store: Store) -> None:
    bus = MemoryBus()
    async with relaying(store, bus) as alarms:
        await asyncio.to_thread(publish, store, "a", "b")
        await wait_until(lambda: len(bus.log) == 2)
        del bus.log[1:]
        await wait_until(lambda: bool(alarms.messages))
        await wait_until(lambda: "b" in subjects(bus))


async def test_an_alarm_names_events_too_old_to_be_published_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.service.store.PUBLISHED_RETENTION", 2)
    bus = MemoryBus()
    async with relaying(store, bus):
        for number, name in enumerate("abcde", 1):
            await asyncio.to_thread(publish, store, name)
            await wait_until(lambda: len(bus.log) == number)  # noqa: B023 - awaited here
    del bus.log[:]
    async with relaying(store, bus) as alarms:
        await wait_until(lambda: len(bus.log) == 3)
    assert subjects(bus) == ["c", "d", "e"]  # the number of the last of these was not stored yet
    (sentence,) = alarms.messages
    assert "The 2 events before them" in sentence
    assert "lost for good" in sentence


async def test_an_owner_whose_database_is_gone_notices(tmp_path: Path, store: Store) -> None:
    bus, alerts = MemoryBus(), Alerts()
    publish(store, "a", "b")
    await publish_all(OutboxRelay(store, bus, alerts))
    with closing(Store(tmp_path / "others.db", "", "/tests/others")) as others:
        publish(others, "x")
        await publish_all(OutboxRelay(others, bus, alerts))
        await OutboxRelay(others, bus, alerts)._check_database()  # nothing is recorded yet
    assert not alerts.messages
    with closing(Store(tmp_path / "emptied.db", "", "/tests/posts")) as emptied:
        publish(emptied, "c")
        await publish_all(OutboxRelay(emptied, bus, alerts))
    (sentence,) = alerts.messages
    assert "The log has 2 events of this service" in sentence
    assert subjects(bus) == ["a", "b", "x", "c"]


async def publish_all(relay: OutboxRelay) -> None:
    while await relay.step():
        pass


async def test_events_the_bus_acknowledged_but_no_commit_recorded_come_back(store: Store) -> None:
    bus, alerts = MemoryBus(), Alerts()
    relay = OutboxRelay(store, bus, alerts)
    publish(store, *"abcdefg")
    await publish_all(relay)
    assert store.last_published() is None  # a commit after the acknowledgement would record it
    del bus.log[:]
    relay.log_checked = False
    await publish_all(relay)
    assert subjects(bus) == list("abcdefg")
    (sentence,) = alerts.messages
    assert "The 7 events" in sentence
    assert "for good" not in sentence


async def test_a_log_that_loses_its_tail_twice_gets_everything_twice(store: Store) -> None:
    bus, alerts = MemoryBus(), Alerts()
    relay = OutboxRelay(store, bus, alerts)
    publish(store, *"abc")
    await publish_all(relay)
    publish(store, "d")  # records a, b, c
    for _ in range(2):  # the second time nothing is recorded: the first loss has undone it
        await publish_all(relay)
        del bus.log[:]
        relay.log_checked = False
        await publish_all(relay)
        assert subjects(bus) == list("abcd")
    assert len(alerts.messages) == 1  # the same sentence again


async def test_a_loss_beyond_the_outbox_is_named_after_a_crash_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.service.store.PUBLISHED_RETENTION", 2)
    bus, before, after = MemoryBus(), Alerts(), Alerts()
    relay = OutboxRelay(store, bus, before)
    publish(store, *"abcde")
    await publish_all(relay)
    publish(store, "f")  # records the others, and clears a, b, c
    await publish_all(relay)
    del bus.log[4:]
    relay.log_checked = False
    await publish_all(relay)
    assert "for good" not in before.messages[0]  # the log still has d, the oldest in the outbox
    del bus.log[:]
    await publish_all(OutboxRelay(store, bus, after))  # a new process, with what was recorded
    assert "The 3 events before them are no longer in the outbox" in after.messages[0]
    assert subjects(bus) == list("def")


# ── The consumer


@pytest.mark.parametrize(("dedupe", "noted"), [(True, "1 2 3 4 5"), (False, "1 2 3 1 4 5 3 2")])
async def test_events_with_new_numbers_are_known_by_their_ids(
    tmp_path: Path, dedupe: bool, noted: str
) -> None:
    one, bus, told = (
        RecordingConsumer(tmp_path, dedupe=dedupe),
        MemoryBus(),
        list(map(comment, range(1, 6))),
    )
    async with running(one.make_consumer(bus).run()):
        bus.publish(*told[:3])
        await wait_until(lambda: one.inbox.position == 3)
    another = MemoryBus()
    if dedupe:
        another.publish(told[0], told[3], told[4], told[2], told[1])
    else:  # It trusts its offset as long as the log is that long.
        another.publish(told[0])
    async with running(one.make_consumer(another).run()):
        await wait_until(lambda: one.inbox.position == len(another.log))
        if not dedupe:
            another.publish(told[3], told[4], told[2], told[1])
        await wait_until(lambda: one.inbox.position == 5)
    assert one.notes() == noted.split()
    one.store.close()


async def test_a_copy_behind_a_shortened_log_says_what_it_misses(tmp_path: Path) -> None:
    class Shortened(MemoryBus):
        def read(self, after: int, cursor: str = "") -> Any:
            if after < 2:
                raise OffsetExpired(f"Events {after + 1} to 2 are not kept any more.")
            return super().read(after, cursor)

    one, bus, alerts = RecordingConsumer(tmp_path), Shortened(), Alerts()
    bus.publish(comment(1), comment(2), comment(3))
    consumer_loop = Consumer(bus, one.inbox, one.fault_filter, alerts=alerts)
    async with running(consumer_loop.run()):
        await wait_until(lambda: bool(alerts.messages))
        assert "Events 1 to 2" in alerts.messages[0]
        assert "Events 1 to 2" in (consumer_loop.not_ready_because or "")
        assert (one.notes(), one.inbox.position) == ([], 0)
    one.store.close()


# ── The cursor


@pytest.mark.parametrize("apply_ms", [0.0, 0.1])
def test_a_delivery_broken_off_in_the_middle_keeps_its_cursor(
    tmp_path: Path, apply_ms: float
) -> None:
    """With the cursor, a log that has lost its tail and grown again cannot deceive the consumer."""
    one = RecordingConsumer(tmp_path, apply_ms=apply_ms)
    with closing(one.store):
        delivery = [comment(1), comment(2), poison(3), comment(4)]
        with pytest.raises(DeliveryFailed):
            one.inbox.apply_batch([event.set_cursor("epoch 1") for event in delivery])
        assert (one.store.offset(), one.store.cursor()) == (2, "epoch 1")
        assert (one.inbox.position, one.inbox.cursor) == (2, "epoch 1")


def test_a_dead_letter_moves_the_offset_with_its_cursor(tmp_path: Path) -> None:
    one = RecordingConsumer(tmp_path, dead_letter=True)
    with closing(one.store):
        for _ in range(ATTEMPTS - 1):
            with pytest.raises(DeliveryFailed):
                one.inbox.apply_batch([poison(1).set_cursor("epoch 1")])
        one.inbox.apply_batch([poison(1).set_cursor("epoch 1")])
        assert (one.store.offset(), one.store.cursor()) == (1, "epoch 1")


async def test_a_rewind_into_a_shortened_log_keeps_the_cursor_of_that_log(tmp_path: Path) -> None:
    class Replaced(MemoryBus):
        def read(self, after: int, cursor: str = "") -> Any:
            if cursor == "old":
                raise LogTruncated("Event 5 was never in it.", begins_after=3, cursor="new")
            return super().read(after)

    one, bus = RecordingConsumer(tmp_path), Replaced()
    with closing(one.store):
        one.inbox.apply_batch([comment(number).set_cursor("old") for number in range(1, 6)])
        bus.publish(comment(1), comment(2), comment(3))
        async with running(one.make_consumer(bus).run()):
            await wait_until(lambda: one.inbox.position == 3)
            await wait_until(lambda: one.store.offset() == 3)
        assert one.store.cursor() == "new"


def test_an_event_and_its_copies_have_the_same_json_with_any_cursor() -> None:
    event = comment(1)
    before = event.model_dump_json()
    event.set_cursor("epoch 1")
    assert event.model_copy(update={"sequence": 1}).cursor == "epoch 1"
    assert event.model_dump_json() == before


# ── Readiness


async def test_a_service_is_not_ready_while_the_end_of_the_log_is_unknown(tmp_path: Path) -> None:
    class Slow(MemoryBus):
        async def head(self) -> int:
            asked.set()
            await answer.wait()
            return await super().head()

    asked, answer = asyncio.Event(), asyncio.Event()
    one, bus = RecordingConsumer(tmp_path), Slow()
    bus.publish(comment(1))
    reader = one.make_consumer(bus)
    with closing(one.store):
        async with running(reader.run()):
            await asked.wait()
            assert reader.not_ready_because == "the event bus"
            answer.set()
            await wait_until(lambda: reader.not_ready_because is None)
            assert one.notes() == ["1"]


# ── A consumer with a large lag


async def test_only_news_leave_spans_and_history_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "RECENT_EVENTS", 2)
    one, bus = RecordingConsumer(tmp_path), MemoryBus()
    spans = one.inbox._spans = SpanLog(tmp_path / "spans.ndjson", "consumer")
    bus.publish(*(comment(number) for number in range(1, 6)))
    async with running(one.make_consumer(bus).run()):
        await wait_until(lambda: one.inbox.position == 5)
        bus.publish(comment(6))
        await wait_until(lambda: one.inbox.position == 6)
    spans.close()
    lines = (tmp_path / "spans.ndjson").read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [4, 5, 6]
    assert one.notes() == list("123456")
    one.store.close()


# ── Retention


@pytest.fixture
def short_log(laboratory: Laboratory) -> Iterator[BusProcess]:
    """A log that keeps the newest twenty events."""
    with reserve() as port:
        more = ("--retain-events", "20")
        place = BusProcess(laboratory, "lab.bus.log.server", port.port, more)
        with laboratory.start(place.program):
            yield place


async def test_a_shortened_log_says_where_it_begins(short_log: BusProcess) -> None:
    bus = short_log.connect()
    told = [an_event(number) for number in range(1, 101)]
    for event in told:
        await bus.append([event])
    heard = await read_first(bus, 3, after=97)
    assert [envelope.sequence for envelope in heard] == [98, 99, 100]
    with pytest.raises(OffsetExpired, match=r"Events 6 to \d+ are not kept any more") as refused:
        await read_first(bus, 1, after=5)
    begins_after = int(str(refused.value).rpartition("=")[2].rstrip("."))
    assert 100 - 22 <= begins_after <= 100 - 20
    with pytest.raises(OffsetExpired, match="Events 1 to"):  # the first are gone
        await read_first(bus, 1)
    (oldest,) = await read_first(bus, 1, after=begins_after)
    assert oldest.sequence == begins_after + 1
    id_of_the_first = Envelope.from_json(told[0]).id
    assert await bus.contains(1, id_of_the_first)  # it did hold it: no need to publish it again
    await asyncio.to_thread(short_log.restart)
    assert await bus.contains(100, Envelope.from_json(told[99]).id)
    assert await bus.append([an_event("next")]) == [101]
    await bus.close()
