"""What runs behind the console: starts, resets and ends two stacks, their load and their faults.

The fork server stays through every reset. New processes are forked from it and need no imports, so
a reset takes about a second.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.errors import LabCannotRun, how_it_ended
from lab.cluster.fixtures import seed_posts
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.errors import Conflict
from lab.live.broadcast import Show
from lab.live.commentary import Seer
from lab.live.fault_controller import Board, kind_of
from lab.live.load_client import LoadLink, Report
from lab.live.panes import ENGINES, Half
from lab.live.snapshots import Hops, Nodes, Ticks
from lab.sandbox.control_server import Address, control_server
from lab.sandbox.fault_controller import Deed
from lab.sandbox.instances import RunningLab, announced

RATE = 40.0
MIX = {"read_feed": 6.0, "create_post": 1.0, "create_comment": 3.0}
TIMEOUT_S = 2.0
SEED = 7
SETTLE_WITHIN_S = 5.0
LOOK_EVERY_S = 0.2


class Session:
    """The two stacks, their load and their fault controller. Made by `session()`; the stacks exist
    from the first `begin` on."""

    def __init__(self, supervisor: Supervisor, folder: Path, show: Show) -> None:
        self.show = show
        self.board = Board([], self._did)
        self.halves: Sequence[Half] = ()
        self.stacks: dict[str, Stack] = {}
        self.rate, self.mix, self.timeout_s = RATE, dict(MIX), TIMEOUT_S
        self.restarted: Callable[[], None] = lambda: None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervisor, self._folder = supervisor, folder
        self._control: Address | None = None
        self._held = AsyncExitStack()
        self._link: LoadLink | None = None
        self._nodes: dict[str, Nodes] = {}
        self._ticks: Ticks | None = None
        self._seer = Seer((), show)
        self._starting = asyncio.Lock()
        self._exits = 0

    @property
    def is_up(self) -> bool:
        return self._link is not None and not self._starting.locked()

    def require_up(self) -> None:
        """Raise Conflict while the stacks are starting."""
        if not self.is_up:
            raise Conflict("Both halves are just starting. Try again in a second.")

    def end_with(self, task: asyncio.Task[None]) -> None:
        """End the session when this task has ended, with the task's error if it failed."""
        if self.ended.done() or task.cancelled():
            return
        if error := task.exception():
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def stage(self, halves: Sequence[Half]) -> None:
        """Describe the panes before they start, for screens that connect before `begin`."""
        self.halves = halves
        self.show.stage = self._stage()

    async def begin(self, halves: Sequence[Half], says: str = "") -> None:
        """Start these panes with empty blogs; the running stacks and their data are discarded.

        Raises Conflict while another start is in progress, LabCannotRun."""
        if self._starting.locked():
            raise Conflict("Both halves are just starting. Try again in a second.")
        async with self._starting, self.board.shut():
            began_s = perf_counter()
            await self._end_all()
            self.halves = halves
            self.restarted()
            self.show.begin(self._stage())
            folder = self._folder / f"start-{self.show.epoch}"
            folder.mkdir(mode=0o700)
            await self._start(halves, folder)
        if says:
            self.show.done(f"{says} ({perf_counter() - began_s:.1f} s)", "reset")

    def set_load(self, rate: float | None, mix: Mapping[Any, float] | None) -> dict[str, Any]:
        """Change the load from now on; returns the new load. `rate`: requests per second for each
        pane; `mix`: weights by operation; None keeps the current value."""
        self.rate = self.rate if rate is None else rate
        self.mix = self.mix if mix is None else dict(mix)
        if self._link is not None:
            self._link.wish(rate=self.rate, mix=self.mix)
        load = {"rate": self.rate, "mix": self.mix}
        self.show.change("load", load)
        parts = ", ".join(f"{name} {weight:g}" for name, weight in self.mix.items() if weight)
        self.show.done(f"{self.rate:g} requests a second for each half: {parts}", "load")
        return load

    def _stage(self) -> dict[str, Any]:
        self.show.now["load"] = {"rate": self.rate, "mix": self.mix}
        return {
            "halves": [half.hello() for half in self.halves],
            "arrangements": list(ARRANGEMENTS),
            "engines": list(ENGINES),
        }

    async def _start(self, halves: Sequence[Half], folder: Path) -> None:
        held = self._held = AsyncExitStack()
        stacks = [
            held.enter_context(
                Stack(
                    *(half.name, ARRANGEMENTS[half.arrangement], self._supervisor, folder),
                    options=half.options,
                )
            )
            for half in halves
        ]
        self.stacks = {stack.name: stack for stack in stacks}
        await self._supervisor.start(*(program for stack in stacks for program in stack.programs))
        seeds = await asyncio.gather(*(seed_posts(stack, SETTLE_WITHIN_S) for stack in stacks))
        self.board.use(stacks)
        self._nodes = {stack.name: Nodes(stack) for stack in stacks}
        self._ticks = Ticks(
            stacks, self._nodes, {stack.name: Hops(stack, folder) for stack in stacks}
        )
        held.callback(self._ticks.close)
        self._seer = Seer(halves, self.show)
        for nodes in self._nodes.values():
            held.push_async_callback(cancelled, asyncio.create_task(nodes.run()))
        if self._control is not None:
            urls = {stack.name: stack.urls for stack in stacks}
            control = self._control
            here = RunningLab(0, 0.0, control.url, control.token, urls, folder)
            held.enter_context(announced(here))
        self._plan = {
            "seed": SEED,
            "timeout_s": self.timeout_s,
            "variants": [
                {
                    "name": stack.name,
                    "urls": {name: stack.urls[name] for name in ("posts", "comments", "query")},
                    "seed_posts": posts,
                }
                for stack, posts in zip(stacks, seeds, strict=True)
            ],
        }
        self._where = folder
        await self._start_load()

    async def _start_load(self) -> None:
        link = LoadLink(self._supervisor, self._on_report)
        self._link = link
        await link.start({**self._plan, "rate": self.rate, "mix": self.mix}, self._where)

    def _on_report(self, report: Report) -> None:
        if self._ticks is None:
            return
        tick = self._ticks.of(report, self.show.began_s)
        self.show.tick(tick)
        self._seer.look(tick)

    async def _end_all(self) -> None:
        """Kill all processes of this start, and delete the folder with their data and logs."""
        link, self._link, self._ticks = self._link, None, None
        if link is not None:
            await link.stop()
        programs = [program.name for stack in self.stacks.values() for program in stack.programs]
        living = [name for name in programs if self._supervisor.alive(name)]
        for result in await asyncio.gather(
            *(self._supervisor.kill(name) for name in living), return_exceptions=True
        ):
            if isinstance(result, Exception) and not isinstance(result, LabCannotRun):
                raise result
        await self._held.aclose()
        self.stacks = {}
        self.board.use([])
        folder = self._folder / f"start-{self.show.epoch}"
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _did(self, deeds: Sequence[Deed]) -> None:
        for deed in deeds:
            self.show.done(f"{deed.target}: {deed.says}", kind_of(deed), deed.stack)
        for nodes in self._nodes.values():
            nodes.look_now()
        self.show.change("faults", self.faults())

    def faults(self) -> list[dict[str, Any]]:
        """The active faults, as a screen gets them. `since_t`: seconds since this start."""
        told = []
        for one in self.board.on():
            fault = asdict(one)
            fault["since_t"] = round(fault.pop("since_s") - self.show.began_s, 3)
            told.append(fault)
        return told

    async def watch(self) -> None:
        """Report processes that exit unexpectedly, and restart the load if it exited."""
        while True:
            for exited in self._supervisor.unexpected_exits()[self._exits :]:
                self._exits += 1
                half, _, part = exited.name.rpartition(".")
                says = f"{part} {how_it_ended(exited.status)}, and nobody had told it to."
                self.show.done(f"{says} Heal {part} starts it again.", "exit", half or None)
            if self.is_up and self._link is not None and not self._link.alive:
                async with self._starting:
                    self.show.done("The load had ended, and is started again.", "exit")
                    await self._link.stop()
                    await self._start_load()
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def session(folder: Path, show: Show, halves: Sequence[Half]) -> AsyncIterator[Session]:
    """A session that is ready to begin with these panes; the end of the context ends all processes
    and deletes their data. Raises LabCannotRun."""
    modules = preload(half.options for half in halves)
    supervisor = Supervisor((*modules, "lab.load.continuous"), folder)
    supervisor.launch()
    async with supervisor:
        one = Session(supervisor, folder, show)
        async with control_server(one.board) as control:
            one._control = control
            watching = asyncio.create_task(one.watch())
            watching.add_done_callback(one.end_with)
            try:
                yield one
            finally:
                await cancelled(watching)
                await one._end_all()


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
