"""`lab.up`: a blog, or both, that stay up while a block lasts, to be written to and broken.

    async with lab.up("both") as stacks:                 # in a notebook, or in async code
        chain = stacks["sync-chain"]
        await chain.fault("latency", "comments", ms=300)
        post = await chain.post("Hello")
        await chain.feed()

    with lab.up("both") as stacks:                       # the same without await
        stacks["async-bus"].events()

Over several cells: `stacks = await lab.up("both")`, and in the end `await stacks.close()`. Whatever
happens to the block, the cell or the kernel, no process and no fault outlives it. Ports are free
ones; `by_hand=True` takes those of `lab up` (4000 and so on), for curl.
"""

import asyncio
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.api.blog import Blog
from lab.api.doing import Do, InTurn, Work
from lab.api.own import OwnServices
from lab.api.own_loop import OwnLoop
from lab.api.shown import Shown
from lab.byhand.settings import settings_by_stack
from lab.byhand.switchboard import Switchboard
from lab.byhand.up import BOTH, WHICH, raised
from lab.domain.directory import BY_HAND_PORTS, TWINS
from lab.meant import did_you_mean
from lab.report import fragment
from lab.scenarios.runs import RUNS, drop_databases, new_folder

WAKE_EVERY_S = 0.2


class Stacks(Shown, Mapping[str, Blog]):
    """What is up, by name. `folder`: its logs and spans."""

    def __init__(
        self, board: Switchboard, do: Do, own: OwnServices, folder: Path, end: "Up"
    ) -> None:
        self._blogs = {one.name: Blog(one, board, do, own) for one in board.stacks}
        self._end, self.folder = end, folder

    def __getitem__(self, name: str) -> Blog:
        if name not in self._blogs:
            raise KeyError(f"No stack {name!r} is up. {did_you_mean(name, self._blogs)}")
        return self._blogs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blogs)

    def __len__(self) -> int:
        return len(self._blogs)

    def close(self) -> Any:
        """End it all, where it was not begun by a `with`."""
        return self._end.close()

    def __repr__(self) -> str:
        return f"<up: {', '.join(self)}>"

    def _text(self) -> str:
        lines = [f"{name}\n" + "\n".join(_addresses(blog)) for name, blog in self.items()]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [name if not number else "", part, url]
            for name, blog in self.items()
            for number, (part, url) in enumerate(blog.urls.items())
        ]
        return fragment.piece(fragment.table("Up", ["stack", "part", "address"], rows, left=3))


class Up:
    """What `lab.up` returns: a context, plain or `async`; awaited, it stays up until `close`."""

    def __init__(
        self, which: str, options: Mapping[str, Mapping[str, Any]], by_hand: bool, keep: Path | None
    ) -> None:
        self._which, self._options, self._by_hand, self._keep = which, options, by_hand, keep
        self._held = AsyncExitStack()
        self._loop: OwnLoop | None = None
        self._in_turn = InTurn()

    def __await__(self) -> Generator[Any, None, Stacks]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Stacks:
        stacks = await self._start(self._in_turn)
        self._held.callback(asyncio.create_task(_wake_the_loop()).cancel)
        return stacks

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._in_turn.finish(broken_off=error is not None)
        finally:
            await self._held.aclose()

    def __enter__(self) -> Stacks:
        self._loop = loop = OwnLoop()

        def at_once(work: Work, *, order: bool = False) -> Any:
            return loop.do(work())

        try:
            return loop.do(self._start(at_once))
        except BaseException:
            loop.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        try:
            self._loop.do(self._held.aclose())
        finally:
            self._loop.close()

    def close(self) -> Any:
        """End what was not begun by a `with`."""
        return self.__aexit__(None, None, None)

    async def _start(self, do: Do) -> Stacks:
        folder = new_folder("up", self._keep or RUNS).absolute()
        ports, own = BY_HAND_PORTS if self._by_hand else {}, OwnServices()
        try:
            if self._keep is None:
                self._held.callback(drop_databases, folder)
            self._held.callback(own.sweep)
            raising = raised(self._which, folder, ports=ports, options=self._options)
            board = await self._held.enter_async_context(raising)
        except BaseException:
            await self._held.aclose()
            raise
        return Stacks(board, do, own, folder, self)


async def _wake_the_loop() -> None:
    """Jupyter notes an interrupt for its loop and does not wake it: a cell that only waits would
    not be broken off."""
    while True:  # noqa: ASYNC110 - to wake it is all that is wanted
        await asyncio.sleep(WAKE_EVERY_S)


def up(
    which: str = BOTH,
    *,
    bus: str | None = None,
    settings: Mapping[str, Any] | None = None,
    by_hand: bool = False,
    keep: str | Path | None = None,
) -> Up:
    """`which`: `both` twins, or an arrangement; `bus`: its engine; `settings`: switches by name, as
    `{"dead_letter": True}`; `keep`: the folder under which it is kept with its databases.

    Raises ValueError, in a sentence, before anything is started.
    """
    if which not in WHICH:
        raise ValueError(f"There is no stack {which!r}. {did_you_mean(which, WHICH)}")
    wanted = {**(settings or {}), **({"bus": bus} if bus else {})}
    words = [f"{name}={json.dumps(value)}" for name, value in wanted.items()]
    names = list(TWINS) if which == BOTH else [which]
    options = settings_by_stack(words, names)
    return Up(which, options, by_hand, None if keep is None else Path(keep).expanduser())


def _addresses(blog: Blog) -> Iterator[str]:
    return (f"  {part:<12}{url}" for part, url in blog.urls.items())
