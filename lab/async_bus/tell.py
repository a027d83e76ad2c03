"""How what a service tells gets onto the bus: the relay behind its outbox.

An event lies in the outbox from the moment its rows were committed. The relay brings it to the bus
and tries again until the bus has acknowledged it, however often the bus or the service dies in
between. The bus knows an event by its id, so a second try is no second event.

`DualWrite` is what one would write without having thought of that, and is there to be compared with
(`--outbox off`): first the rows, then the bus, and nothing that holds the two together.
"""

import asyncio
import sys
import threading
from collections.abc import Sequence

from lab.bus.base import Bus, BusUnavailable
from lab.store import Store

MOST_AT_ONCE = 500
MOST_BYTES_AT_ONCE = 1024 * 1024  # the bus takes some more, but not without end
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5


class Relay:
    """Empties one outbox, in order."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self.published = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        something_told = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(something_told.set)

        self._store.on_told = wake
        pause_s = FIRST_PAUSE_S
        while True:
            something_told.clear()
            waiting = _load(self._store.untold(self.published, MOST_AT_ONCE))
            if not waiting:
                await something_told.wait()
                continue
            try:
                await self._bus.append([envelope for _, envelope in waiting])
            except BusUnavailable:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            self.published = waiting[-1][0]
            self._store.published(self.published)

    def waiting(self) -> int:
        """How many events the bus has not acknowledged yet."""
        return self._store.count_untold(self.published)


class DualWrite:
    """Tells events straight after the commit, in the worker that made it, and only once.

    If the bus can't be reached then, or the process dies in between, the event is gone: the rows
    are there, the client has its 201, and nobody else will ever hear of it.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        self._bus = bus
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._count = threading.Lock()
        self._under_way = 0
        store.tell_loose = self._tell

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()

    def waiting(self) -> int:
        """How many commits wait for the bus just now; what failed to get there does not wait."""
        return self._under_way

    def _tell(self, envelopes: Sequence[str]) -> None:
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
    """The first of those that wait, as many as the bus takes at once; one at the least."""
    size = 0
    for count, (_, envelope) in enumerate(waiting):
        size += len(envelope.encode()) + 1
        if count and size > MOST_BYTES_AT_ONCE:
            return waiting[:count]
    return waiting
