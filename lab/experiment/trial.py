"""One trial: starts stacks, applies load and faults, lets them settle, and reads them back.

A trial runs one or more variants at the same time. The load generator is a separate process; it
reads `plan.json`, in the format of `lab.load.plan`. Meanwhile the trial injects and removes the
faults at their times and observes the stacks.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.errors import LabCannotRun
from lab.cluster.fixtures import seed_posts
from lab.cluster.injector import Injection
from lab.cluster.program import Exit, Program
from lab.cluster.stack import Stack, start_all
from lab.cluster.supervisor import Supervisor
from lab.experiment.checker import check
from lab.experiment.evaluate import count_with_the_fault, variant_result
from lab.experiment.lag import LagSampler, Reading, write_lag
from lab.experiment.observers import (
    Seen,
    bring_in_newcomers,
    compare,
    look,
    look_again,
    middle_s,
    read_halted,
    tell_histories,
)
from lab.experiment.readback import CannotCheck, Holdings, read_feed, read_holdings
from lab.external.programs import PRELOAD as FOREIGN_PRELOAD
from lab.external.sidecar_cost import sidecar_cost
from lab.external.stack import ForeignStack, ReplacedStack
from lab.load.samples import Sample, read_samples, write_samples
from lab.results.dependencies import read_asks, read_needs
from lab.results.result import WARM_UP, Load, Newcomer, SidecarCost, Variant
from lab.scenarios.external import ForeignVariant, ReplacingVariant
from lab.scenarios.late_joiners import rate_of
from lab.scenarios.scenario import Scenario

# ── Load plan

SETTLE_WITHIN_S = 10.0
"""Time limit for the events of the seed posts to be consumed, before the load begins."""


def load_plan(
    scenario: Scenario,
    seed: int,
    folder: Path,
    stacks: Sequence[Stack],
    seed_posts: Sequence[Sequence[str]],
    start_at: float,
) -> dict[str, Any]:
    """The content of `plan.json`. `seed_posts`: the ids of the posts that exist already, by stack.
    `start_at`: the value of `perf_counter` at which the warm-up begins."""
    load = scenario.load
    return {
        "seed": seed,
        "rate": load.rate,
        "mix": load.mix,
        "timeout_s": load.timeout_ms / 1_000,
        "at_once": list(load.at_once),
        "retries": load.retries,
        "reader_delay_s": load.reader_delay_s,
        "orange": load.orange,
        "settle_s": load.settle_s,
        "start_at": start_at,
        "phases": [
            {"name": phase.name, "seconds": phase.seconds, **rate_of(phase.name, load)}
            for phase in (WARM_UP, *scenario.timeline())
        ],
        "variants": [
            {
                "name": stack.name,
                "urls": dict(stack.asked_at),
                "seed_posts": list(posts),
                "ordered_ids": stack.ids_are_ordered,
                "users": scenario.variants[stack.name].in_the_loop,
            }
            for stack, posts in zip(stacks, seed_posts, strict=True)
        ],
        "samples": str(folder / "samples.csv"),
        "progress": str(folder / "progress.ndjson"),
        "summary": str(folder / "load.json"),
    }


# ── Load, faults and observations

HEADROOM_S = 0.12
GENERATOR = "load"

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Happened:
    """The faults and the observations under load; newcomers by variant."""

    injections: list[Injection]
    seen: list[Seen]
    newcomers: dict[str, list[Newcomer]]
    lag: LagSampler


@dataclass(frozen=True)
class UnderLoad:
    """The load on all stacks of a scenario. `folder`: for the files of the load generator."""

    scenario: Scenario
    folder: Path
    seed: int
    progress: Progress

    async def __call__(
        self, supervisor: Supervisor, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]]
    ) -> Happened:
        """Start the generator, inject and remove the faults, observe the stacks, and wait for the
        generator to finish. Raises LabCannotRun if it fails."""
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
            # Also when the run is cancelled: the fault is removed before any process is stopped.
            # Otherwise the removal (of `down`, say) would start a process that was just stopped.
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
            # Complete lines only: the generator may not have finished writing the last one.
            whole = written[: written.rfind(b"\n") + 1]
            position += len(whole)
            if whole:
                self.progress(json.loads(whole.splitlines()[-1]))


# ── Trial


@dataclass(frozen=True)
class Stretch:
    """The measurements of one trial. `problems`: why a variant's stored data could not be read."""

    variants: list[Variant]
    samples: list[Sample]
    load: Load
    readings: list[Reading]
    deaths: tuple[Exit, ...]
    problems: list[str]


