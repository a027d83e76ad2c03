"""Whether the lab itself stood still: suspended (Ctrl-Z), or on a computer that slept.

Meanwhile it sent nothing, read no answer and removed no fault, so what it then sees of a system is
no result. A busy machine does not stand still: the load is late, and `judging` says so.
"""

import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from lab.cluster.errors import LabCannotRun

SLEPT_S = 0.2

Seen = TypeVar("Seen")

_resumptions: list[float] = []
"""When this process was resumed: values of `perf_counter`."""


class StoodStill(LabCannotRun):
    """The lab stood still, so what it has seen is no result."""

    def __init__(self, how: str) -> None:
        super().__init__(f"{how}, so what the lab saw is no result. Run it once more.")


async def unless_it_stood_still(look: Callable[[], Awaitable[Seen]]) -> Seen:
    """What `look` sees, in a second try if the lab stood still in the first one.

    Raises StoodStill if it did so again.
    """
    try:
        return await _unless_it_stood_still(look)
    except StoodStill:
        return await _unless_it_stood_still(look)


async def _unless_it_stood_still(look: Callable[[], Awaitable[Seen]]) -> Seen:
    with suppress(ValueError):  # only the main thread may: a check in another one sees no Ctrl-Z
        signal.signal(signal.SIGCONT, lambda *_: _resumptions.append(time.perf_counter()))
    began_s, asleep_s, failure = time.perf_counter(), _asleep_s(), None
    try:
        seen = await look()
    except Exception as error:
        failure = error
    slept_s = _asleep_s() - asleep_s
    if any(at_s >= began_s for at_s in _resumptions):
        raise StoodStill("The lab was suspended (Ctrl-Z)") from failure
    if slept_s > SLEPT_S:
        raise StoodStill(f"This computer slept for {slept_s:.0f} s") from failure
    if failure is not None:
        raise failure
    return seen


def _asleep_s() -> float:
    """For how long this computer has slept since it was started; 0 if that is not known."""
    if sys.platform == "linux":
        clocks = time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC
    elif sys.platform == "darwin":
        clocks = time.CLOCK_MONOTONIC, time.CLOCK_UPTIME_RAW
    else:
        return 0.0
    with_sleep_s, awake_s = map(time.clock_gettime, clocks)
    return with_sleep_s - awake_s
