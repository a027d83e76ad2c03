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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.attached import AttachedStack
from lab.cluster.errors import FaultsRemain, LabCannotRun
from lab.cluster.fixtures import seed_posts
from lab.cluster.injector import Injection
from lab.cluster.program import Exit, Program
from lab.cluster.stack import Stack, start_all
from lab.cluster.supervisor import Supervisor
from lab.experiment.checker import check
from lab.experiment.evaluate import merge_evidence, variant_result
from lab.experiment.lag import LagReading, LagSampler, write_lag
from lab.experiment.lateness import bounded_samples
from lab.experiment.observers import (
    Observation,
    add_newcomers,
    compare_replicas,
    observe,
    observe_after,
    publish_histories,
    read_stuck_consumers,
)
from lab.experiment.readback import CannotCheck, StoredState, read_external_state, read_stored_state
from lab.experiment.request_phases import reassign_requests
from lab.experiment.steady_state import unsteady_figures
from lab.experiment.uncertainty import variant_bounds
from lab.external import programs as external_programs
from lab.external.sidecar_cost import measure_sidecar_overhead
from lab.external.stack import ExternalStack, MixedStack
from lab.load.plan import READY_SUFFIX
from lab.load.samples import Sample, read_samples, write_samples
from lab.results.dependencies import read_call_counts, read_dependencies
from lab.results.result import (
    FaultEvidence,
    LoadSummary,
    Newcomer,
    VariantResult,
)
from lab.results.timeline import WARM_UP_PHASE
from lab.scenarios.attached import AttachedVariant
from lab.scenarios.external import ExternalVariant, MixedVariant
from lab.scenarios.scenario import Scenario
from lab.support.files import write_private

# ── Load plan

SETTLE_WITHIN_S = 10.0
"""Time limit for the events of the seed posts to be consumed, before the load begins."""


def build_load_plan(
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
            {"name": phase.name, "seconds": phase.seconds, "rate": phase.rate}
            for phase in (WARM_UP_PHASE, *scenario.timeline().phases)
        ],
        # A blog elsewhere may be slow to answer, and this machine has none of its sockets.
        **({"max_in_flight": ATTACHED_IN_FLIGHT} if any(one.attached for one in stacks) else {}),
        "variants": [
            {
                "name": stack.name,
                "urls": dict(stack.load_urls),
                "seed_posts": list(posts),
                "ordered_ids": stack.ids_are_ordered,
                "token_group": stack.token_group,
                "users": scenario.variants[stack.name].closed_loop_users,
            }
            for stack, posts in zip(stacks, seed_posts, strict=True)
        ],
        "samples": str(folder / "samples.csv"),
        "progress": str(folder / "progress.ndjson"),
        "summary": str(folder / "load.json"),
    }


# ── Load, faults and observations

START_DELAY_S = 0.12
REMOTE_START_DELAY_S = 1.0
REMOTE_READY_WITHIN_S = 60.0
ATTACHED_IN_FLIGHT = 4_000
"""The most requests of a variant without an answer, where the blog runs elsewhere."""
GENERATOR = "load"
_POLL_EVERY_S = 0.01

ProgressCallback = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class LoadOutcome:
    """The faults and the observations under load; newcomers by variant."""

    injections: list[Injection]
    observations: list[Observation]
    newcomers: dict[str, list[Newcomer]]
    lag_sampler: LagSampler
    start_at: float

    def faults(self, stack: Stack, in_sequence: bool) -> list[FaultEvidence]:
        """The evidence of the faults of one stack."""
        own = [one for one in self.injections if one.stack is stack]
        return merge_evidence(own, in_sequence, self.start_at)


