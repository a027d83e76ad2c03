"""The fault filter in front of an external service, part of its sidecar.

It differs from the fault filter of the lab's own services in two points. A latency fault delays a
request in the sidecar and occupies no worker of the service. And each event arrives in a separate
request, so a fault that drops, duplicates or reorders events does this with whole requests.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from lab.faults.filter import FaultFilter
from lab.faults.kinds import Effect
from lab.support.http_client import HttpOrigin


class Delivery:
    """An encoded `POST /events`, and where to send it."""

    __slots__ = ("origin", "request")

    def __init__(self, origin: HttpOrigin, request: bytes) -> None:
        self.origin, self.request = origin, request


class ProxyFaultFilter(FaultFilter):
    """Used from one event loop only.

    `on_released` is called when a fault is removed that held events back. The callback must deliver
    them, because no later request may come with which they could be sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_released: Callable[[], None] = lambda: None

    def remove(self, name: str) -> dict[str, Any] | None:
        evidence = super().remove(name)
        if self._released:
            self.on_released()
        return evidence

    def filter_deliveries(self, *deliveries: Delivery) -> list[Delivery]:
        """Apply the event faults. Returns what to send now, in order, with events held earlier."""
        return self.filter_events(deliveries, lambda _: True)

    async def apply_latency(self, effect: Effect) -> None:
        """Delay a request as the latency faults say, and record the delay in ms as evidence."""
        if not effect.delay_s:
            return
        begun_s = perf_counter()
        await asyncio.sleep(effect.delay_s)
        self.record_delay(effect, (perf_counter() - begun_s) * 1_000)