async def go_through(scenario: Scenario, folder: Path, seed: int, progress: Progress) -> Stretch:
    """Run all variants of the scenario side by side. `folder` must exist. Raises LabCannotRun."""
    progress({"phase": "starting"})
    async with Supervisor(_preload(scenario), folder) as supervisor:
        with ExitStack() as held:
            stacks = [held.enter_context(stack) for stack in _stacks(scenario, supervisor, folder)]
            await start_all(stacks)
            await tell_histories(scenario, stacks)
            seeds = await asyncio.gather(*(seed_posts(stack, SETTLE_WITHIN_S) for stack in stacks))
            costs = {stack.name: await _cost(stack) for stack in stacks}
            happened = await UnderLoad(scenario, folder, seed, progress)(supervisor, stacks, seeds)
            progress({"phase": "checking"})
            await asyncio.gather(*(stack.settle(scenario.load.settle_s) for stack in stacks))
            held_by = await asyncio.gather(*(_holdings(stack) for stack in stacks))
            for stack in stacks:
                await compare(stack, happened.newcomers[stack.name])
            asks = {stack.name: await read_asks(stack) for stack in stacks}
            halted = {stack.name: await read_halted(stack) for stack in stacks}
            alarms = {stack.name: await stack.alarms() for stack in stacks}
            deaths = supervisor.unexpected_exits()
            await look_again(happened.seen, scenario.reach_in)
        progress({"phase": "stopping"})
    write_lag(folder / "lag.csv", happened.lag.readings)
    samples = read_samples(folder / "samples.csv")
    if count_with_the_fault(samples, scenario.timeline()):
        write_samples(folder / "samples.csv", samples)  # the file must give the same figures
    summary = json.loads((folder / "load.json").read_text())
    variants = []
    for stack, holdings, of in zip(stacks, held_by, happened.seen, strict=True):
        own = [sample for sample in samples if sample.variant == stack.name]
        variants.append(
            variant_result(
                scenario,
                stack.name,
                own,
                check(own, holdings) if isinstance(holdings, Holdings) else None,
                [one for one in happened.injections if one.stack is stack],
                warm_up_s=WARM_UP.seconds,
                deaths=deaths,
                alarms=alarms[stack.name],
                seen=of.keys(stack.data)
                | asks[stack.name]
                | halted[stack.name]
                | read_needs(folder, stack.name)
                | {
                    "lag": happened.lag.figures(scenario, stack.name),
                    "newcomers": happened.newcomers[stack.name],
                    "sidecar": costs[stack.name],
                },
            )
        )
    return Stretch(
        variants,
        samples,
        Load.model_validate({k: v for k, v in summary.items() if k in Load.model_fields}),
        happened.lag.readings,
        deaths,
        [str(why) for why in held_by if isinstance(why, CannotCheck)],
    )


def _preload(scenario: Scenario) -> tuple[str, ...]:
    foreign = not all(spec.ours for spec in scenario.variants.values())
    options = [spec.options for spec in scenario.variants.values()]
    return (*preload(options), *(FOREIGN_PRELOAD if foreign else ()))


def _stacks(scenario: Scenario, supervisor: Supervisor, folder: Path) -> Iterator[Stack]:
    for name, spec in scenario.variants.items():
        if isinstance(spec, ForeignVariant):
            yield ForeignStack(name, spec.target, supervisor, folder, bus=spec.its_bus)
        elif isinstance(spec, ReplacingVariant):
            yield ReplacedStack(
                *(name, spec.part, spec.target, supervisor, folder), options=spec.options
            )
        else:
            of = ARRANGEMENTS[spec.arrangement]
            yield Stack(name, of, supervisor, folder, options=spec.options)


async def _cost(stack: Stack) -> SidecarCost | None:
    if not isinstance(stack, ForeignStack):
        return None
    cost = await sidecar_cost(stack)
    return SidecarCost.model_validate(asdict(cost)) if cost else None


async def _holdings(stack: Stack) -> Holdings | CannotCheck:
    """What the stack stores, or the error: then the run is not valid, but still has a result."""
    try:
        if stack.arrangement.strangers or stack.arrangement.replaced:
            return await read_feed(stack)
        return await read_holdings(stack)
    except CannotCheck as error:
        return error