@dataclass(frozen=True)
class LoadPhase:
    """The load on all stacks of a scenario. `folder`: for the files of the load generator."""

    scenario: Scenario
    folder: Path
    seed: int
    progress: ProgressCallback

    async def __call__(
        self, supervisor: Supervisor, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]]
    ) -> LoadOutcome:
        """Start the generator, inject and remove the faults, observe the stacks, and wait for the
        generator to finish. Raises LabCannotRun if it fails."""
        start_at = await self._start_generator(supervisor, stacks, seeds)
        injecting = [asyncio.create_task(work) for work in self._injection_tasks(stacks, start_at)]
        main_phase = self.scenario.timeline().main_phase
        middle = start_at + main_phase.from_s + main_phase.seconds / 2
        observing = asyncio.create_task(observe(stacks, self.scenario.reach_in, middle))
        joining = asyncio.create_task(add_newcomers(self.scenario, stacks, start_at))
        lag_sampler = LagSampler(stacks, start_at)
        sampling = asyncio.gather(self._follow_progress(), lag_sampler.run())
        try:
            injections = list(await asyncio.gather(*injecting))
            status = await supervisor.wait(GENERATOR)
            observations, newcomers = await observing, await joining
        finally:
            background = (*injecting, observing, joining, sampling)
            for task in background:
                task.cancel()
            ended = await asyncio.gather(*background, return_exceptions=True)
            if any(stack.attached for stack in stacks):
                _raise_if_stopped_with_faults(ended[: len(injecting)])
        if status != 0:
            raise self._load_failed(status)
        return LoadOutcome(injections, observations, newcomers, lag_sampler, start_at)

    async def _start_generator(
        self, supervisor: Supervisor, stacks: Sequence[Stack], seeds: Sequence[Sequence[str]]
    ) -> float:
        """Start the generator, here or where the file of an attached blog says; returns when the
        warm-up begins, a value of `perf_counter`. Raises LabCannotRun."""
        path = self.folder / "plan.json"
        commands = [one.load_command for one in stacks if isinstance(one, AttachedStack)]
        command = next(filter(None, commands), ())
        generator = Program(
            GENERATOR,
            "lab.load.remote" if command else "lab.load.generator",
            (str(path), *command),
            self.folder / "load.log",
            high_priority=True,
        )
        if command:
            await supervisor.start(generator)
            await self._until_other_machine_is_ready(supervisor, path.with_suffix(READY_SUFFIX))
        start_at = time.perf_counter() + (REMOTE_START_DELAY_S if command else START_DELAY_S)
        plan = build_load_plan(self.scenario, self.seed, self.folder, stacks, seeds, start_at)
        write_private(path, json.dumps(plan, indent=2))
        if not command:
            await supervisor.start(generator)
        return start_at

    async def _until_other_machine_is_ready(self, supervisor: Supervisor, ready: Path) -> None:
        give_up_at_s = time.perf_counter() + REMOTE_READY_WITHIN_S
        while not ready.exists():
            if not supervisor.alive(GENERATOR):
                raise self._load_failed(await supervisor.wait(GENERATOR))
            if time.perf_counter() > give_up_at_s:
                raise LabCannotRun(
                    f"The load's command has not started it within {REMOTE_READY_WITHIN_S:g} s. "
                    "It must start `python -m lab.load.remote`, and pass on stdin and stdout."
                )
            await asyncio.sleep(_POLL_EVERY_S)

    def _load_failed(self, status: int) -> LabCannotRun:
        log = self.folder / "load.log"
        last = (
            "\n".join(log.read_text("utf-8", "replace").splitlines()[-3:]) if log.exists() else ""
        )
        return LabCannotRun(
            f"The load generator exited with status {status}. The end of {log} says why:\n{last}"
        )

    def _injection_tasks(self, stacks: Sequence[Stack], start_at: float) -> list[Any]:
        tasks = []
        for phase in self.scenario.timeline().phases:
            for number, window in enumerate(phase.faults):
                for stack in stacks:
                    if stack.name in window.variants:
                        name = f"{phase.name.replace(' ', '-')}-{number}"
                        injection = Injection(
                            stack,
                            window.fault,
                            name,
                            group=window.group,
                            window=(window.from_s, window.until_s),
                        )
                        from_s, until_s = start_at + window.from_s, start_at + window.until_s
                        tasks.append(self._inject(injection, from_s, until_s))
        return tasks

    async def _inject(self, injection: Injection, from_s: float, until_s: float) -> Injection:
        await asyncio.sleep(from_s - time.perf_counter())
        beginning = asyncio.create_task(injection.begin(self.seed))
        try:
            await asyncio.shield(beginning)
            await asyncio.sleep(until_s - time.perf_counter())
        finally:
            # Also when the run is cancelled: the fault is removed before any process is stopped.
            # Otherwise the removal (of `down`, say) would start a process that was just stopped,
            # and a blog that runs on would keep a fault that was just beginning.
            ending = asyncio.create_task(_end_what_began(injection, beginning))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                (failure,) = await asyncio.gather(ending, return_exceptions=True)
                if failure is not None:
                    raise failure from None
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
                text = lines.read()
            # Complete lines only: the generator may not have finished writing the last one.
            complete = text[: text.rfind(b"\n") + 1]
            position += len(complete)
            if complete:
                self.progress(json.loads(complete.splitlines()[-1]))


