"""Observations of a run: databases and processes, stuck consumers, histories and newcomers.

Once in each run, in the middle of `during`, the observer records which process has which database
open, and the number and memory of the processes. If the scenario has `reach_in`, a service tries to
open another service's database, once while the owner runs and once after it is gone.

After the run has settled, the observer reads which consumers are stuck behind an event that they
cannot apply, and how many dead letters each service has.

A history is published before the load begins. A newcomer joins during the load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from lab.cluster.databases import (
    Databases,
    ForeignOpenAttempt,
    OwnerState,
    read_owners,
    try_foreign_open,
)
from lab.cluster.fixtures import publish_history, start_replica
from lab.cluster.stack import Stack
from lab.experiment.readback import read_pages
from lab.results.result import Footprint, Newcomer
from lab.scenarios.late_joiners import variants_with_event_log
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import ForeignOpenSpec

# ── Databases and processes


@dataclass
class Observation:
    """The observations of one variant. `open_databases`: None if the system hides the open files,
    or runs the processes elsewhere; then there is no `footprint` either."""

    stack: Stack
    open_databases: Databases | None = None
    footprint: Footprint | None = None
    foreign_opens: list[ForeignOpenAttempt] = field(default_factory=list)

    def to_result(self, folder: Path) -> dict[str, Any]:
        """Keys of the variant's result. To be called after its processes have exited. `folder`: the
        folder of its databases."""
        return {
            "databases": self.open_databases,
            "footprint": self.footprint,
            "database_owners": read_owners(folder),
            "reached_in": [asdict(attempt) for attempt in self.foreign_opens],
        }


def measure_footprint(pids: Iterable[int]) -> Footprint:
    """The footprint of running processes. Raises psutil.Error if one has exited."""
    sizes = [getattr(psutil.Process(pid).memory_full_info(), "pss", None) for pid in pids]
    reported = [size for size in sizes if size is not None]
    total_mib = sum(reported) / 2**20 if reported and len(reported) == len(sizes) else None
    return Footprint(
        processes=len(sizes), memory_mib=None if total_mib is None else round(total_mib, 1)
    )


async def observe(
    stacks: Sequence[Stack], foreign_opens: Sequence[ForeignOpenSpec], at_s: float
) -> list[Observation]:
    """At the time `at_s` (of `perf_counter`), observe each stack, and try the foreign opens while
    the owners run."""
    await asyncio.sleep(at_s - time.perf_counter())
    observations = [Observation(stack) for stack in stacks]
    for observation in observations:
        if observation.stack.attached:
            continue
        try:
            observation.footprint = await asyncio.to_thread(
                measure_footprint, observation.stack.pids().values()
            )
            observation.open_databases = await asyncio.to_thread(observation.stack.open_databases)
        except psutil.Error:
            continue
        await _try_foreign_opens(observation, foreign_opens, "running")
    return observations


async def observe_after(
    observations: Sequence[Observation], foreign_opens: Sequence[ForeignOpenSpec]
) -> None:
    """After the run: kill the owners of the databases, and try the foreign opens again."""
    for observation in observations:
        for foreign_open in _possible_opens(observation, foreign_opens):
            owner = observation.stack.program_name(foreign_open.into)
            if observation.stack.supervisor.alive(owner):
                await observation.stack.supervisor.kill(owner)
        await _try_foreign_opens(observation, foreign_opens, "gone")


async def _try_foreign_opens(
    observation: Observation, foreign_opens: Sequence[ForeignOpenSpec], owner: OwnerState
) -> None:
    stack = observation.stack
    programs = {program.name: program for program in stack.programs}
    for foreign_open in _possible_opens(observation, foreign_opens):
        opener = programs[stack.program_name(foreign_open.who)]
        observation.foreign_opens.append(
            await try_foreign_open(stack.supervisor, opener, foreign_open.into, stack.data, owner)
        )


def _possible_opens(
    observation: Observation, foreign_opens: Sequence[ForeignOpenSpec]
) -> list[ForeignOpenSpec]:
    """The foreign opens between two processes that each had a database open."""
    return [
        foreign_open
        for foreign_open in foreign_opens
        if all(
            (observation.open_databases or {}).get(service)
            for service in (foreign_open.who, foreign_open.into)
        )
    ]


# ── Stuck consumers and dead letters


async def read_stuck_consumers(stack: Stack) -> dict[str, Any]:
    """The keys `stuck` (by service: at which event, and why) and `dead_letters` (by service: how
    many); empty if the bus keeps no log."""
    if not stack.arrangement.has_replayable_log:
        return {}
    states = {name: await stack.state(name) or {} for name in stack.arrangement.services}
    return {
        "stuck": {
            name: f"event {stuck['sequence']}, a {stuck['type']}: {stuck['why']}"
            for name, state in states.items()
            if (stuck := state.get("stuck"))
        },
        "dead_letters": {
            name: dead for name, state in states.items() if (dead := state.get("dead"))
        },
    }


# ── Histories and newcomers


async def publish_histories(scenario: Scenario, stacks: Sequence[Stack]) -> None:
    """Publish the scenario's history in each variant whose bus keeps events.

    Raises HistoryNotConsumed.
    """
    if scenario.history is None:
        return
    with_log = variants_with_event_log(scenario.variants)
    for stack in stacks:
        if stack.name in with_log:
            await publish_history(stack, scenario.history.events)


async def add_newcomers(
    scenario: Scenario, stacks: Sequence[Stack], start_at: float
) -> dict[str, list[Newcomer]]:
    """Start each newcomer at its time, in each variant whose bus keeps events; the newcomers by
    variant. Returns when all have caught up, or have reached their time limit."""
    during_s = start_at + scenario.timeline().main_phase.from_s
    with_log = variants_with_event_log(scenario.variants)
    targets = [stack for stack in stacks if stack.name in with_log]
    added = await asyncio.gather(
        *(
            _add_newcomer_at(during_s + newcomer.at, newcomer.at, stack, newcomer.service)
            for newcomer in scenario.newcomer
            for stack in targets
        )
    )
    names = [stack.name for _ in scenario.newcomer for stack in targets]
    return {
        stack.name: [
            newcomer for newcomer, name in zip(added, names, strict=True) if name == stack.name
        ]
        for stack in stacks
    }


async def _add_newcomer_at(start_at_s: float, at_s: float, stack: Stack, service: str) -> Newcomer:
    await asyncio.sleep(start_at_s - perf_counter())
    replica = await start_replica(stack, service)
    rate = replica.events / replica.seconds if replica.seconds else None
    return Newcomer(
        service=service,
        part=replica.replica,
        at_s=at_s,
        events=replica.events,
        seconds=replica.seconds and round(replica.seconds, 3),
        events_per_s=rate and round(rate, 1),
    )


async def compare_replicas(stack: Stack, newcomers: Sequence[Newcomer]) -> None:
    """Set for each newcomer how many feed entries differ from those of the first replica.

    Raises CannotCheck.
    """
    for newcomer in newcomers:
        first, second = await asyncio.gather(
            _feed_by_id(stack, newcomer.service), _feed_by_id(stack, newcomer.part)
        )
        ids = first.keys() | second.keys()
        newcomer.entries = len(first)
        newcomer.differences = sum(first.get(post) != second.get(post) for post in ids)


async def _feed_by_id(stack: Stack, process: str) -> Mapping[str, Any]:
    """The whole feed of one replica of `query`, by post id."""
    return {entry["id"]: entry async for entry in read_pages(stack, process, "/feed")}
