"""`GET /metrics` of the load: what its clients saw, for Prometheus, while it runs.

The environment variable LAB_LOAD_METRICS names the address, as `4400` or `0.0.0.0:4400`. Without
it, nothing listens.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from lab.support.exposition import CONTENT_TYPE, Sample, family

if TYPE_CHECKING:
    from lab.load.sender import Sender

ADDRESS = "LAB_LOAD_METRICS"
_REQUEST_WITHIN_S = 5.0


def render(senders: Sequence[Sender]) -> str:
    """The whole page: a series of each metric for each variant."""
    return "\n".join(line for name in _METRICS for line in _lines(name, senders)) + "\n"


def _lines(name: str, senders: Sequence[Sender]) -> Iterator[str]:
    kind, text, read = _METRICS[name]
    samples = (
        sample for one in senders for sample in read(one, name, {"variant": one.variant.name})
    )
    return family(name, kind, text, samples)


_METRICS: dict[str, tuple[str, str, Callable[[Sender, str, dict[str, object]], Iterable[Sample]]]]
_METRICS = {
    "lab_load_requests_total": (
        "counter",
        "Requests by status, or by error where no response came.",
        lambda sender, name, labels: sender.requests.totals(name, labels),
    ),
    "lab_load_request_seconds": (
        "histogram",
        "From the moment a request was due to its outcome.",
        lambda sender, name, labels: sender.requests.histograms(name, labels),
    ),
    "lab_load_lateness_seconds": (
        "histogram",
        "From the moment a request was due to its sending: how late the load itself is.",
        lambda sender, name, labels: sender.lateness.samples(name, labels),
    ),
    "lab_load_dropped_total": (
        "counter",
        "Requests that were not sent: too many were without an answer.",
        lambda sender, name, labels: [(name, labels, sender.counts.dropped)],
    ),
    "lab_load_under_way": (
        "gauge",
        "Requests without an outcome.",
        lambda sender, name, labels: [(name, labels, sender.counts.in_flight)],
    ),
    "lab_load_writes_not_visible": (
        "gauge",
        "Acknowledged writes that the feed has not shown yet.",
        lambda sender, name, labels: [(name, labels, sender.probe.pending)],
    ),
}


@asynccontextmanager
async def metrics_page(
    senders: Sequence[Sender], address: str | None = None
) -> AsyncIterator[asyncio.Server | None]:
    """Serve the page inside this block, if `address` or the environment names an address.

    Exits the program with a sentence if the address is wrong or taken.
    """
    address = os.environ.get(ADDRESS, "") if address is None else address
    if not address:
        yield None
        return

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
                found = head.startswith((b"GET /metrics ", b"GET /metrics?"))
                page = (render(senders) if found else "Only GET /metrics is here.\n").encode()
                writer.write(
                    f"HTTP/1.1 {'200 OK' if found else '404 Not Found'}\r\n"
                    f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {len(page)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + page
                )
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that asks for nothing, or has gone
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    host, _, port = address.rpartition(":")
    try:
        server = await asyncio.start_server(respond, host or "127.0.0.1", int(port))
    except (OSError, ValueError, OverflowError) as error:
        sys.exit(f"{ADDRESS}={address}: expected a free port, as 4400 or 0.0.0.0:4400. {error}")
    try:
        yield server
    finally:
        server.close()
