"""Puts running stacks under load, breaks and mends them on time, and looks at them meanwhile."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.cluster.injector import Injection
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.scenarios.databases import Seen, look, middle_s
from lab.scenarios.hearing import Newcomer
from lab.scenarios.lag import LagSampler
from lab.scenarios.load_plan import load_plan
from lab.scenarios.newcomers import bring_in_newcomers
from lab.scenarios.scenario import Scenario
from lab.scenarios.timeline import WARM_UP

HEADROOM_S = 0.12
GENERATOR = "load"

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Happened:
    """What was done under load, and what was seen of it; newcomers by variant."""

    injections: list[Injection]
    seen: list[Seen]
    newcomers: dict[str, list[Newcomer]]
    lag: LagSampler


@dataclass(frozen=True)
class UnderLoad:
    """All stacks of a scenario under one load. `folder` takes the load's files."""

    scenario: Scenario
    folder: Path
    seed: int
    progress: Progress

    async def __call__(
        self, supervisor: Supervisor, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]]
    ) -> Happened:
        """Start the generator, break, mend and look on time, and wait until it has finished."""
        start_at = time.perf_counter() + HEADROOM_S
        plan = load_plan(self.scenario, self.seed, self.folder, stacks, seeds, start_at)
        path = self.folder / "plan.json"
        path.write_text(json.dumps(plan, indent=2))
        await supervisor.start(
            Program(
                GENERATOR,
                "lab.load.generator",
                (str(path),),
                self.folder / "load.log",
                measures=True,
            )
        )
        windows = [asyncio.create_task(one) for one in self._break_and_mend(stacks, start_at)]
        middle = start_at + WARM_UP.seconds + middle_s(self.scenario.timeline())
        looking = asyncio.create_task(look(stacks, self.scenario.reach_in, middle))
        coming = asyncio.create_task(bring_in_newcomers(self.scenario, stacks, start_at))
        lag = LagSampler(stacks, start_at)
        following = asyncio.gather(self._follow_progress(), lag.run())
        try:
            injections = list(await asyncio.gather(*windows))
            status = await supervisor.wait(GENERATOR)
            seen, newcomers = await looking, await coming
        finally:
            beside = (*windows, looking, coming, following)
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        if status != 0:
            raise LabCannotRun(
                f"The load generator ended with exit status {status}; "
                f"{self.folder / 'load.log'} has its last words."
            )
        return Happened(injections, seen, newcomers, lag)

    def _break_and_mend(self, stacks: Sequence[Stack], start_at: float) -> list[Any]:
        begins_s = start_at + WARM_UP.seconds
        tasks = []
        for phase in self.scenario.timeline():
            for number, window in enumerate(phase.faults):
                for stack in stacks:
                    if stack.name in window.variants:
                        name = f"{phase.name.replace(' ', '-')}-{number}"
                        injection = Injection(stack, window.fault, name, group=window.group)
                        at_s = begins_s + window.at_s
                        tasks.append(self._one_window(injection, at_s, at_s + window.seconds))
            begins_s += phase.seconds
        return tasks

    async def _one_window(self, injection: Injection, from_s: float, until_s: float) -> Injection:
        await asyncio.sleep(from_s - time.perf_counter())
        await injection.begin(self.seed)
        try:
            await asyncio.sleep(until_s - time.perf_counter())
        finally:
            # Also when the run is broken off: what was put on is taken back, and before anything
            # else is ended, or the one would start what the other stops.
            ending = asyncio.create_task(injection.end())
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await asyncio.gather(ending, return_exceptions=True)
                raise
        return injection

    async def _follow_progress(self) -> None:
        path = self.folder / "progress.ndjson"
        position = 0
        while True:
            await asyncio.sleep(0.2)
            if not path.exists():
                continue
            with path.open("rb") as lines:
                lines.seek(position)
                written = lines.read()
            # Only what is written to its end: the last line may be half there.
            whole = written[: written.rfind(b"\n") + 1]
            position += len(whole)
            if whole:
                self.progress(json.loads(whole.splitlines()[-1]))
