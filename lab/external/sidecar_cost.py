"""Measures the time that a sidecar adds to a request; it is part of every measured latency."""

import statistics
from dataclasses import dataclass
from time import perf_counter

from lab.domain.errors import DependencyFailed
from lab.external.mapping import ExternalRequest
from lab.external.proxy.client import ServicePool, encode_request, fetch
from lab.external.stack import ExternalStack
from lab.support.http_client import HttpOrigin

REQUESTS = 60
WARM_UP_REQUESTS = 10
ANSWERED_WITHIN_S = 2.0


@dataclass(frozen=True)
class SidecarOverhead:
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


async def measure_sidecar_overhead(stack: ExternalStack) -> SidecarOverhead | None:
    """Request the feed alternately without and with the sidecar. None if a request fails."""
    read = stack.target.actions.read_feed
    ports = stack.ports_of(read.service)
    service = HttpOrigin("127.0.0.1", ports.listen)
    adapter = HttpOrigin("127.0.0.1", ports.adapter)
    direct_request = encode_request(read.build_request(limit="20"), service)
    adapter_request = encode_request(ExternalRequest("GET", "/feed?limit=20", b"", {}), adapter)
    without, with_sidecar, size = [], [], 0
    pool = ServicePool(read.service)  # the same client for both, so that clients don't differ
    try:
        for number in range(WARM_UP_REQUESTS + REQUESTS):
            direct_ms, size = await _time_request(pool, service, direct_request)
            adapter_ms, _ = await _time_request(pool, adapter, adapter_request)
            if number >= WARM_UP_REQUESTS:
                without.append(direct_ms)
                with_sidecar.append(adapter_ms)
    except DependencyFailed:
        return None
    finally:
        pool.close()
    return SidecarOverhead(
        REQUESTS,
        round(statistics.median(without), 3),
        round(statistics.median(with_sidecar), 3),
        round(size / 1024, 1),
    )


async def _time_request(pool: ServicePool, origin: HttpOrigin, request: bytes) -> tuple[float, int]:
    begun_s = perf_counter()
    _, body = await fetch(pool, origin, request, ANSWERED_WITHIN_S)
    return (perf_counter() - begun_s) * 1_000, len(body)
