"""Consumes the bus: reads events from the service's offset on and passes them to the inbox.

The bus delivers events in batches. Each delivery passes the service's fault filter, as a request
does. The inbox applies it in one transaction together with the new offset
(`lab/async_bus/inbox.py`); then the consumer reads the next one. After a crash at any point, the
service resumes behind the last event it applied.

If the log has been replaced, the consumer reads the new one from its beginning. If the log has
already deleted the next event, this copy can't be completed: the service raises an alert and waits
for a log that has the event. Alerts appear in the service's log and in its state.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from lab.async_bus.inbox import DeliveryFailed, Inbox
from lab.bus.base import Batch, Bus, BusUnavailable, LogTruncated, OffsetExpired
from lab.domain.services import BUS
from lab.faults.filter import FaultFilter
from lab.faults.kinds import Visitor

# ── Alerts

_MAX_ALERTS = 16


class Alerts:
    """The newest alerts; one that repeats the last one is dropped.

    An alert is not an error: the service repairs what it can and goes on. But people have to know.
    """

    def __init__(self) -> None:
        self.messages: deque[str] = deque(maxlen=_MAX_ALERTS)

    def add(self, message: str) -> None:
        if self.messages and self.messages[-1] == message:
            return
        self.messages.append(message)
        sys.stderr.write(f"ALARM: {message}\n")
        sys.stderr.flush()


# ── The consumer

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
QUIET_S = 0.5
HEAD_WITHIN_S = 0.2
"""How long a probe for a gap may hold up the next delivery. Readiness never depends on it: at the
start, the consumer waits for the head as long as the bus takes."""

RECENT_EVENTS = 10_000
"""This many of the newest events leave spans. At the start, older events are history: a new copy
applies them, but how long each of them was under way does not matter."""


class Consumer:
    """Reads the bus from the inbox's position on, and applies what the fault filter lets pass."""

    def __init__(
        self,
        bus: Bus,
        inbox: Inbox,
        fault_filter: FaultFilter,
        has_listeners: bool = True,
        alerts: Alerts | None = None,
    ) -> None:
        self._bus = bus
        self._inbox = inbox
        self._fault_filter = fault_filter
        self._has_listeners = has_listeners
        self._alerts = alerts or Alerts()
        self._missing_events: str | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inbox")
        self._not_ready_because: str | None = "the event bus"
        self._pause_s = FIRST_PAUSE_S

    @property
    def not_ready_because(self) -> str | None:
        """What this service needs before it is up to date; None when it is."""
        if stuck := self._inbox.stuck_event:
            return str(stuck)
        return self._missing_events or self._not_ready_because

    async def run(self) -> None:
        if not self._has_listeners and not self._bus.routes:
            self._not_ready_because = None
            return
        failed_position = self._inbox.position
        while True:
            try:
                await self.step()
            except (BusUnavailable, DeliveryFailed):
                if self._bus.routes:
                    continue  # A pushed event comes only once: there is nothing to retry.
                if self._inbox.position > failed_position:  # another event fails now
                    failed_position, self._pause_s = self._inbox.position, FIRST_PAUSE_S
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def step(self) -> None:
        """Read the bus and apply what comes; returns where the log has to be read anew.

        Raises BusUnavailable when the bus is lost, DeliveryFailed when a delivery must come again.
        """
        try:
            await self._set_catch_up_target()
            await self._consume()
        except LogTruncated as truncated:
            await self._rewind(truncated)
        except OffsetExpired as error:
            self._missing_events = f"a log that has what is missing here. {error}"
            self._alerts.add(f"This copy can't be made whole: it waits for {self._missing_events}")
            raise

    async def _rewind(self, truncated: LogTruncated) -> None:
        message = (
            f"The log is not the one that was read here up to event {self._inbox.position}. "
            f"{truncated} It is read again after event {truncated.begins_after}."
        )
        if truncated.begins_after:
            message += " What it had before that is deleted, so this copy may lack some of it."
        self._alerts.add(message)
        await self.between_batches(
            lambda: self._inbox.rewind(truncated.begins_after, truncated.cursor)
        )
        self._not_ready_because = "the event bus"

    async def between_batches(self, work: Callable[[], Any]) -> Any:
        """Run `work` between two deliveries, in the thread that applies them."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _set_catch_up_target(self) -> None:
        """At the start: note up to which event this service has to read to be up to date."""
        if self._not_ready_because is None:
            return
        self._catch_up_target = await self._bus.head()
        self._inbox.history_until = self._catch_up_target - RECENT_EVENTS
        self._update_readiness()

    def _update_readiness(self) -> None:
        if self._not_ready_because is None:
            return
        lag = self._catch_up_target - self._inbox.position
        self._not_ready_because = f"{lag} events it has not heard yet" if lag > 0 else None

    async def _consume(self) -> None:
        """Process one delivery after the other, until one fails or the bus is lost."""
        if not self._bus.routes:
            # What a fault held back of the last stream comes again, or is no longer in the log.
            position = self._inbox.position
            self._fault_filter.forget_held(lambda event: event.sequence > position)
        stream = self._bus.read(self._inbox.position, self._inbox.cursor)
        next_batch: asyncio.Future[Batch] | None = None
        try:
            while True:
                next_batch = asyncio.ensure_future(_next(stream))
                while not (await asyncio.wait({next_batch}, timeout=QUIET_S))[0]:
                    await self._probe_for_gap()
                await self._deliver(next_batch.result())
                self._pause_s = FIRST_PAUSE_S
        finally:
            if next_batch is not None:
                next_batch.cancel()
                await asyncio.gather(next_batch, return_exceptions=True)
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _probe_for_gap(self) -> None:
        """After a quiet moment: apply events that a fault delayed, and probe for a gap at the end.

        Raises DeliveryFailed when the bus has more events than it delivered.
        """
        await self._filter_and_apply([])
        head = 0
        with suppress(BusUnavailable, TimeoutError):
            async with asyncio.timeout(HEAD_WITHIN_S):
                head = await self._bus.head()
        if head > self._inbox.position:
            raise DeliveryFailed(f"The bus is at {head}, and nothing comes: it has to be read.")

    async def _deliver(self, batch: Batch) -> None:
        self._missing_events = None
        await self._meet_faults("delivery")
        while batch:
            part = batch
            if self._fault_filter.hits_each_event:
                part = batch[:1]
                if self._inbox.consumes(part[0]):
                    await self._meet_faults("event")
            await self._filter_and_apply(part)
            if not self._fault_filter.has_held_events:
                self._inbox.skip_to(part[-1].sequence)
            self._update_readiness()
            batch = batch[len(part) :]

    async def _meet_faults(self, visitor: Visitor) -> None:
        """Raises DeliveryFailed when a fault does not let it pass."""
        effect = self._fault_filter.decide(BUS, visitor)
        if effect.unanswered:
            await self._fault_filter.wait_until_removed(effect)
        if effect.unanswered or effect.connection_reset or effect.status is not None:
            raise DeliveryFailed("It was not let in at the door.")
        if effect.delay_s:
            await self.between_batches(lambda: self._fault_filter.delay(effect))

    async def _filter_and_apply(self, batch: Batch) -> None:
        """Apply what the active faults leave of a delivery."""
        if events := self._fault_filter.filter_events(batch, self._inbox.consumes):
            await self.between_batches(lambda: self._inbox.apply_batch(events))


async def _next(stream: AsyncIterator[Batch]) -> Batch:
    return await anext(stream)
