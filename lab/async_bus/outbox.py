"""The outbox relay: publishes a service's committed events to the bus, in order.

A service writes an event to its outbox in the transaction that changes its rows. The relay
publishes the event and retries until the bus acknowledges it, even if the bus or the service
crashes in between. The bus knows an event by its id, so a retry does not store it twice.

Published events stay in the outbox for a while, because the log may come back without them, for
example from an old copy. The relay checks whether the log contains the last event it published: at
the start, after it lost the bus, and from time to time when idle. If the log does not, the relay
publishes all events that it still has again, in order, under their old ids, and then the new ones.
If the log has events of a service whose database has published none, that database is not the old
one, and the relay raises an alarm.

`dual_write.py` has the naive form, for comparison (`--outbox off`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

from lab.async_bus.consumer import Alerts
from lab.bus.base import MAX_APPEND_BYTES, Bus, BusUnavailable, OffsetExpired
from lab.domain.events import Envelope
from lab.service.store import PublishedEvent, Store

MAX_BATCH_EVENTS = 500
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
IDLE_S = 0.5


class OutboxRelay:
    """Publishes one outbox, in order. `rewrite` changes an envelope as it leaves the service."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        alerts: Alerts | None = None,
        rewrite: Callable[[str], str] = str,
    ) -> None:
        self._store = store
        self._bus = bus
        self._rewrite = rewrite
        self._alerts = alerts or Alerts()
        self._last_published = store.last_published() or PublishedEvent(0, 0, "")
        self.published_up_to = self._last_published.number
        self.log_checked = False
        self._may_be_emptied = self._last_published.number == 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        new_events = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(new_events.set)

        self._store.on_outbox_append = wake
        pause_s = FIRST_PAUSE_S
        while True:
            new_events.clear()
            try:
                published = await self.step()
            except BusUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            if not published:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await new_events.wait()
                self.log_checked = new_events.is_set()

    async def step(self) -> bool:
        """Check the log, if that is due, and publish the next batch; False when none waits.

        Raises BusUnavailable; the next step then checks the log first.
        """
        log_checked, self.log_checked = self.log_checked, False
        if not log_checked:
            await self._check_log()
        if self._may_be_emptied:
            await self._check_database()
        unpublished = _limit_batch(self._store.read_outbox(self.published_up_to, MAX_BATCH_EVENTS))
        if unpublished:
            await self._publish(unpublished)
        self.log_checked = True
        return bool(unpublished)

    async def _check_log(self) -> None:
        """Check that the log contains the last published event; if not, go back to the beginning
        of the outbox."""
        last = self._last_published
        if await self._bus.contains(last.sequence, last.id):
            return
        first = await asyncio.to_thread(self._store.first_published)
        if first and await self._bus.contains(first.sequence, first.id):
            resume_after = first
        else:
            resume_after = PublishedEvent(first.number - 1 if first else last.number, 0, "")
        waiting = await asyncio.to_thread(self._store.count_outbox, resume_after.number)
        message = (
            f"The log does not contain event {last.sequence}, the last one that was published "
            f"here: its tail is lost. The {waiting} events that the outbox still has and the log "
            "may lack are published again."
        )
        if resume_after.number and not resume_after.sequence:
            message += (
                f" The {resume_after.number} events before them are no longer in the outbox: what "
                "the log has lost of those is lost for good."
            )
        self._alerts.add(message)
        await asyncio.to_thread(self._store.mark_unpublished, resume_after.number)
        self._last_published = resume_after
        self.published_up_to = resume_after.number

    async def _check_database(self) -> None:
        """Check that a database without a published event is not one that was emptied."""
        (first, _), *_ = self._store.read_outbox(0, 1) or [(1, "")]
        if first == 1 and not self._bus.routes and (head := await self._bus.head()):
            unknown = await self._count_unknown_events(head)
            if unknown:
                self._alerts.add(
                    f"The log has {unknown} events of this service that its database does not "
                    "know: the database was removed or replaced, and its rows are gone. Stop the "
                    "service and put the database back; other services still show what it had."
                )
        self._may_be_emptied = False

    async def _count_unknown_events(self, head: int) -> int:
        """How many events of this service the log has, and the outbox does not."""
        outbox = self._store.read_outbox(0, self._store.newest_in_outbox())
        known = {Envelope.from_json(line).id for _, line in outbox}
        unknown = position = 0
        stream = self._bus.read(0)
        try:
            while position < head:
                batch = await anext(stream)
                unknown += sum(
                    envelope.source == self._store.source and envelope.id not in known
                    for envelope in batch
                )
                position = batch[-1].sequence
        except OffsetExpired:
            pass  # The beginning of the log is deleted: it can't be known.
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        return unknown

    async def _publish(self, unpublished: Sequence[tuple[int, str]]) -> None:
        envelopes = [self._rewrite(envelope) for _, envelope in unpublished]
        sequences = await self._bus.append(envelopes)
        numbers = [number for number, _ in unpublished]
        self._store.mark_published(numbers, sequences)
        last_id = Envelope.from_json(unpublished[-1][1]).id
        self._last_published = PublishedEvent(numbers[-1], sequences[-1], last_id)
        self.published_up_to = numbers[-1]

    def count_unpublished(self) -> int:
        """How many events the bus has not acknowledged yet."""
        return self._store.count_outbox(self.published_up_to)

    def positions(self) -> tuple[int, int]:
        """The number of the newest event in the outbox, and the number up to which the bus has
        acknowledged all."""
        published = self.published_up_to
        return max(self._store.newest_in_outbox(), published), published


def _limit_batch(unpublished: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    """The first waiting events, as many as the bus accepts at once, and at least one of them."""
    size = 0
    for count, (_, envelope) in enumerate(unpublished):
        size += len(envelope.encode()) + 1
        if count and size > MAX_APPEND_BYTES:
            return unpublished[:count]
    return unpublished
