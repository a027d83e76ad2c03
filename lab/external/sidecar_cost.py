"""Measures the time that a sidecar adds to a request; it is part of every measured latency."""

import statistics
from time import perf_counter

from lab.domain.errors import DependencyFailed
from lab.external.mapping import ExternalRequest
from lab.external.proxy.client import ServicePool, encode_request, fetch
from lab.external.stack import ExternalStack
from lab.results.result import SidecarCostResult
from lab.support.http_client import HttpOrigin

REQUESTS = 60
WARM_UP_REQUESTS = 10
ANSWERED_WITHIN_S = 2.0


async def measure_sidecar_overhead(stack: ExternalStack) -> SidecarCostResult | None:
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
    return SidecarCostResult(
        asked=REQUESTS,
        without_ms=round(statistics.median(without), 3),
        with_ms=round(statistics.median(with_sidecar), 3),
        kib=round(size / 1024, 1),
    )


async def _time_request(pool: ServicePool, origin: HttpOrigin, request: bytes) -> tuple[float, int]:
    begun_s = perf_counter()
    _, body = await fetch(pool, origin, request, ANSWERED_WITHIN_S)
    return (perf_counter() - begun_s) * 1_000, len(body)