async def _end_what_began(injection: Injection, beginning: asyncio.Task[None]) -> None:
    await asyncio.wait([beginning])
    if not beginning.cancelled() and beginning.exception() is None:
        await injection.end()


def _raise_if_stopped_with_faults(ended: Sequence[object]) -> None:
    """Raise FaultsRemain if this task is being cancelled, and the removal of a fault has failed."""
    task = asyncio.current_task()
    failures = [one for one in ended if isinstance(one, Exception)]
    if failures and task is not None and task.cancelling():
        raise FaultsRemain(
            f"The attached blog runs on, and may still have a fault, which could not be removed: "
            f"{failures[0]}"
        ) from failures[0]


# ── Trial


@dataclass(frozen=True)
class TrialResult:
    """The measurements of one trial. `problems`: why a variant's stored data could not be read."""

    variants: list[VariantResult]
    samples: list[Sample]
    load: LoadSummary
    readings: list[LagReading]
    unexpected_exits: tuple[Exit, ...]
    problems: list[str]


async def run_trial(
    scenario: Scenario, folder: Path, seed: int, progress: ProgressCallback
) -> TrialResult:
    """Run all variants of the scenario side by side. `folder` must exist. Raises LabCannotRun."""
    progress({"phase": "starting"})
    async with Supervisor(_preload(scenario), folder) as supervisor:
        with ExitStack() as exit_stack:
            stacks = [
                exit_stack.enter_context(stack)
                for stack in _build_stacks(scenario, supervisor, folder)
            ]
            await start_all(stacks)
            await publish_histories(scenario, stacks)
            seeds = await asyncio.gather(*(seed_posts(stack, SETTLE_WITHIN_S) for stack in stacks))
            costs = {
                stack.name: await measure_sidecar_overhead(stack)
                for stack in stacks
                if isinstance(stack, ExternalStack)
            }
            outcome = await LoadPhase(scenario, folder, seed, progress)(supervisor, stacks, seeds)
            progress({"phase": "checking"})
            moving = await asyncio.gather(
                *(_is_still_moving(stack, scenario.load.settle_s) for stack in stacks)
            )
            stored_states = await asyncio.gather(*(_read_state(stack) for stack in stacks))
            for stack in stacks:
                await compare_replicas(stack, outcome.newcomers[stack.name])
            call_counts = {stack.name: await read_call_counts(stack) for stack in stacks}
            stuck_consumers = {stack.name: await read_stuck_consumers(stack) for stack in stacks}
            alarms = {stack.name: await stack.alerts() for stack in stacks}
            exits = supervisor.unexpected_exits()
            restarts = [
                sentence
                for stack in stacks
                if isinstance(stack, AttachedStack)
                for sentence in await stack.unexpected_restarts()
            ]
            await observe_after(outcome.observations, scenario.reach_in)
        progress({"phase": "stopping"})
    write_lag(folder / "lag.csv", outcome.lag_sampler.readings)
    samples = read_samples(folder / "samples.csv")
    timeline = scenario.timeline()
    faults = {stack.name: outcome.faults(stack, scenario.in_sequence) for stack in stacks}
    if reassign_requests(samples, timeline, faults):
        write_samples(folder / "samples.csv", samples)  # the file must give the same figures
    summary = json.loads((folder / "load.json").read_text())
    noted = next(iter(summary["stalls"].values()), None)
    bounded = bounded_samples(samples, timeline, scenario.load.timeout_ms, faults, noted)
    variants = []
    for stack, stored, on_its_way, observation, posts in zip(
        stacks, stored_states, moving, outcome.observations, seeds, strict=True
    ):
        own = [sample for sample in samples if sample.variant == stack.name]
        variant = variant_result(
            scenario,
            stack.name,
            own,
            check(
                own,
                stored,
                on_its_way=on_its_way,
                seed_posts=None if stack.attached else frozenset(posts),
            )
            if isinstance(stored, StoredState)
            else None,
            faults[stack.name],
            exits=exits,
            alarms=alarms[stack.name],
            extra_keys=observation.to_result(stack.data)
            | call_counts[stack.name]
            | stuck_consumers[stack.name]
            | read_dependencies(folder, stack.name)
            | {
                "lag": outcome.lag_sampler.figures(timeline, stack.name),
                "newcomers": outcome.newcomers[stack.name],
                "sidecar": costs.get(stack.name),
                "attached": stack.attached,
            },
        )
        own_bounded = [one for one in bounded if one.sample.variant == stack.name]
        variant.bounds = variant_bounds(variant, own_bounded, timeline)
        variant.unproved |= unsteady_figures(
            variant, own_bounded, outcome.lag_sampler.readings, timeline
        )
        variants.append(variant)
        if isinstance(stack, AttachedStack):
            variant.notes.append(
                f"It ran already ({', '.join(stack.urls.values())}), and the lab has started none "
                "of it. Processes, memory, databases, and which service called which "
                "are not measured: only the machine of a service knows them."
            )
            if stack.load_command:
                apart_ms = summary["round_trip_ms"] / 2
                variant.notes.append(
                    f"The load ran on another machine (`{' '.join(stack.load_command)}`). Its "
                    f"phases and the faults are apart by {apart_ms:.1f} ms at most, half of the "
                    "shortest round trip."
                )
        if on_its_way:
            variants[-1].notes.append(
                f"Not settled within {scenario.load.settle_s:g} s: events were still on their way "
                "when the data was read, so what is missing may only be late. Give them more time "
                "with settle_s under [load]."
            )
    return TrialResult(
        variants,
        samples,
        LoadSummary.model_validate(
            {k: v for k, v in summary.items() if k in LoadSummary.model_fields}
        ),
        outcome.lag_sampler.readings,
        exits,
        restarts + [str(error) for error in stored_states if isinstance(error, CannotCheck)],
    )


