"""What a run sees of the databases: who has which one open under load, and who is turned away.
And of the processes, at the same moment: how many, and how large.

Looked at in every run, once, in the middle of `during`. A service is sent to reach into another's
database only where the scenario says so: then twice, while the owner runs and when it is gone.

Who stood still in the end behind an event that they can't digest, and what was laid aside.

Asked when everything has settled that still can. Where nobody hears events there is nothing to ask.

History and newcomers of a run: what was told before it, and who joins in the middle of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import psutil

from lab.cluster.databases import Databases, OwnerIs, ReachedIn, owners, reach_in
from lab.cluster.fixtures import bring_in, tell_history
from lab.cluster.stack import Stack
from lab.experiment.readback import pages
from lab.results.result import WARM_UP, Footprint, Newcomer, Phase, footprint
from lab.scenarios.late_joiners import keep_events
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import ReachIn

if TYPE_CHECKING:
    from lab.cluster.stack import Stack


# ── What a run sees of the databases: who has which one open under load, and who is turned away.


@dataclass
class Seen:
    """Of one variant. `open`: None where the system does not show what processes have open."""

    stack: Stack
    open: Databases | None = None
    footprint: Footprint | None = None
    reached_in: list[ReachedIn] = field(default_factory=list)

    def keys(self, folder: Path) -> dict[str, Any]:
        """The variant's part of the result, once its processes have ended; `folder`: its data."""
        return {
            "databases": self.open,
            "footprint": self.footprint,
            "database_owners": owners(folder),
            "reached_in": [asdict(one) for one in self.reached_in],
        }


def middle_s(timeline: Sequence[Phase]) -> float:
    """Seconds from the first phase's beginning to the middle of `during`, or else of the first."""
    at = next((i for i, phase in enumerate(timeline) if phase.name == "during"), 0)
    return sum(phase.seconds for phase in timeline[:at]) + timeline[at].seconds / 2


async def look(stacks: Sequence[Stack], wishes: Sequence[ReachIn], at_s: float) -> list[Seen]:
    """At that moment (of `perf_counter`): look at each stack, and reach in where it is wished."""
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
    """When nobody needs the stacks any more: end the owners, and reach in once more."""
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
    """Only who has a database of its own opens one; in one process nobody is another."""
    return [
        wish for wish in wishes if all((seen.open or {}).get(one) for one in (wish.who, wish.into))
    ]


# ── Who stood still in the end behind an event that they can't digest, and what was laid aside.


async def read_halted(stack: Stack) -> dict[str, Any]:
    """The keys `stuck` (by service: at which event, and why) and `dead_letters` (how many)."""
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


# ── History and newcomers of a run: what was told before it, and who joins in the middle of it.


async def tell_histories(scenario: Scenario, stacks: Sequence[Stack]) -> None:
    """The scenario's history to every variant that can have one. Raises HistoryNotHeard."""
    if scenario.history is None:
        return
    kept = keep_events(scenario.variants)
    for stack in stacks:
        if stack.name in kept:
            await tell_history(stack, scenario.history.events)


async def bring_in_newcomers(
    scenario: Scenario, stacks: Sequence[Stack], start_at: float
) -> dict[str, list[Newcomer]]:
    """Each newcomer at its moment, in every variant that can have one; by variant. Returns when
    all have heard everything, or have given up."""
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
    """Note for each newcomer how many feed entries it shows otherwise than the first one does.

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
    """The whole feed that a query shows, by post."""
    return {entry["id"]: entry async for entry in pages(stack, part, "/feed")}
