"""What a run sees of the databases: who has which one open under load, and who is turned away.
And of the processes, at the same moment: how many, and how large.

Looked at in every run, once, in the middle of `during`. A service is sent to reach into another's
database only where the scenario says so: then twice, while the owner runs and when it is gone.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lab.cluster.databases import Databases, OwnerIs, ReachedIn, owners, reach_in
from lab.cluster.stack import Stack
from lab.scenarios.footprint import Footprint, footprint
from lab.scenarios.spec import ReachIn
from lab.scenarios.timeline import Phase


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
