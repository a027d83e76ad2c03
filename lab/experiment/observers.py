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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from lab.cluster.databases import Databases, OwnerIs, ReachedIn, owners, reach_in
from lab.cluster.fixtures import bring_in, tell_history
from lab.cluster.stack import Stack
from lab.experiment.readback import pages
from lab.results.result import WARM_UP, Footprint, Newcomer, Phase, footprint
from lab.scenarios.late_joiners import keep_events
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import ReachIn

# ── Databases and processes


@dataclass
class Seen:
    """The observations of one variant. `open`: None if the system hides the open files."""

    stack: Stack
    open: Databases | None = None
    footprint: Footprint | None = None
    reached_in: list[ReachedIn] = field(default_factory=list)

    def keys(self, folder: Path) -> dict[str, Any]:
        """Keys of the variant's result. To be called after its processes have exited. `folder`: the
        folder of its databases."""
        return {
            "databases": self.open,
            "footprint": self.footprint,
            "database_owners": owners(folder),
            "reached_in": [asdict(one) for one in self.reached_in],
        }


def middle_s(timeline: Sequence[Phase]) -> float:
    """Seconds from the start of the first phase to the middle of `during`, or of the first phase
    if there is no `during`."""
    at = next((i for i, phase in enumerate(timeline) if phase.name == "during"), 0)
    return sum(phase.seconds for phase in timeline[:at]) + timeline[at].seconds / 2


async def look(stacks: Sequence[Stack], wishes: Sequence[ReachIn], at_s: float) -> list[Seen]:
    """At the time `at_s` (of `perf_counter`), observe each stack, and try the foreign opens in
    `wishes` while the owners run."""
    await asyncio.sleep(at_s - time.perf_counter())
    found = [Seen(stack) for stack in stacks]
    for seen in found:
        try:
            seen.footprint = await asyncio.to_thread(footprint, seen.stack.pids().values())
            seen.open = await asyncio.to_thread(seen.stack.open_databases)
        except psutil.Error:
            continue
        await _reach_in(seen, wishes, "running")
    return found


async def look_again(found: Sequence[Seen], wishes: Sequence[ReachIn]) -> None:
    """After the run: kill the owners of the databases, and try the foreign opens again."""
    for seen in found:
        for wish in _possible(seen, wishes):
            owner = seen.stack.program(wish.into)
            if seen.stack.supervisor.alive(owner):
                await seen.stack.supervisor.kill(owner)
        await _reach_in(seen, wishes, "gone")


async def _reach_in(seen: Seen, wishes: Sequence[ReachIn], owner: OwnerIs) -> None:
    stack = seen.stack
    programs = {program.name: program for program in stack.programs}
    for wish in _possible(seen, wishes):
        who = programs[stack.program(wish.who)]
        seen.reached_in.append(await reach_in(stack.supervisor, who, wish.into, stack.data, owner))


def _possible(seen: Seen, wishes: Sequence[ReachIn]) -> list[ReachIn]:
    """The foreign opens between two processes that each had a database open."""
    return [
        wish for wish in wishes if all((seen.open or {}).get(one) for one in (wish.who, wish.into))
    ]


# ── Stuck consumers and dead letters


async def read_halted(stack: Stack) -> dict[str, Any]:
    """The keys `stuck` (by service: at which event, and why) and `dead_letters` (by service: how
    many); empty if the bus keeps no log."""
    if not stack.arrangement.keeps_a_log:
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


async def tell_histories(scenario: Scenario, stacks: Sequence[Stack]) -> None:
    """Publish the scenario's history in each variant whose bus keeps events.

    Raises HistoryNotHeard.
    """
    if scenario.history is None:
        return
    kept = keep_events(scenario.variants)
    for stack in stacks:
        if stack.name in kept:
            await tell_history(stack, scenario.history.events)


async def bring_in_newcomers(
    scenario: Scenario, stacks: Sequence[Stack], start_at: float
) -> dict[str, list[Newcomer]]:
    """Start each newcomer at its time, in each variant whose bus keeps events; the newcomers by
    variant. Returns when all have caught up, or have reached their time limit."""
    during_s = start_at + WARM_UP.seconds + scenario.phases.before
    kept = keep_events(scenario.variants)
    able = [stack for stack in stacks if stack.name in kept]
    came = await asyncio.gather(
        *(
            _at(during_s + one.at, one.at, stack, one.service)
            for one in scenario.newcomer
            for stack in able
        )
    )
    names = [stack.name for _ in scenario.newcomer for stack in able]
    return {
        stack.name: [one for one, name in zip(came, names, strict=True) if name == stack.name]
        for stack in stacks
    }


async def _at(moment_s: float, at_s: float, stack: Stack, service: str) -> Newcomer:
    await asyncio.sleep(moment_s - perf_counter())
    came = await bring_in(stack, service)
    rate = came.events / came.seconds if came.seconds else None
    return Newcomer(
        service=service,
        part=came.part,
        at_s=at_s,
        events=came.events,
        seconds=came.seconds and round(came.seconds, 3),
        events_per_s=rate and round(rate, 1),
    )


async def compare(stack: Stack, newcomers: Sequence[Newcomer]) -> None:
    """Set for each newcomer how many feed entries differ from those of the first replica.

    Raises CannotCheck.
    """
    for one in newcomers:
        first, second = await asyncio.gather(
            _entries(stack, one.service), _entries(stack, one.part)
        )
        ids = first.keys() | second.keys()
        one.entries = len(first)
        one.differences = sum(first.get(post) != second.get(post) for post in ids)


async def _entries(stack: Stack, part: str) -> Mapping[str, Any]:
    """The whole feed of one replica of `query`, by post id."""
    return {entry["id"]: entry async for entry in pages(stack, part, "/feed")}
