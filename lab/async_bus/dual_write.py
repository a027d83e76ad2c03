"""The naive form of publishing, for comparison with the outbox (`--outbox off`).

The service commits the rows, then publishes, and nothing makes the two atomic.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from lab.bus.base import Bus, BusUnavailable
from lab.service.store import Store


class DualWrite:
    """Publishes events once, right after the commit, in the worker that made it.

    If the bus is unreachable then, or the process crashes in between, the events are lost: the
    rows are committed, the client has its 201, and no other service learns of the change.
    """

    def __init__(self, store: Store, bus: Bus, rewrite: Callable[[str], str] = str) -> None:
        self._bus = bus
        self._rewrite = rewrite
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        self._count_lock = threading.Lock()
        self._begun = 0
        self._in_progress: set[int] = set()
        store.publish_directly = self._publish

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()

    def count_unpublished(self) -> int:
        """How many commits are being published now; failed ones do not count."""
        return len(self._in_progress)

    def positions(self) -> tuple[int, int]:
        """The number of commits so far, and up to which of them all were published or lost."""
        with self._count_lock:
            return self._begun, min(self._in_progress, default=self._begun + 1) - 1

    def _publish(self, committed: Sequence[str]) -> None:
        envelopes = [self._rewrite(envelope) for envelope in committed]
        self._started.wait()
        assert self._loop is not None
        with self._count_lock:
            self._begun += 1
            number = self._begun
            self._in_progress.add(number)
        try:
            self._wait_for(self._bus.append(envelopes), self._loop)
        except BusUnavailable as error:
            sys.stderr.write(
                f"{len(envelopes)} events were not published, and now are gone: {error}\n"
            )
            sys.stderr.flush()
        finally:
            with self._count_lock:
                self._in_progress.remove(number)

    def _wait_for(self, append: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        """Block this worker until the bus has acknowledged."""
        asyncio.run_coroutine_threadsafe(append, loop).result()
