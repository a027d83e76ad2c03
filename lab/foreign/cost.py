"""What the sidecar itself costs a request, measured where it stands: it is in every figure."""

import statistics
from dataclasses import dataclass
from time import perf_counter

from lab.cluster.caller import Caller
from lab.cluster.topology import url
from lab.foreign.stack import ForeignStack

TIMES = 60
BEGIN_WITH = 10
ANSWERED_WITHIN_S = 2.0


@dataclass(frozen=True)
class SidecarCost:
    """Medians in ms: the feed asked of the service itself, and of the sidecar before it. `kib`: how
    large its answer was, for all of it is read and translated."""

    asked: int
    without_ms: float
    with_ms: float
    kib: float

    @property
    def cost_ms(self) -> float:
        return self.with_ms - self.without_ms


async def sidecar_cost(stack: ForeignStack) -> SidecarCost | None:
    """Ask for the feed by turns, with and without the sidecar; None when it is not answered."""
    read = stack.target.actions.read_feed
    face, place = stack.asked_at["query"], stack.place_of(read.service)
    asked = read.asked(limit="20")
    if asked.method != "GET" or asked.headers:
        return None  # the lab's own client asks plainly
    without, through, size = [], [], 0
    for number in range(BEGIN_WITH + TIMES):
        one, size = await _timed(stack.call, url(place.behind), asked.path)
        two, _ = await _timed(stack.call, face, "/feed?limit=20")
        if one is None or two is None:
            return None
        if number >= BEGIN_WITH:
            without.append(one)
            through.append(two)
    return SidecarCost(
        TIMES,
        round(statistics.median(without), 3),
        round(statistics.median(through), 3),
        round(size / 1024, 1),
    )


async def _timed(call: Caller, at: str, path: str) -> tuple[float | None, int]:
    begun_s = perf_counter()
    answer = await call("GET", at, path, within_s=ANSWERED_WITHIN_S)
    took_ms = (perf_counter() - begun_s) * 1_000
    return (took_ms if answer.ok else None), len(answer.body)
