"""How a service hears what others tell: from its own offset on, in order, each event once.

A delivery is a batch of events as the stream brings it. It enters through the same door as a
request, is applied in one transaction together with the new offset, and only then is the next one
read. Whatever dies when: after a restart the service goes on behind the last event it applied.
"""

import asyncio
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.bus.base import Bus, BusUnavailable
from lab.domain.events import Envelope, Event
from lab.faults.door import Door
from lab.spans import SpanLog
from lab.store import Store, Transaction

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5

Listener = Callable[[Any, Transaction], None]


class DeliveryFailed(Exception):
    """This batch was not applied; it will be read again."""


class Inbox:
    """Reads the bus from the store's offset on and hands each event to who listens for its type."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        listeners: Mapping[type[Event], Listener],
        door: Door,
        spans: SpanLog,
    ) -> None:
        self._store = store
        self._bus = bus
        self._listeners = {kind.type: listener for kind, listener in listeners.items()}
        self._door = door
        self._spans = spans
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inbox")
        self.position = store.offset()
        self.waits_for: str | None = "the event bus"

    async def run(self) -> None:
        if not self._listeners:
            self.waits_for = None
            return
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._until_caught_up()
                async for batch in self._bus.read(self.position):
                    await self._deliver(batch)
                    pause_s = FIRST_PAUSE_S
            except (BusUnavailable, DeliveryFailed):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _until_caught_up(self) -> None:
        """At the start: note how much there is to hear before this service is up to date."""
        if self.waits_for is None:
            return
        self._catch_up_to = await self._bus.head()
        self._note_progress()

    def _note_progress(self) -> None:
        if self.waits_for is None:
            return
        behind = self._catch_up_to - self.position
        self.waits_for = f"{behind} events it has not heard yet" if behind > 0 else None

    async def _deliver(self, batch: list[Envelope]) -> None:
        visit = self._door.visit()
        if visit.unanswered:
            await self._door.until_healed(visit)
        if visit.unanswered or visit.torn_down or visit.status is not None:
            raise DeliveryFailed
        loop = asyncio.get_running_loop()
        if visit.delay_s:
            await loop.run_in_executor(self._thread, self._door.hold, visit)
        await loop.run_in_executor(self._thread, self._apply, batch)
        self._note_progress()

    def _apply(self, batch: list[Envelope]) -> None:
        """Apply a batch in one transaction, the offset with it; all of it, or nothing."""
        heard = [envelope for envelope in batch if envelope.type in self._listeners]
        sequence = batch[-1].sequence
        if heard:
            try:
                with self._store.transaction() as change:
                    for envelope in heard:
                        self._apply_one(envelope, change)
                    change.heard(sequence)
            except Exception as error:
                traceback.print_exc()
                raise DeliveryFailed from error
        # An offset that only passed what nobody here listens for can wait for the next commit.
        self.position = sequence

    def _apply_one(self, envelope: Envelope, change: Transaction) -> None:
        event = envelope.event()
        if event is None:
            return
        with self._spans.span(envelope.type, "consumer", envelope.traceparent) as span:
            span["sequence"] = envelope.sequence
            self._listeners[envelope.type](event, change)
