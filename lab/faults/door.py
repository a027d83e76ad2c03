"""The door of a service: every request and every delivery of events comes in here.

Faults hang on the door. It decides what becomes of each visitor, and keeps count of what really
happened: a fault that never acted has proved nothing, and a lab that cannot tell is a lab with a
switch that does nothing.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

from lab.faults.kinds import Fault, Visit


@dataclass(slots=True)
class _Hanging:
    """A fault on the door, and what it has done so far."""

    fault: Fault
    chance: random.Random
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    visitors: int = 0
    acted: int = 0
    delays_ms: list[float] = field(default_factory=list)

    def evidence(self) -> dict[str, Any]:
        told: dict[str, Any] = {"visitors": self.visitors, "acted": self.acted}
        if self.delays_ms:
            told |= {
                "delayed_ms_min": round(min(self.delays_ms), 2),
                "delayed_ms_mean": round(sum(self.delays_ms) / len(self.delays_ms), 2),
                "delayed_ms_max": round(max(self.delays_ms), 2),
            }
        return told


class Door:
    """Lets visitors in, or not. Used from the service's event loop; `hold` from its workers."""

    def __init__(self) -> None:
        self._hanging: dict[str, _Hanging] = {}

    def put(self, name: str, fault: Fault, seed: int) -> None:
        """Hang a fault on the door; `seed` fixes whom a probability hits."""
        self.take(name)
        self._hanging[name] = _Hanging(fault, random.Random(seed))

    def take(self, name: str) -> dict[str, Any] | None:
        """Take a fault off the door and tell what it did; None when it did not hang there."""
        hanging = self._hanging.pop(name, None)
        if hanging is None:
            return None
        hanging.ended.set()
        return hanging.evidence()

    def take_all(self) -> None:
        for name in list(self._hanging):
            self.take(name)

    def evidence(self) -> dict[str, dict[str, Any]]:
        """What each fault on the door has done so far, by its name."""
        return {name: hanging.evidence() for name, hanging in self._hanging.items()}

    def visit(self) -> Visit:
        """Decide what becomes of the visitor who stands here now."""
        visit = Visit()
        for name, hanging in self._hanging.items():
            fault = hanging.fault
            hanging.visitors += 1
            if fault.first is not None and hanging.acted >= fault.first:
                continue
            if fault.probability < 1 and hanging.chance.random() >= fault.probability:
                continue
            hanging.acted += 1
            fault.act(visit, hanging.chance)
            visit.because_of.append(name)
        return visit

    def hold(self, visit: Visit) -> None:
        """Keep the visitor, and the worker who serves them, for as long as a latency says."""
        if not visit.delay_s:
            return
        begun = time.perf_counter()
        time.sleep(visit.delay_s)
        waited_ms = (time.perf_counter() - begun) * 1_000
        for name in visit.because_of:
            hanging = self._hanging.get(name)
            if hanging and hanging.fault.kind == "latency":
                hanging.delays_ms.append(waited_ms)

    async def until_healed(self, visit: Visit) -> None:
        """Wait until none of the faults that hit this visitor hangs on the door any more."""
        for name in visit.because_of:
            if hanging := self._hanging.get(name):
                await hanging.ended.wait()
