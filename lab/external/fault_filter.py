"""The lab's door before a service that is not the lab's.

Two things differ. A latency holds no worker, for there is none of ours: whoever is kept waiting
waits here, and how many the service behind can serve at once is its own affair. And events come as
requests, one each; what a fault does with them (loses them, doubles them, lets one overtake
another) is done with whole requests.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from lab.external.proxy.pending import Origin
from lab.faults.filter import Door
from lab.faults.kinds import Visit


class Delivery:
    """A `POST /events` as it is going to be sent."""

    __slots__ = ("origin", "request")

    def __init__(self, origin: Origin, request: bytes) -> None:
        self.origin, self.request = origin, request


class Gate(Door):
    """Used from one event loop only. `on_late` is called when a fault that made events wait has
    been taken off: they are to come in now, for nobody else may come who could bring them."""

    def __init__(self) -> None:
        super().__init__()
        self.on_late: Callable[[], None] = lambda: None

    def take(self, name: str) -> dict[str, Any] | None:
        evidence = super().take(name)
        if self._late:
            self.on_late()
        return evidence

    def arrivals(self, *deliveries: Delivery) -> list[Delivery]:
        """What comes in now, in its order, of these and of those that waited outside."""
        return self.let_in(deliveries, lambda _: True)

    async def wait(self, visit: Visit) -> None:
        """Keep the visitor for as long as a latency says."""
        if not visit.delay_s:
            return
        begun_s = perf_counter()
        await asyncio.sleep(visit.delay_s)
        waited_ms = (perf_counter() - begun_s) * 1_000
        for name in visit.because_of:
            hanging = self._hanging.get(name)
            if hanging and hanging.fault.kind == "latency":
                hanging.delays_ms.append(waited_ms)
