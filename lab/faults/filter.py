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

from lab.faults.kinds import CLIENT, Effect, Fault, NewVersionFault, Visitor

Item = TypeVar("Item")


@dataclass(slots=True)
class _ActiveFault:
    """An active fault, and what it has done so far."""

    fault: Fault
    rng: random.Random
    removed: asyncio.Event = field(default_factory=asyncio.Event)
    seen_count: int = 0
    hit_count: int = 0
    delays_ms: list[float] = field(default_factory=list)
    held_back: list[Any] = field(default_factory=list)

    def try_hit(self) -> bool:
        """Whether the fault acts on the current request or event; updates the counters."""
        self.seen_count += 1
        if self.fault.first is not None and self.hit_count >= self.fault.first:
            return False
        if self.fault.probability < 1 and self.rng.random() >= self.fault.probability:
            return False
        self.hit_count += 1
        return True

    def filter_events(self, events: Sequence[Item], consumes: Callable[[Item], bool]) -> list[Item]:
        """The events that arrive despite the fault, in the order of their arrival."""
        passed: list[Item] = []
        for event in events:
            if not consumes(event):
                passed.append(event)
            elif self.held_back:  # It overtakes the waiting event and does not wait itself.
                self.seen_count += 1
                passed += [event, *self.held_back]
                self.held_back = []
            elif not self.try_hit():
                passed.append(event)
            elif self.fault.event_effect == "doubled":
                passed += [event, event]
            elif self.fault.event_effect == "overtaken":
                self.held_back = [event]
        return passed

    def forget_held(self, comes_again: Callable[[Any], bool]) -> None:
        """Forget the held event if it comes again: then it can be hit as if for the first time."""
        kept = [event for event in self.held_back if not comes_again(event)]
        self.seen_count -= len(self.held_back) - len(kept)
        self.hit_count -= len(self.held_back) - len(kept)
        self.held_back = kept

    def evidence(self) -> dict[str, Any]:
        """Numbers of requests or events seen (`visitors`) and hit (`acted`); delays in ms."""
        hit_count = self.hit_count - len(self.held_back)  # A waiting event was not overtaken yet.
        evidence: dict[str, Any] = {"visitors": self.seen_count, "acted": hit_count}
        if self.delays_ms:
            evidence |= {
                "delayed_ms_min": round(min(self.delays_ms), 2),
                "delayed_ms_mean": round(sum(self.delays_ms) / len(self.delays_ms), 2),
                "delayed_ms_max": round(max(self.delays_ms), 2),
            }
        return evidence


class FaultFilter:
    """Applies the active faults to requests and events.

    Used from the event loop; worker threads call it only to delay a request or to rewrite a
    payload.
    """

    def __init__(self) -> None:
        self._active: dict[str, _ActiveFault] = {}
        self._released: list[Any] = []

    def add(self, name: str, fault: Fault, seed: int) -> None:
        """Add a fault, in place of one with the same name; `seed` fixes what a probability hits."""
        self.remove(name)
        self._active[name] = _ActiveFault(fault, random.Random(seed))

    def remove(self, name: str) -> dict[str, Any] | None:
        """Remove a fault and return its evidence; None when it is not active."""
        active = self._active.pop(name, None)
        if active is None:
            return None
        active.removed.set()
        self._released += active.held_back
        return active.evidence()

    def clear(self) -> None:
        """Remove all faults."""
        for name in list(self._active):
            self.remove(name)

    def evidence(self) -> dict[str, dict[str, Any]]:
        """The evidence of each active fault, by its name."""
        return {name: active.evidence() for name, active in self._active.items()}

    def active(self) -> list[tuple[str, str, str]]:
        """Name, kind and target of each active fault."""
        return [(name, one.fault.kind, one.fault.target) for name, one in self._active.items()]

    @property
    def hits_each_event(self) -> bool:
        """Whether an active fault acts on each event of a delivery by itself."""
        return any(
            active.fault.event_effect is None and active.fault.meets("event")
            for active in self._active.values()
        )

    def decide(self, caller: str = CLIENT, visitor: Visitor = "request") -> Effect:
        """Decide the effect of the active faults on one visitor from `caller`."""
        effect = Effect()
        for name, active in self._active.items():
            fault = active.fault
            if fault.applies_to(caller) and fault.meets(visitor) and active.try_hit():
                before_s = effect.delay_s
                fault.act(effect, active.rng)
                if fault.kind == "latency":
                    effect.delays_s[name] = effect.delay_s - before_s
                effect.fault_names.append(name)
        return effect

    def filter_events(self, events: Sequence[Item], consumes: Callable[[Item], bool]) -> list[Item]:
        """The events that arrive: those that a removed fault held back, then those of a delivery.

        Faults hit only events for which `consumes` is true: the loss of an event that this service
        does not consume would prove nothing.
        """
        arriving: list[Item] = [*self._released, *events]
        self._released = []
        for active in self._active.values():
            if active.fault.event_effect is not None:
                arriving = active.filter_events(arriving, consumes)
        return arriving

    def rewrite_outgoing(self, payload: Item, rewrite: Callable[[Item, int], Item]) -> Item:
        """Rewrite an outgoing payload to the schema version being rolled out, if any."""
        for active in list(self._active.values()):  # a copy: workers call this, too
            if isinstance(active.fault, NewVersionFault):
                active.seen_count += 1
                before, payload = payload, rewrite(payload, active.fault.version)
                active.hit_count += payload != before
        return payload

    def forget_held(self, comes_again: Callable[[Any], bool]) -> None:
        """Forget the events held back that the bus delivers again, because its stream broke."""
        self._released = [event for event in self._released if not comes_again(event)]
        for active in self._active.values():
            active.forget_held(comes_again)

    @property
    def has_held_events(self) -> bool:
        """Whether an event is held back that has not arrived yet."""
        return bool(self._released) or any(active.held_back for active in self._active.values())

    def delay(self, effect: Effect) -> float:
        """Block the calling worker for the injected latency; returns the time waited, in ms."""
        if not effect.delay_s:
            return 0.0
        began_s = time.perf_counter()
        time.sleep(effect.delay_s)
        waited_ms = (time.perf_counter() - began_s) * 1_000
        self.record_delay(effect, waited_ms)
        return round(waited_ms, 3)

    def record_delay(self, effect: Effect, waited_ms: float) -> None:
        """Keep as evidence how long a request waited, for each fault that delayed it."""
        overslept_ms = waited_ms - 1_000 * effect.delay_s
        for name, delay_s in effect.delays_s.items():
            if active := self._active.get(name):
                active.delays_ms.append(1_000 * delay_s + overslept_ms)

    async def wait_until_removed(self, effect: Effect) -> None:
        """Wait until every fault that hit this request has been removed."""
        for name in effect.fault_names:
            if active := self._active.get(name):
                await active.removed.wait()
