"""The fault controller of the console: that of `lab up`, plus a callback for every action.

So all screens show every action, both those from the page and those from `lab fault`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from lab.cluster.stack import Stack
from lab.domain.errors import Conflict
from lab.sandbox.fault_controller import Deed, Switchboard

Did = Callable[[Sequence[Deed]], None]
_IS_HEALING = ("healed", "restarted", "lost")


@dataclass(frozen=True)
class On:
    """An active fault in one pane. `since_s`: a moment of `perf_counter`."""

    half: str
    target: str
    kind: str
    options: dict[str, Any]
    since_s: float


def kind_of(deed: Deed) -> Literal["fault", "heal"]:
    """The kind of the log line for an action."""
    return "heal" if deed.state in _IS_HEALING else "fault"


class Board(Switchboard):
    """A fault controller that calls `did` with the actions of each request.

    `put` and `heal` raise Conflict while the stacks are starting, and as in `lab up`."""

    def __init__(self, stacks: Sequence[Stack], did: Did) -> None:
        super().__init__(stacks)
        self._did = did
        self._shut = False

    def on(self) -> list[On]:
        """The active faults, the oldest first."""
        return [
            On(
                *(one.stack.name, one.fault.target, one.fault.kind),
                one.fault.settings(),
                one.began_s,
            )
            for one in self._on
        ]

    async def put(
        self, kind: str, target: str, options: dict[str, Any], stack: str | None
    ) -> list[Deed]:
        self._refuse_if_shut()
        deeds = await super().put(kind, target, options, stack)
        self._did(deeds)
        return deeds

    async def heal(self, target: str | None, kind: str | None, stack: str | None) -> list[Deed]:
        self._refuse_if_shut()
        deeds = await super().heal(target, kind, stack)
        self._did(deeds)
        return deeds

    @asynccontextmanager
    async def shut(self) -> AsyncIterator[None]:
        """Refuse all requests during the context; a request in progress is completed first."""
        self._shut = True
        try:
            async with self._one_at_a_time:
                yield
        finally:
            self._shut = False

    def _refuse_if_shut(self) -> None:
        if self._shut:
            raise Conflict("Both halves are just starting. Try again in a second.")

    def use(self, stacks: Sequence[Stack]) -> None:
        """Control these stacks from now on; they have no faults yet."""
        self._stacks = {stack.name: stack for stack in stacks}
        self._on = []
