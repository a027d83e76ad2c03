"""Whether the lab itself stood still: suspended (Ctrl-Z), or on a computer that slept.

Meanwhile it sent nothing, read no answer and removed no fault, so what it then sees of a system is
no result. A process that only waits for a processor does not stand still: the load is late, and
`judging` says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from lab.cluster.errors import LabCannotRun

STOOD_STILL_S = 0.5
_BEAT_S = 0.05

Seen = TypeVar("Seen")


class StoodStill(LabCannotRun):
    """The lab stood still, so what it has seen is no result."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The lab itself stood still for {seconds:.1f} s (Ctrl-Z, or a computer that slept), "
            "so what it saw is no result. Run it once more."
        )


async def unless_it_stood_still(look: Callable[[], Awaitable[Seen]]) -> Seen:
    """What `look` sees, in a second try if the lab stood still in the first one.

    Raises StoodStill if it did so again.
    """
    try:
        return await _unless_it_stood_still(look)
    except StoodStill:
        return await _unless_it_stood_still(look)


async def _unless_it_stood_still(look: Callable[[], Awaitable[Seen]]) -> Seen:
    standstill, failure = _Standstill(), None
    try:
        seen = await look()
    except Exception as error:
        failure = error
    finally:
        standstill.stop()
    if standstill.longest_s > STOOD_STILL_S:
        raise StoodStill(standstill.longest_s) from failure
    if failure is not None:
        raise failure
    return seen


class _Standstill:
    """A timer that notes how late it was, without the time for which the process ran or waited for
    a processor."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._last_s, self._last_busy_s = _awake_and_asleep_s(), _busy_s()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_BEAT_S, self._beat)

    def stop(self) -> None:
        self._timer.cancel()
        self._note()

    def _beat(self) -> None:
        self._note()
        self._timer = self._loop.call_later(_BEAT_S, self._beat)

    def _note(self) -> None:
        now_s, busy_s = _awake_and_asleep_s(), _busy_s()
        still_s = now_s - self._last_s - _BEAT_S - (busy_s - self._last_busy_s)
        self.longest_s = max(self.longest_s, still_s)
        self._last_s, self._last_busy_s = now_s, busy_s


def _awake_and_asleep_s() -> float:
    """A clock that goes on while the computer sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _busy_s() -> float:
    """For how long this thread has run, or waited for a processor; 0 if that is not known."""
    try:
        ran_ns, waited_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(ran_ns) + int(waited_ns)) / 1e9
