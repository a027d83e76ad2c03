"""The fault filter of a service: every request and every delivery of events passes it.

Faults are added to the filter and removed from it. The filter decides what they do to each request,
to each event of a delivery, and to what the service sends. It counts what really happened, because
a fault that never acted has proved nothing.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lab.faults.kinds import CLIENT, Fault, NewVersion, Visit

Item = TypeVar("Item")


@dataclass(slots=True)
class _Hanging:
    """An active fault, and what it has done so far."""

    fault: Fault
    chance: random.Random
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    visitors: int = 0
    acted: int = 0
    delays_ms: list[float] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)

    def hits(self) -> bool:
        """Whether the fault acts on the current request or event; updates the counters."""
        self.visitors += 1
        if self.fault.first is not None and self.acted >= self.fault.first:
            return False
        if self.fault.probability < 1 and self.chance.random() >= self.fault.probability:
            return False
        self.acted += 1
        return True

    def let_through(self, events: Sequence[Item], hears: Callable[[Item], bool]) -> list[Item]:
        """The events that come in despite the fault, in the order in which they come in."""
        through: list[Item] = []
        for event in events:
            if not hears(event):
                through.append(event)
            elif self.waiting:  # It overtakes the waiting event, and does not wait itself.
                self.visitors += 1
                through += [event, *self.waiting]
                self.waiting = []
            elif not self.hits():
                through.append(event)
            elif self.fault.fate == "doubled":
                through += [event, event]
            elif self.fault.fate == "overtaken":
                self.waiting = [event]
        return through

    def evidence(self) -> dict[str, Any]:
        """Numbers of requests or events seen (`visitors`) and hit (`acted`); delays in ms."""
        acted = self.acted - len(self.waiting)  # A waiting event was not overtaken yet.
        told: dict[str, Any] = {"visitors": self.visitors, "acted": acted}
        if self.delays_ms:
            told |= {
                "delayed_ms_min": round(min(self.delays_ms), 2),
                "delayed_ms_mean": round(sum(self.delays_ms) / len(self.delays_ms), 2),
                "delayed_ms_max": round(max(self.delays_ms), 2),
            }
        return told


class Door:
    """Applies the active faults to requests and events.

    Used from the event loop; worker threads call it only to delay a request or to rewrite a
    payload.
    """

    def __init__(self) -> None:
        self._hanging: dict[str, _Hanging] = {}
        self._late: list[Any] = []

    def put(self, name: str, fault: Fault, seed: int) -> None:
        """Add a fault, in place of one with the same name; `seed` fixes what a probability hits."""
        self.take(name)
        self._hanging[name] = _Hanging(fault, random.Random(seed))

    def take(self, name: str) -> dict[str, Any] | None:
        """Remove a fault and return its evidence; None when it is not active."""
        hanging = self._hanging.pop(name, None)
        if hanging is None:
            return None
        hanging.ended.set()
        self._late += hanging.waiting
        return hanging.evidence()

    def take_all(self) -> None:
        """Remove all faults."""
        for name in list(self._hanging):
            self.take(name)

    def evidence(self) -> dict[str, dict[str, Any]]:
        """The evidence of each active fault, by its name."""
        return {name: hanging.evidence() for name, hanging in self._hanging.items()}

    def visit(self, caller: str = CLIENT) -> Visit:
        """Decide the effect of the active faults on a request or a delivery from `caller`."""
        visit = Visit()
        for name, hanging in self._hanging.items():
            if hanging.fault.concerns(caller) and hanging.hits():
                hanging.fault.act(visit, hanging.chance)
                visit.because_of.append(name)
        return visit

    def let_in(self, events: Sequence[Item], hears: Callable[[Item], bool]) -> list[Item]:
        """The events that come in: those of a delivery, after those that a removed fault held back.

        Faults hit only events for which `hears` is true: the loss of an event that this service
        does not consume would prove nothing.
        """
        arriving: list[Item] = [*self._late, *events]
        self._late = []
        for hanging in self._hanging.values():
            if hanging.fault.fate is not None:
                arriving = hanging.let_through(arriving, hears)
        return arriving

    def let_out(self, said: Item, rewritten: Callable[[Item, int], Item]) -> Item:
        """Rewrite an outgoing payload to the schema version being rolled out, if any."""
        for hanging in list(self._hanging.values()):  # a copy: workers call this, too
            if isinstance(hanging.fault, NewVersion):
                hanging.visitors += 1
                before, said = said, rewritten(said, hanging.fault.version)
                hanging.acted += said != before
        return said

    @property
    def keeps_waiting(self) -> bool:
        """Whether an event is held back that has not come in yet."""
        return bool(self._late) or any(one.waiting for one in self._hanging.values())

    def hold(self, visit: Visit) -> float:
        """Block the calling worker for the injected latency; returns the time waited, in ms."""
        if not visit.delay_s:
            return 0.0
        begun = time.perf_counter()
        time.sleep(visit.delay_s)
        waited_ms = (time.perf_counter() - begun) * 1_000
        for name in visit.because_of:
            hanging = self._hanging.get(name)
            if hanging and hanging.fault.kind == "latency":
                hanging.delays_ms.append(waited_ms)
        return round(waited_ms, 3)

    async def until_healed(self, visit: Visit) -> None:
        """Wait until every fault that hit this request has been removed."""
        for name in visit.because_of:
            if hanging := self._hanging.get(name):
                await hanging.ended.wait()
