"""The fault controller of the console: that of `lab up`, plus a callback for every action.

So all screens show every action, both those from the page and those from `lab fault`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from lab.cluster.stack import Stack
from lab.domain.errors import Conflict
from lab.live.sandbox.fault_controller import FaultAction, FaultController

ActionsCallback = Callable[[Sequence[FaultAction]], None]
_HEALING_STATES = ("healed", "restarted", "lost")


@dataclass(frozen=True)
class PaneFault:
    """An active fault in one pane. `since_s`: a moment of `perf_counter`."""

    half: str
    target: str
    kind: str
    options: dict[str, Any]
    since_s: float


def log_kind(action: FaultAction) -> Literal["fault", "heal"]:
    """The kind of the log line for an action."""
    return "heal" if action.state in _HEALING_STATES else "fault"


def describe_action(action: FaultAction) -> str:
    """The line of the log for an action: what happened to its target, then its evidence."""
    _, _, evidence = action.says.partition(" is on: " if action.state == "on" else " is healed. ")
    options, kind = action.options, action.kind
    effects = {
        "down": "killed",
        "hang": "suspended, so it hangs",
        "latency": f"slower by {options.get('ms', 0):g} ms",
        "error": f"returns errors ({100 * options.get('probability', 1):.0f} %)",
        "partition": f"cut off from {options.get('from')}",
    }
    if action.state == "healed":
        repairs = {"down": "restarted", "hang": "resumed", "partition": "connected again"}
        effect = repairs.get(kind, f"healed: no {kind} any more")
    else:
        effect = effects.get(kind, f"{kind} added")
    if not evidence:  # neither added nor healed: the sentence says what happened
        return f"{action.target}: {action.says}"
    return f"{action.target} {effect}. {evidence[:1].upper()}{evidence[1:]}"


class LiveFaultController(FaultController):
    """A fault controller that calls `on_actions` with the actions of each request. `heal_began_s`:
    when the newest heal began, a moment of `perf_counter`.

    `inject` and `heal` raise Conflict while the stacks are starting, and as in `lab up`."""

    def __init__(self, stacks: Sequence[Stack], on_actions: ActionsCallback) -> None:
        super().__init__(stacks)
        self._on_actions = on_actions
        self.heal_began_s = 0.0
        self._closed = False

    def active_faults(self) -> list[PaneFault]:
        """The active faults, the oldest first."""
        return [
            PaneFault(
                injection.stack.name,
                injection.fault.target,
                injection.fault.kind,
                injection.fault.settings(),
                injection.began_s,
            )
            for injection in self._active
        ]

    async def inject(
        self, kind: str, target: str, options: dict[str, Any], stack: str | None
    ) -> list[FaultAction]:
        self._refuse_if_closed()
        actions = await super().inject(kind, target, options, stack)
        self._on_actions(actions)
        return actions

    async def heal(
        self, target: str | None, kind: str | None, stack: str | None
    ) -> list[FaultAction]:
        self._refuse_if_closed()
        self.heal_began_s = perf_counter()
        actions = await super().heal(target, kind, stack)
        self._on_actions(actions)
        return actions

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Refuse all requests during the context; a request in progress is completed first."""
        self._closed = True
        try:
            async with self._lock:
                yield
        finally:
            self._closed = False

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Conflict("Both halves are just starting. Try again in a second.")

    def set_stacks(self, stacks: Sequence[Stack]) -> None:
        """Control these stacks from now on; they have no faults yet."""
        self._stacks = {stack.name: stack for stack in stacks}
        self._active = []
