"""What keeps the sends on time: the pump that fires them, its loop, and its quiet.

The loop waits with select(): epoll rounds every wait up to a whole millisecond. The garbage
collector rests while we send: one collection takes milliseconds, and every send behind it is late.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

from lab.load.pacer import Arrival
from lab.load.sender import Sender

_AT_ONCE = 64  # sends between two looks at what came in


class Send(NamedTuple):
    """An arrival and who sends it when: seconds from the start."""

    intended_s: float
    sender: Sender
    number: int
    arrival: Arrival


class Pump:
    """Fires every send at its moment. `all_sent` is done when the schedule is at its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sends: Sequence[Send], started_at_s: float
    ) -> None:
        self.all_sent: asyncio.Future[None] = loop.create_future()
        self._loop, self._sends, self._started_at_s = loop, sends, started_at_s
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def turn(self) -> None:
        """Fire what is due, and come back when the next one is."""
        try:
            self._fire_due()
        except Exception as error:  # in a callback it would only be logged, and the run would hang
            self.all_sent.set_exception(error)

    def stop(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire_due(self) -> None:
        # At most so many at once: a pump that is behind must not keep the answers waiting, too.
        for _ in range(_AT_ONCE):
            if self._next == len(self._sends):
                self.all_sent.set_result(None)
                return
            send = self._sends[self._next]
            wait_s = self._started_at_s + send.intended_s - perf_counter()
            if wait_s > 0:
                self._timer = self._loop.call_later(wait_s, self.turn)
                return
            self._next += 1
            send.sender.fire(send.number, send.arrival, send.intended_s)
        self._timer = self._loop.call_later(0.0, self.turn)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes up within microseconds of the moment it was asked for."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


@contextmanager
def garbage_left_alone() -> Iterator[None]:
    """No garbage collection inside this block."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
