"""The outbox relay: publishes a service's committed events to the bus, in order.

A service writes an event to its outbox in the transaction that changes its rows. The relay
publishes the event and retries until the bus acknowledges it, even if the bus or the service
crashes in between. The bus knows an event by its id, so a retry does not store it twice.

Published events stay in the outbox for a while, because the log may come back without them, for
example from an old copy. The relay checks whether the log contains the last event it published: at
the start, after it lost the bus, and from time to time when idle. If the log does not, the relay
publishes all events that it still has again, in order, under their old ids, and then the new ones.

`DualWrite` is the naive form, for comparison (`--outbox off`): it commits the rows, then
publishes, and nothing makes the two atomic.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from lab.async_bus.consumer import Alarms
from lab.bus.base import MOST_BYTES_AT_ONCE, Bus, BusUnavailable
from lab.domain.events import Envelope
from lab.service.store import Store, Told

MOST_AT_ONCE = 500
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
IDLE_S = 0.5


class Relay:
    """Publishes one outbox, in order. `as_told`: rewrites an envelope as it leaves the service."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        alarms: Alarms | None = None,
        as_told: Callable[[str], str] = str,
    ) -> None:
        self._store = store
        self._bus = bus
        self._as_told = as_told
        self._alarms = alarms or Alarms()
        self._last = store.newest_told() or Told(0, 0, "")
        self.told_up_to = self._last.number

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        something_told = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(something_told.set)

        self._store.on_told = wake
        pause_s = FIRST_PAUSE_S
        compared = False
        while True:
            something_told.clear()
            try:
                if not compared:
                    await self._compare()
                    compared = True
                if waiting := _load(self._store.outbox(self.told_up_to, MOST_AT_ONCE)):
                    await self._tell(waiting)
            except BusUnavailable:
                compared = False
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            if not waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_S):
                        await something_told.wait()
                compared = something_told.is_set()

    async def _compare(self) -> None:
        """Check that the log contains the last published event; if not, go back to the oldest
        event that is still in the outbox."""
        if await self._bus.holds(self._last.sequence, self._last.id):
            return
        oldest = await asyncio.to_thread(self._store.oldest_told) or self._last
        behind = oldest.number - 1
        sentence = (
            f"The log does not hold event {self._last.sequence}, the last one told here: its tail "
            f"is lost. What is kept here, {self._store.count_outbox(behind)} events, is told again."
        )
        if behind and not await self._bus.holds(oldest.sequence, oldest.id):
            sentence += (
                f" Not even the oldest of them is in the log: of the {behind} that were told "
                "before it and are no longer kept here, some may be lost for good."
            )
        self._alarms.ring(sentence)
        await asyncio.to_thread(self._store.untell, behind)
        self._last = Told(behind, 0, "")
        self.told_up_to = behind

    async def _tell(self, waiting: Sequence[tuple[int, str]]) -> None:
        envelopes = [self._as_told(envelope) for _, envelope in waiting]
        sequences = await self._bus.append(envelopes)
        numbers = [number for number, _ in waiting]
        self._store.told(numbers, sequences)
        last_id = Envelope.from_json(waiting[-1][1]).id
        self._last = Told(numbers[-1], sequences[-1], last_id)
        self.told_up_to = numbers[-1]

    def waiting(self) -> int:
        """How many events the bus has not acknowledged yet."""
        return self._store.count_outbox(self.told_up_to)


class DualWrite:
    """Publishes events once, right after the commit, in the worker that made it.

    If the bus is unreachable then, or the process crashes in between, the events are lost: the
    rows are committed, the client has its 201, and no other service learns of the change.
    """

    def __init__(self, store: Store, bus: Bus, as_told: Callable[[str], str] = str) -> None:
        self._bus = bus
        self._as_told = as_told
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._count = threading.Lock()
        self._under_way = 0
        store.tell_loose = self._tell

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()

    def waiting(self) -> int:
        """How many commits are being published now; failed ones do not count."""
        return self._under_way

    def _tell(self, committed: Sequence[str]) -> None:
        envelopes = [self._as_told(envelope) for envelope in committed]
        self._started.wait()
        assert self._loop is not None
        with self._count:
            self._under_way += 1
        try:
            asyncio.run_coroutine_threadsafe(self._bus.append(envelopes), self._loop).result()
        except BusUnavailable as error:
            sys.stderr.write(f"{len(envelopes)} events were not told, and now are gone: {error}\n")
            sys.stderr.flush()
        finally:
            with self._count:
                self._under_way -= 1


def _load(waiting: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    """The first waiting events, as many as the bus accepts at once, and at least one of them."""
    size = 0
    for count, (_, envelope) in enumerate(waiting):
        size += len(envelope.encode()) + 1
        if count and size > MOST_BYTES_AT_ONCE:
            return waiting[:count]
    return waiting
