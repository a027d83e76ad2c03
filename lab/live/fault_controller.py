"""The switches of the console: those of `lab up`, with everybody told of what was done.

Whoever turns one, the page or `lab fault` in another terminal, all screens say so.
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
    """A fault that is on in one half. `since_s`: a moment of `perf_counter`."""

    half: str
    target: str
    kind: str
    options: dict[str, Any]
    since_s: float


def kind_of(deed: Deed) -> Literal["fault", "heal"]:
    """What kind of log line a deed is."""
    return "heal" if deed.state in _IS_HEALING else "fault"


class Board(Switchboard):
    """`did` is called with the deeds of each order, whoever gave it."""

    def __init__(self, stacks: Sequence[Stack], did: Did) -> None:
        super().__init__(stacks)
        self._did = did
        self._shut = False

    def on(self) -> list[On]:
        """What is on now, the oldest first."""
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
        """Nobody turns a switch meanwhile; who is just turning one comes to an end first."""
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
        """Other stacks from now on, on which nothing is."""
        self._stacks = {stack.name: stack for stack in stacks}
        self._on = []
