"""History and newcomers of a run: what was told before it, and who joins in the middle of it."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from lab.cluster.history import tell_history
from lab.cluster.newcomer import bring_in
from lab.cluster.stack import Stack
from lab.scenarios.hearing import Newcomer
from lab.scenarios.holdings import pages
from lab.scenarios.joining import keep_events
from lab.scenarios.scenario import Scenario
from lab.scenarios.timeline import WARM_UP


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
