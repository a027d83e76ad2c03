"""Measures the time that a sidecar adds to a request; it is part of every measured latency."""

import statistics
from dataclasses import dataclass
from time import perf_counter

from lab.domain.errors import DependencyFailed
from lab.external.mapping import Asked
from lab.external.proxy.client import Pool, gather
from lab.external.proxy.pending import Origin, written
from lab.external.stack import ForeignStack

TIMES = 60
BEGIN_WITH = 10
ANSWERED_WITHIN_S = 2.0


@dataclass(frozen=True)
class SidecarCost:
    """Median latencies of the feed in ms, without and with the sidecar, over `asked` requests each.

    `kib`: size of the service's response. It matters because the sidecar translates all of it.
    """

    asked: int
    without_ms: float
    with_ms: float
    kib: float

    @property
    def cost_ms(self) -> float:
        return self.with_ms - self.without_ms


async def sidecar_cost(stack: ForeignStack) -> SidecarCost | None:
    """Request the feed alternately without and with the sidecar. None if a request fails."""
    read = stack.target.actions.read_feed
    place = stack.place_of(read.service)
    service, face = Origin("127.0.0.1", place.behind), Origin("127.0.0.1", place.face)
    theirs = written(read.asked(limit="20"), service)
    ours = written(Asked("GET", "/feed?limit=20", b"", {}), face)
    without, through, size = [], [], 0
    pool = Pool(read.service)  # the sidecar's client for both, so that clients don't differ
    try:
        for number in range(BEGIN_WITH + TIMES):
            one, size = await _timed(pool, service, theirs)
            two, _ = await _timed(pool, face, ours)
            if number >= BEGIN_WITH:
                without.append(one)
                through.append(two)
    except DependencyFailed:
        return None
    finally:
        pool.close()
    return SidecarCost(
        TIMES,
        round(statistics.median(without), 3),
        round(statistics.median(through), 3),
        round(size / 1024, 1),
    )


async def _timed(pool: Pool, at: Origin, request: bytes) -> tuple[float, int]:
    begun_s = perf_counter()
    _, body = await gather(pool, at, request, ANSWERED_WITHIN_S)
    return (perf_counter() - begun_s) * 1_000, len(body)
