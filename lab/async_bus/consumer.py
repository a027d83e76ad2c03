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

from lab.async_bus.inbox import Applier, DeliveryFailed
from lab.bus.base import Batch, Bus, BusUnavailable, LostTail, NoLongerKept
from lab.domain.services import BUS
from lab.faults.filter import Door

# ── Alerts

_REMEMBERED = 16


class Alarms:
    """The newest alerts; one that repeats the last one is dropped.

    An alert is not an error: the service repairs what it can and goes on. But people have to know.
    """

    def __init__(self) -> None:
        self.sentences: deque[str] = deque(maxlen=_REMEMBERED)

    def ring(self, sentence: str) -> None:
        if self.sentences and self.sentences[-1] == sentence:
            return
        self.sentences.append(sentence)
        sys.stderr.write(f"ALARM: {sentence}\n")
        sys.stderr.flush()


# ── The consumer

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
QUIET_S = 0.5
HEAD_WITHIN_S = 0.2
NEWS = 10_000
"""This many of the newest events leave spans. At the start, older events are history: a new copy
applies them, but how long each of them was under way does not matter."""


class Inbox:
    """Reads the bus from the inbox's position on, and applies what the fault filter lets pass."""

    def __init__(
        self,
        bus: Bus,
        applier: Applier,
        door: Door,
        hears_any: bool = True,
        alarms: Alarms | None = None,
    ) -> None:
        self._bus = bus
        self._applier = applier
        self._door = door
        self._hears_any = hears_any
        self._alarms = alarms or Alarms()
        self._missing: str | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inbox")
        self._waits_for: str | None = "the event bus"

    @property
    def waits_for(self) -> str | None:
        """What this service needs before it is up to date; None when it is."""
        if stuck := self._applier.stuck:
            return str(stuck)
        return self._missing or self._waits_for

    async def run(self) -> None:
        if not self._hears_any and not self._bus.routes:
            self._waits_for = None
            return
        self._pause_s = FIRST_PAUSE_S
        failed_behind = self._applier.position
        while True:
            try:
                await self._until_caught_up()
                await self._read()
            except LostTail as lost:
                await self._go_back(lost)
            except (BusUnavailable, DeliveryFailed) as error:
                if isinstance(error, NoLongerKept):
                    self._missing = f"a log that has what is missing here. {error}"
                    self._alarms.ring(
                        f"This copy can't be made whole: it waits for {self._missing}"
                    )
                if self._bus.routes:
                    continue  # A pushed event comes only once: there is nothing to retry.
                if self._applier.position > failed_behind:  # another event fails now
                    failed_behind, self._pause_s = self._applier.position, FIRST_PAUSE_S
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _go_back(self, lost: LostTail) -> None:
        sentence = (
            f"The log is not the one that was heard here up to event {self._applier.position}. "
            f"{lost} It is read again behind {lost.begins_after}."
        )
        if lost.begins_after:
            sentence += " What stood before that is not kept, and can't be held against this copy."
        self._alarms.ring(sentence)
        await self.in_turn(lambda: self._applier.go_back(lost.begins_after))
        self._waits_for = "the event bus"

    async def in_turn(self, work: Callable[[], Any]) -> Any:
        """Run `work` between two deliveries, in the thread that applies them."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _until_caught_up(self) -> None:
        """At the start: note up to which event this service has to read to be up to date."""
        if self._waits_for is None:
            return
        self._catch_up_to = await self._bus.head()
        self._applier.history_until = self._catch_up_to - NEWS
        self._note_progress()

    def _note_progress(self) -> None:
        if self._waits_for is None:
            return
        behind = self._catch_up_to - self._applier.position
        self._waits_for = f"{behind} events it has not heard yet" if behind > 0 else None

    async def _read(self) -> None:
        """Process one delivery after the other, until one fails or the bus is lost."""
        stream = self._bus.read(self._applier.position, self._applier.mark)
        coming: asyncio.Future[Batch] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(_next(stream))
                while not (await asyncio.wait({coming}, timeout=QUIET_S))[0]:
                    await self._look_around()
                await self._deliver(coming.result())
                self._pause_s = FIRST_PAUSE_S
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _look_around(self) -> None:
        """After a quiet moment: apply events that a fault delayed, and probe for a gap at the end.

        Raises DeliveryFailed when the bus has more events than it delivered.
        """
        await self._let_in(Batch(mark=self._applier.mark))
        head = 0
        with suppress(BusUnavailable, TimeoutError):
            async with asyncio.timeout(HEAD_WITHIN_S):
                head = await self._bus.head()
        if head > self._applier.position:
            raise DeliveryFailed(f"The bus is at {head}, and nothing comes: it has to be read.")

    async def _deliver(self, batch: Batch) -> None:
        self._missing = None
        visit = self._door.visit(BUS)
        if visit.unanswered:
            await self._door.until_healed(visit)
        if visit.unanswered or visit.torn_down or visit.status is not None:
            raise DeliveryFailed("It was not let in at the door.")
        if visit.delay_s:
            await self.in_turn(lambda: self._door.hold(visit))
        await self._let_in(batch)
        if not self._door.keeps_waiting:
            self._applier.pass_to(batch[-1].sequence)
        self._note_progress()

    async def _let_in(self, batch: Batch) -> None:
        """Apply what the active faults leave of a delivery."""
        if arrivals := self._door.let_in(batch, self._applier.hears):
            await self.in_turn(lambda: self._applier.take(arrivals, batch.mark))


async def _next(stream: AsyncIterator[Batch]) -> Batch:
    return await anext(stream)