def _preload(scenario: Scenario) -> tuple[str, ...]:
    any_external = not all(spec.is_own for spec in scenario.variants.values())
    options = [
        spec.options for spec in scenario.variants.values() if not isinstance(spec, AttachedVariant)
    ]
    return (*preload(options), *(external_programs.PRELOAD if any_external else ()))


def _build_stacks(scenario: Scenario, supervisor: Supervisor, folder: Path) -> Iterator[Stack]:
    for name, spec in scenario.variants.items():
        if isinstance(spec, AttachedVariant):
            yield AttachedStack(name, spec.attachment, folder)
        elif isinstance(spec, ExternalVariant):
            yield ExternalStack(name, spec.target, supervisor, folder, bus=spec.bus)
        elif isinstance(spec, MixedVariant):
            yield MixedStack(
                name, spec.service, spec.target, supervisor, folder, options=spec.options
            )
        else:
            arrangement = ARRANGEMENTS[spec.arrangement]
            yield Stack(name, arrangement, supervisor, folder, options=spec.options)


async def _is_still_moving(stack: Stack, within_s: float) -> bool:
    """Whether events are still on their way after `within_s` seconds. After a program has ended by
    itself, the bus for example, nothing moves any more."""
    settled = await stack.settle(within_s)
    return not settled and all(stack.supervisor.alive(one.name) for one in stack.programs)


async def _read_state(stack: Stack) -> StoredState | CannotCheck:
    """What the stack stores, or the error: then the run is not valid, but still has a result."""
    try:
        if stack.arrangement.external or stack.arrangement.replaced:
            return await read_external_state(stack)
        stored = await read_stored_state(stack)
        if stack.token_group is not None:
            stored.keep_only(stack.token_group)
        return stored
    except CannotCheck as error:
        return error
