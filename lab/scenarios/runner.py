"""Runs a scenario: starts the stacks, loads them, breaks them on time, tells what happened.

All variants run in the same stretch of wall-clock time, under the same schedule, broken at the same
moments, so that what differs in the result is the arrangement. A run that could not be honest (a
fault that did not act, a generator that fell behind, a patient who was ill before) says so and is
not valid; it is never quietly a result.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.cluster.injector import Injection
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, preload
from lab.load.samples import read_samples
from lab.scenarios.checker import CannotCheck, Holdings, check, read_holdings
from lab.scenarios.environment import environment
from lab.scenarios.evaluate import evaluated, health_of_the_run, variant_result
from lab.scenarios.result import Load, Result
from lab.scenarios.scenario import Scenario
from lab.scenarios.timeline import Phase

WARM_UP = Phase("warm_up", 0.5)
SEED_POSTS = 10
SETTLE_WITHIN_S = 10.0
HEADROOM_S = 0.12
GENERATOR = "load"

Progress = Callable[[Mapping[str, Any]], None]


@dataclass
class Run:
    """One run of one scenario, in a folder of its own."""

    scenario: Scenario
    folder: Path
    seed: int = 7
    quick: bool = False
    progress: Progress = field(default=lambda line: None)

    async def __call__(self) -> Result:
        """The whole run. Raises LabCannotRun when there is nothing to show at all."""
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        machine = environment()
        self.progress({"phase": "starting"})
        engines = [spec.options for spec in self.scenario.variants.values()]
        async with Supervisor(preload(engines), self.folder) as supervisor:
            with ExitStack() as held:
                stacks = [held.enter_context(stack) for stack in self._stacks(supervisor)]
                await supervisor.start(*(one for stack in stacks for one in stack.programs))
                seeds = await asyncio.gather(*(_seed_posts(stack) for stack in stacks))
                injections = await self._under_load(supervisor, stacks, seeds)
                self.progress({"phase": "checking"})
                await asyncio.gather(*(stack.settle(SETTLE_WITHIN_S) for stack in stacks))
                held_by = await asyncio.gather(*(_holdings(stack) for stack in stacks))
                deaths = supervisor.unexpected_exits()
            self.progress({"phase": "stopping"})
        samples = read_samples(self.folder / "samples.csv")
        summary = json.loads((self.folder / "load.json").read_text())
        variants = []
        for stack, holdings in zip(stacks, held_by, strict=True):
            own = [sample for sample in samples if sample.variant == stack.name]
            variants.append(
                variant_result(
                    self.scenario,
                    stack.name,
                    own,
                    check(own, holdings) if isinstance(holdings, Holdings) else None,
                    [one for one in injections if one.stack is stack],
                    warm_up_s=WARM_UP.seconds,
                    deaths=deaths,
                )
            )
        result = Result(
            scenario=self.scenario.name,
            title=self.scenario.title,
            question=self.scenario.question,
            explain=self.scenario.explain,
            seed=self.seed,
            quick=self.quick,
            started=started,
            environment=machine,
            load=Load.model_validate({k: v for k, v in summary.items() if k in Load.model_fields}),
            variants=variants,
        )
        result.problems = [
            *(str(why) for why in held_by if isinstance(why, CannotCheck)),
            *health_of_the_run(self.scenario, result, deaths),
        ]
        result.valid = not result.problems
        result.expectations = evaluated(self.scenario, result)
        result.save(self.folder / "result.json")
        return result

    def _stacks(self, supervisor: Supervisor) -> list[Stack]:
        return [
            Stack(
                name,
                ARRANGEMENTS[spec.arrangement],
                supervisor,
                self.folder,
                options=spec.options,
            )
            for name, spec in self.scenario.variants.items()
        ]

    async def _under_load(
        self, supervisor: Supervisor, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]]
    ) -> list[Injection]:
        """Start the generator, break and mend on time, and wait until it has finished."""
        start_at = time.perf_counter() + HEADROOM_S
        plan = self._plan(stacks, seeds, start_at)
        path = self.folder / "plan.json"
        path.write_text(json.dumps(plan, indent=2))
        await supervisor.start(
            Program(GENERATOR, "lab.load.generator", (str(path),), self.folder / "load.log")
        )
        windows = [asyncio.create_task(one) for one in self._break_and_mend(stacks, start_at)]
        following = asyncio.create_task(self._follow_progress())
        try:
            injections = list(await asyncio.gather(*windows))
            status = await supervisor.wait(GENERATOR)
        finally:
            following.cancel()
            for window in windows:
                window.cancel()
            await asyncio.gather(*windows, following, return_exceptions=True)
        if status != 0:
            raise LabCannotRun(
                f"The load generator ended with exit status {status}; "
                f"{self.folder / 'load.log'} has its last words."
            )
        return injections

    def _plan(
        self, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]], start_at: float
    ) -> dict[str, Any]:
        load = self.scenario.load
        return {
            "seed": self.seed,
            "rate": load.rate,
            "mix": load.mix,
            "timeout_s": load.timeout_ms / 1_000,
            "at_once": list(load.at_once),
            "settle_s": SETTLE_WITHIN_S,
            "start_at": start_at,
            "phases": [
                {"name": phase.name, "seconds": phase.seconds}
                for phase in (WARM_UP, *self.scenario.timeline())
            ],
            "variants": [
                {
                    "name": stack.name,
                    "urls": {name: stack.urls[name] for name in ("posts", "comments", "query")},
                    "seed_posts": list(posts),
                }
                for stack, posts in zip(stacks, seeds, strict=True)
            ],
            "samples": str(self.folder / "samples.csv"),
            "progress": str(self.folder / "progress.ndjson"),
            "summary": str(self.folder / "load.json"),
        }

    def _break_and_mend(self, stacks: Sequence[Stack], start_at: float) -> list[Any]:
        begins_s = start_at + WARM_UP.seconds
        tasks = []
        for phase in self.scenario.timeline():
            for number, window in enumerate(phase.faults):
                for stack in stacks:
                    if stack.name in window.variants:
                        name = f"{phase.name.replace(' ', '-')}-{number}"
                        injection = Injection(stack, window.fault, name)
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


async def _holdings(stack: Stack) -> Holdings | CannotCheck:
    """What it holds, or why that can't be known: then the run isn't valid, but has a result."""
    try:
        return await read_holdings(stack)
    except CannotCheck as error:
        return error


async def _seed_posts(stack: Stack) -> list[str]:
    """The posts that are there before anybody comes; returns once every service knows them."""
    ids = []
    for number in range(SEED_POSTS):
        answer = await stack.call(
            "POST", stack.urls["posts"], "/posts", {"title": f"The first post, number {number + 1}"}
        )
        if answer.status != 201:
            raise LabCannotRun(
                f"{stack.name}: the first post could not be written "
                f"({answer.error or answer.data}). Is something wrong with its service's log?"
            )
        ids.append(answer.data["id"])
    if not await stack.settle(SETTLE_WITHIN_S):
        raise LabCannotRun(f"{stack.name} did not settle before the run began.")
    return ids
