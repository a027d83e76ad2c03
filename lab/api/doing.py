"""What is being done to a blog: begun at once, and awaited; or, without a loop, simply done.

A line that was meant to break something should break it, also when its `await` was forgotten. So
each method begins what it is asked for as a task, and orders (faults, healing) are carried out
before whatever is asked after them. What nobody has awaited is awaited at the end of the blog, so
that no failure goes unheard.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

from lab.api.shown import Shown
from lab.byhand.deeds import Deed
from lab.report import fragment

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, Any]]


class Do(Protocol):
    """Has work done. `order`: what comes later has to wait for it."""

    def __call__(self, work: Work, *, order: bool = False) -> Any: ...


class Broken(Shown):
    """What was done to services, in figures in `deeds`. As a context it is healed at its end."""

    def __init__(self, deeds: Sequence[Deed], heal: Callable[[], Any] | None) -> None:
        self.deeds, self._heal = tuple(deeds), heal

    def heal(self) -> Any:
        """Take it back."""
        return self._heal() if self._heal else None

    def __enter__(self) -> "Broken":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()

    def __repr__(self) -> str:
        return f"<{self._text()}>"

    def _text(self) -> str:
        lines = [f"{one.stack} {one.target}: {one.says}" for one in self.deeds]
        return "\n".join(lines or ["Nothing is broken."])

    def _html(self) -> str:
        if not self.deeds:
            return super()._html()
        rows = [[one.stack, one.target, one.kind, one.state, one.says] for one in self.deeds]
        headings = ["stack", "target", "fault", "is", "what came of it"]
        return fragment.piece(fragment.table("Faults", headings, rows, left=5))


class Doing(Awaitable[Any]):
    """Something that has been begun. `await` gives what comes of it."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task, self.heard = task, False

    def __await__(self) -> Generator[Any, None, Any]:
        self.heard = True
        return self._task.__await__()

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        broken = self._task.result()
        if isinstance(broken, Broken):
            await to_its_end(broken.heal())

    def cancel(self) -> None:
        """Break it off."""
        self._task.cancel()

    def __repr__(self) -> str:
        return "<begun; write `await` before it to have what comes of it>"


class InTurn:
    """Begins work in the running loop."""

    def __init__(self) -> None:
        self._begun: list[Doing] = []
        self._orders: set[asyncio.Task[Any]] = set()

    def __call__(self, work: Work, *, order: bool = False) -> Doing:
        before = tuple(self._orders)

        async def in_turn() -> Any:
            if before:
                await asyncio.wait(before)
            return await work()

        task = asyncio.get_running_loop().create_task(in_turn())
        if order:
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)
        self._begun = [one for one in self._begun if not one.heard]
        self._begun.append(Doing(task))
        return self._begun[-1]

    async def finish(self, broken_off: bool) -> None:
        """All that nobody has awaited: to its end, raising what it raises; or broken off."""
        for one in self._begun:
            if not one.heard and broken_off:
                one.cancel()
                await asyncio.gather(one, return_exceptions=True)
            elif not one.heard:
                await one
        self._begun.clear()


async def to_its_end(work: Awaitable[T]) -> T:
    """Also when we are cancelled meanwhile: what is half broken or half mended helps nobody."""
    going_on = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(going_on)
    except asyncio.CancelledError:
        await asyncio.gather(going_on, return_exceptions=True)
        raise
