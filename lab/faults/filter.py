"""The door of a service: every request and every delivery of events comes in here.

Faults hang on the door. It decides what becomes of each visitor, and of what the service says to
others, and keeps count of what really happened: a fault that never acted has proved nothing, and a
lab that cannot tell is a lab with a switch that does nothing.
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
    """A fault on the door, and what it has done so far."""

    fault: Fault
    chance: random.Random
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    visitors: int = 0
    acted: int = 0
    delays_ms: list[float] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)

    def hits(self) -> bool:
        """Whether it acts on the one who comes now; counts them, and that it did."""
        self.visitors += 1
        if self.fault.first is not None and self.acted >= self.fault.first:
            return False
        if self.fault.probability < 1 and self.chance.random() >= self.fault.probability:
            return False
        self.acted += 1
        return True

    def let_through(self, events: Sequence[Item], hears: Callable[[Item], bool]) -> list[Item]:
        """Those of the events that come in, in the order in which they do."""
        through: list[Item] = []
        for event in events:
            if not hears(event):
                through.append(event)
            elif self.waiting:  # This one overtakes who waits, and is not made to wait itself.
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
        acted = self.acted - len(self.waiting)  # Who still waits was not overtaken.
        told: dict[str, Any] = {"visitors": self.visitors, "acted": acted}
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
        self._late: list[Any] = []

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
        self._late += hanging.waiting
        return hanging.evidence()

    def take_all(self) -> None:
        for name in list(self._hanging):
            self.take(name)

    def evidence(self) -> dict[str, dict[str, Any]]:
        """What each fault on the door has done so far, by its name."""
        return {name: hanging.evidence() for name, hanging in self._hanging.items()}

    def visit(self, caller: str = CLIENT) -> Visit:
        """Decide what becomes of the visitor who stands here now, sent by `caller`."""
        visit = Visit()
        for name, hanging in self._hanging.items():
            if hanging.fault.concerns(caller) and hanging.hits():
                hanging.fault.act(visit, hanging.chance)
                visit.because_of.append(name)
        return visit

    def let_in(self, events: Sequence[Item], hears: Callable[[Item], bool]) -> list[Item]:
        """What comes in of a delivery of events, and of those that waited for a fault to end.

        Faults hit only events of which `hears` is true: the loss of one that nobody here listens
        for would prove nothing.
        """
        arriving: list[Item] = [*self._late, *events]
        self._late = []
        for hanging in self._hanging.values():
            if hanging.fault.fate is not None:
                arriving = hanging.let_through(arriving, hears)
        return arriving

    def let_out(self, said: Item, rewritten: Callable[[Item, int], Item]) -> Item:
        """What is said to others, `rewritten` in the version that is deployed, where one is."""
        for hanging in list(self._hanging.values()):  # workers say things, too
            if isinstance(hanging.fault, NewVersion):
                hanging.visitors += 1
                before, said = said, rewritten(said, hanging.fault.version)
                hanging.acted += said != before
        return said

    @property
    def keeps_waiting(self) -> bool:
        """Whether an event stands outside that has not come in yet."""
        return bool(self._late) or any(one.waiting for one in self._hanging.values())

    def hold(self, visit: Visit) -> float:
        """Keep the visitor, and the worker who serves them, for as long as a latency says (ms)."""
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
        """Wait until none of the faults that hit this visitor hangs on the door any more."""
        for name in visit.because_of:
            if hanging := self._hanging.get(name):
                await hanging.ended.wait()
