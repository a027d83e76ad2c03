"""The fault filter in front of an external service, part of its sidecar.

It differs from the fault filter of the lab's own services in two points. A latency fault delays a
request in the sidecar and occupies no worker of the service. And each event arrives in a separate
request, so a fault that drops, duplicates or reorders events does this with whole requests.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from lab.external.proxy.pending import Origin
from lab.faults.filter import Door
from lab.faults.kinds import Visit


class Delivery:
    """An encoded `POST /events`, and where to send it."""

    __slots__ = ("origin", "request")

    def __init__(self, origin: Origin, request: bytes) -> None:
        self.origin, self.request = origin, request


class Gate(Door):
    """Used from one event loop only.

    `on_late` is called when a fault is removed that held events back. The callback must deliver
    them, because no later request may come with which they could be sent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on_late: Callable[[], None] = lambda: None

    def take(self, name: str) -> dict[str, Any] | None:
        evidence = super().take(name)
        if self._late:
            self.on_late()
        return evidence

    def arrivals(self, *deliveries: Delivery) -> list[Delivery]:
        """Apply the event faults. Returns what to send now, in order, with events held earlier."""
        return self.let_in(deliveries, lambda _: True)

    async def wait(self, visit: Visit) -> None:
        """Delay a request as the latency faults say, and record the delay in ms as evidence."""
        if not visit.delay_s:
            return
        begun_s = perf_counter()
        await asyncio.sleep(visit.delay_s)
        waited_ms = (perf_counter() - begun_s) * 1_000
        for name in visit.because_of:
            hanging = self._hanging.get(name)
            if hanging and hanging.fault.kind == "latency":
                hanging.delays_ms.append(waited_ms)
