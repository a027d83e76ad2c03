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
from lab.cluster.errors import LabCannotRun, describe_exit
from lab.cluster.fixtures import seed_posts
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.errors import Conflict
from lab.live.broadcast import Broadcast
from lab.live.cards import CardMaker
from lab.live.commentary import Commentator
from lab.live.fault_controller import LiveFaultController, describe_action, log_kind
from lab.live.load_client import LoadClient, Report
from lab.live.panes import ENGINES, Pane
from lab.live.sandbox.control_server import ControlAddress, control_server
from lab.live.sandbox.fault_controller import FaultAction
from lab.live.sandbox.instances import RunningLab, registered_instance
from lab.live.snapshots import HopReader, ProcessMonitor, TickBuilder

RATE = 20.0
"""The rate of the scenarios. 18 of these 20 requests/s pass `comments` of the chain: with 300 ms
each (`s`) they occupy 5.4 of its 8 workers, so they get slower and do not fail."""
MIX = {"read_feed": 6.0, "create_post": 1.0, "create_comment": 3.0}
TIMEOUT_S = 2.0
SEED = 7
SETTLE_WITHIN_S = 5.0
POLL_INTERVAL_S = 0.2


class Session:
    """The two stacks, their load and their fault controller. Made by `session()`; the stacks exist
    from the first `start_panes` on."""

    def __init__(self, supervisor: Supervisor, folder: Path, broadcast: Broadcast) -> None:
        self.broadcast = broadcast
        self.fault_controller = LiveFaultController([], self._on_fault_actions)
        self.panes: Sequence[Pane] = ()
        self.stacks: dict[str, Stack] = {}
        self.rate, self.mix, self.timeout_s = RATE, dict(MIX), TIMEOUT_S
        self.on_restart: Callable[[], None] = lambda: None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervisor, self._folder = supervisor, folder
        self._control_address: ControlAddress | None = None
        self._exit_stack = AsyncExitStack()
        self._load_client: LoadClient | None = None
        self._monitors: dict[str, ProcessMonitor] = {}
        self._tick_builder: TickBuilder | None = None
        self._commentator = Commentator((), broadcast)
        self._card_maker = CardMaker((), broadcast.add_card)
        self._starting = asyncio.Lock()
        self._reported_exits = 0

    @property
    def is_up(self) -> bool:
        return self._load_client is not None and not self._starting.locked()

    @property
    def stack_folder(self) -> Path:
        """The folder with the spans of the running stacks."""
        return self._stack_folder

    def first_post(self, pane: str) -> str:
        """The id of a post that this pane has had from its start."""
        return self._seeds[pane][0]

    def process_states(self, pane: str) -> Mapping[str, Mapping[str, Any]]:
        """The newest known state of each process of a pane, by the process."""
        return {name: node.state for name, node in self._monitors[pane].states.items()}

    def missing_write(self, pane: str) -> dict[str, Any] | None:
        """The oldest write of the load that readers of this pane will never see, if there is one:
        see `lab/load/live_stats.py`."""
        return self._tick_builder.missing_write(pane) if self._tick_builder else None

    def require_up(self) -> None:
        """Raise Conflict while the stacks are starting."""
        if not self.is_up:
            raise Conflict("Both halves are just starting. Try again in a second.")

    def end_when_done(self, task: asyncio.Task[None]) -> None:
        """End the session when this task has ended, with the task's error if it failed."""
        if self.ended.done() or task.cancelled():
            return
        if error := task.exception():
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def announce_panes(self, panes: Sequence[Pane]) -> None:
        """Describe the panes before they start, for screens that connect early."""
        self.panes = panes
        self.broadcast.fixed_state = self._describe_fixed_state()

    async def start_panes(self, panes: Sequence[Pane], log_text: str = "") -> None:
        """Start these panes with empty blogs; the running stacks and their data are discarded.

        Raises Conflict while another start is in progress, LabCannotRun."""
        if self._starting.locked():
            raise Conflict("Both halves are just starting. Try again in a second.")
        async with self._starting, self.fault_controller.closed():
            began_s = perf_counter()
            await self._end_all()
            self.panes = panes
            self.on_restart()
            self.broadcast.reset(self._describe_fixed_state())
            folder = self._folder / f"start-{self.broadcast.epoch}"
            folder.mkdir(mode=0o700)
            await self._start(panes, folder)
        if log_text:
            self.broadcast.log_action(f"{log_text} ({perf_counter() - began_s:.1f} s)", "reset")

    def set_load(self, rate: float | None, mix: Mapping[Any, float] | None) -> dict[str, Any]:
        """Change the load from now on; returns the new load. `rate`: requests per second for each
        pane; `mix`: weights by operation; None keeps the current value."""
        self.rate = self.rate if rate is None else rate
        self.mix = self.mix if mix is None else dict(mix)
        if self._load_client is not None:
            self._load_client.change(rate=self.rate, mix=self.mix)
        load = {"rate": self.rate, "mix": self.mix}
        self.broadcast.set_state("load", load)
        parts = ", ".join(f"{name} {weight:g}" for name, weight in self.mix.items() if weight)
        self.broadcast.log_action(f"{self.rate:g} requests a second for each half: {parts}", "load")
        return load

    def _describe_fixed_state(self) -> dict[str, Any]:
        self.broadcast.current_state["load"] = {"rate": self.rate, "mix": self.mix}
        return {
            "halves": [pane.to_json() for pane in self.panes],
            "arrangements": list(ARRANGEMENTS),
            "engines": list(ENGINES),
        }

    async def _start(self, panes: Sequence[Pane], folder: Path) -> None:
        exit_stack = self._exit_stack = AsyncExitStack()
        stacks = [
            exit_stack.enter_context(
                Stack(
                    pane.name,
                    ARRANGEMENTS[pane.arrangement],
                    self._supervisor,
                    folder,
                    options=pane.options,
                )
            )
            for pane in panes
        ]
        self.stacks = {stack.name: stack for stack in stacks}
        await self._supervisor.start(*(program for stack in stacks for program in stack.programs))
        seeds = await asyncio.gather(*(seed_posts(stack, SETTLE_WITHIN_S) for stack in stacks))
        self.fault_controller.set_stacks(stacks)
        self._monitors = {stack.name: ProcessMonitor(stack) for stack in stacks}
        self._tick_builder = TickBuilder(
            stacks, self._monitors, {stack.name: HopReader(stack, folder) for stack in stacks}
        )
        exit_stack.callback(self._tick_builder.close)
        self._commentator = Commentator(panes, self.broadcast)
        self._card_maker = CardMaker(list(self.stacks), self.broadcast.add_card)
        for nodes in self._monitors.values():
            exit_stack.push_async_callback(cancel_and_wait, asyncio.create_task(nodes.run()))
        if self._control_address is not None:
            urls = {stack.name: stack.urls for stack in stacks}
            control_address = self._control_address
            instance = RunningLab(0, 0.0, control_address.url, control_address.token, urls, folder)
            exit_stack.enter_context(registered_instance(instance))
        self._seeds = dict(zip(self.stacks, seeds, strict=True))
        self._plan = {
            "seed": SEED,
            "timeout_s": self.timeout_s,
            "variants": [
                {
                    "name": stack.name,
                    "urls": dict(stack.entry_urls),
                    "seed_posts": posts,
                }
                for stack, posts in zip(stacks, seeds, strict=True)
            ],
        }
        self._stack_folder = folder
        await self._start_load()

    async def _start_load(self) -> None:
        client = LoadClient(self._supervisor, self._on_report)
        self._load_client = client
        await client.start({**self._plan, "rate": self.rate, "mix": self.mix}, self._stack_folder)

    def _on_report(self, report: Report) -> None:
        if self._tick_builder is None:
            return
        tick = self._tick_builder.build(report, self.broadcast.started_s)
        self._card_maker.add_tick(tick)
        self.broadcast.publish_tick(tick)
        self._commentator.add_tick(tick)

    async def _end_all(self) -> None:
        """Kill all processes of this start, and delete the folder with their data and logs."""
        client, self._load_client, self._tick_builder = self._load_client, None, None
        if client is not None:
            await client.stop()
        programs = [program.name for stack in self.stacks.values() for program in stack.programs]
        alive = [name for name in programs if self._supervisor.alive(name)]
        for result in await asyncio.gather(
            *(self._supervisor.kill(name) for name in alive), return_exceptions=True
        ):
            if isinstance(result, Exception) and not isinstance(result, LabCannotRun):
                raise result
        await self._exit_stack.aclose()
        self.stacks = {}
        self.fault_controller.set_stacks([])
        folder = self._folder / f"start-{self.broadcast.epoch}"
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _on_fault_actions(self, actions: Sequence[FaultAction]) -> None:
        for deed in actions:
            self.broadcast.log_action(describe_action(deed), log_kind(deed), deed.stack)
        for nodes in self._monitors.values():
            nodes.poll_now()
        faults = self.list_faults()
        self.broadcast.set_state("faults", faults)
        healed_t = self.fault_controller.heal_began_s - self.broadcast.started_s
        self._card_maker.set_faults(faults, round(healed_t, 3))

    def list_faults(self) -> list[dict[str, Any]]:
        """The active faults, as a screen gets them. `since_t`: seconds since this start."""
        faults = []
        for active in self.fault_controller.active_faults():
            fault = asdict(active)
            fault["since_t"] = round(fault.pop("since_s") - self.broadcast.started_s, 3)
            faults.append(fault)
        return faults

    async def watch(self) -> None:
        """Report processes that exit unexpectedly, and restart the load if it exited."""
        while True:
            for exited in self._supervisor.unexpected_exits()[self._reported_exits :]:
                self._reported_exits += 1
                pane, _, process = exited.name.rpartition(".")
                exit_note = f"{process} {describe_exit(exited.status)}, without being stopped."
                self.broadcast.log_action(
                    f"{exit_note} Heal {process} starts it again.", "exit", pane or None
                )
            if self.is_up and self._load_client is not None and not self._load_client.alive:
                async with self._starting:
                    self.broadcast.log_action("The load had ended, and is started again.", "exit")
                    await self._load_client.stop()
                    await self._start_load()
            await asyncio.sleep(POLL_INTERVAL_S)


@asynccontextmanager
async def session(
    folder: Path, broadcast: Broadcast, panes: Sequence[Pane]
) -> AsyncIterator[Session]:
    """A session that is ready to begin with these panes; the end of the context ends all processes
    and deletes their data. Raises LabCannotRun."""
    modules = preload(pane.options for pane in panes)
    supervisor = Supervisor((*modules, "lab.load.continuous"), folder)
    supervisor.launch()
    async with supervisor:
        live_session = Session(supervisor, folder, broadcast)
        async with control_server(live_session.fault_controller) as control:
            live_session._control_address = control
            watching = asyncio.create_task(live_session.watch())
            watching.add_done_callback(live_session.end_when_done)
            try:
                yield live_session
            finally:
                await cancel_and_wait(watching)
                await live_session._end_all()


async def cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
