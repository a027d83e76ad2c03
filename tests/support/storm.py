"""Storms for a blog: open-loop writes, kills and suspensions, and a check of what came of it.

    calm            nothing is broken: the time to a 201, and the events in flight
    outage          the bus is killed and stays down; everything else goes on
    drain           the bus is back, the writes go on, the backlog must drain
    storm           each round kills or suspends each process once, in random order and
                    at random moments, and then kills all of them at once

Any phase may be left out. The writes come from the lab's generator, without a pause. At the end the
lab's checker compares the acknowledged writes with what every service holds.
"""

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS, SERVICES
from lab.experiment.checker import StoredState, check, read_stored_state
from lab.load.plan import Plan
from lab.load.samples import make_token, read_samples
from lab.load.schedule import build_schedule
from tests.support.aftermath import Kill, StormOutcome

SEED_POSTS = 10
WARM_UP_S = 0.5
HEADROOM_S = 0.15
SETTLE_WITHIN_S = 60.0
READY_WITHIN_S = 60.0
POLL_EVERY_S = 0.1
LONGEST_DOWN = 0.6  # of the time between two blows
LOAD = "load"


@dataclass(frozen=True)
class StormPlan:
    """The length of each phase in seconds, and the rate in writes/s (as many posts as comments).

    `drain_s` is the longest time the drain may take; the storm has a blow about every `every_s`.
    `suspended`: the share of blows at one process that suspend it (SIGSTOP) instead of killing it.
    """

    rate: float = 200.0
    calm_s: float = 0.0
    outage_s: float = 0.0
    drain_s: float = 0.0
    rounds: int = 0
    every_s: float = 1.6
    suspended: float = 0.0
    seed: int = 20

    def phases(self, targets: Sequence[str]) -> list[dict[str, Any]]:
        storm_s = self.rounds * (len(targets) + 1) * self.every_s
        lengths = {
            "warm_up": WARM_UP_S,
            "calm": self.calm_s,
            "outage": self.outage_s,
            "afterwards": self.drain_s + storm_s,
        }
        return [{"name": name, "seconds": long} for name, long in lengths.items() if long]

    def planned_kills(self, targets: Sequence[str]) -> Iterator["PlannedKill"]:
        """The storm's random blows: in each round every target once, then all at once."""
        rng = random.Random(self.seed)
        number = 0
        for _ in range(self.rounds):
            for group in (*((one,) for one in rng.sample(targets, len(targets))), tuple(targets)):
                down_s = rng.uniform(0, LONGEST_DOWN * self.every_s)
                moment = rng.uniform(0, 1 - LONGEST_DOWN)
                suspends = len(group) == 1 and rng.random() < self.suspended
                yield PlannedKill((number + moment) * self.every_s, group, down_s, suspends)
                number += 1


@dataclass(frozen=True)
class PlannedKill:
    """At second `at_s` of the storm all `targets` are killed, and restarted `down_s` later; or
    suspended, and resumed."""

    at_s: float
    targets: tuple[str, ...]
    down_s: float
    suspends: bool = False


async def run_storm(
    storm: StormPlan, folder: Path, arrangement: str = "async-bus", **options: Any
) -> StormOutcome:
    """Run a fresh blog under writes through this weather, in its own folder."""
    kills: list[Kill] = []
    drained_s = None
    async with Supervisor(preload([options]), folder) as supervisor:
        definition = ARRANGEMENTS[arrangement]
        with Stack("blog", definition, supervisor, folder, options=options) as stack:
            await supervisor.start(*stack.programs, ready_within_s=READY_WITHIN_S)
            seeds = [await _post(stack, number) for number in range(SEED_POSTS)]
            assert await stack.settle(SETTLE_WITHIN_S), "the seed posts did not settle"
            started_at_s = perf_counter() + HEADROOM_S
            plan = _plan(storm, stack, seeds, folder, started_at_s)
            (folder / "plan.json").write_text(json.dumps(plan))
            log = folder / "load.log"
            await supervisor.start(
                Program(
                    LOAD,
                    "lab.load.generator",
                    (str(folder / "plan.json"),),
                    log,
                    high_priority=True,
                )
            )
            await _sleep_until(started_at_s + WARM_UP_S)
            if storm.outage_s:
                drained_s = await _outage(storm, stack, kills)
            await _run_kills(storm, stack, kills)
            assert await supervisor.wait(LOAD) == 0, log.read_text()
            assert await stack.settle(SETTLE_WITHIN_S), "it did not settle"
            stored = await read_stored_state(stack)
            deaths = supervisor.unexpected_exits()
    samples = read_samples(folder / "samples.csv")
    return StormOutcome(
        data=check(samples, stored),
        samples=samples,
        started_at_s=started_at_s,
        load=json.loads((folder / "load.json").read_text()),
        wrong_verdicts=_count_wrong_verdicts(Plan.model_validate(plan), stored),
        unexpected_exits=deaths,
        kills=kills,
        drained_s=drained_s,
    )


def _count_wrong_verdicts(plan: Plan, stored: StoredState) -> int:
    """How many comments have a status that contradicts the course's moderation rule."""
    arrivals = build_schedule(plan.seed, plan.rate, plan.phases, plan.mix)
    expected = {
        make_token(0, number): "rejected" if arrival.is_rejectable else "approved"
        for number, arrival in enumerate(arrivals)
    }
    return sum(expected[one] != status for one, status in stored.owner_status.items())


async def _outage(storm: StormPlan, stack: Stack, kills: list[Kill]) -> float:
    """Run the calm, then take the bus down. Returns the seconds from its return until the backlog
    is gone, that is until no more events are in flight than the most during the calm; writes go on
    meanwhile. `inf`: not within `drain_s`."""
    calm_over_s = perf_counter() + storm.calm_s
    baseline = 0
    while perf_counter() < calm_over_s:
        baseline = max(baseline, await _count_in_flight(stack) or 0)
        await asyncio.sleep(POLL_EVERY_S)
    await _kill_and_restart(PlannedKill(0, (BUS,), storm.outage_s), stack, kills)
    back_s = kills[-1].ready_s
    while (left := await _count_in_flight(stack)) is None or left > baseline:
        if perf_counter() > back_s + storm.drain_s:
            return inf
        await asyncio.sleep(POLL_EVERY_S)
    return perf_counter() - back_s


async def _count_in_flight(stack: Stack) -> int | None:
    """Events that wait in outboxes plus the consumers' lag; None if unknown."""
    services = [await stack.state(name) for name in SERVICES]
    bus = await stack.state(BUS)
    if bus is None or any(service is None for service in services):
        return None
    offsets = [one["offset"] for one in services if one and one["offset"] is not None]
    unpublished: int = sum(one["untold"] for one in services if one)
    return unpublished + sum(max(0, bus["head"] - offset) for offset in offsets)


async def _run_kills(storm: StormPlan, stack: Stack, kills: list[Kill]) -> None:
    begun_s = perf_counter()
    for planned in storm.planned_kills(stack.arrangement.targets):
        await _sleep_until(begun_s + planned.at_s)
        await _kill_and_restart(planned, stack, kills)


async def _kill_and_restart(planned: PlannedKill, stack: Stack, kills: list[Kill]) -> None:
    killed_s = perf_counter()
    programs = {target: stack.program_name(target) for target in planned.targets}
    end = stack.supervisor.suspend if planned.suspends else stack.supervisor.kill
    await asyncio.gather(*map(end, programs.values()))
    await _sleep_until(killed_s + planned.down_s)

    async def restart(target: str) -> None:
        if planned.suspends:
            await stack.supervisor.resume(programs[target])
        else:
            await stack.supervisor.restart(programs[target], READY_WITHIN_S)
        kills.append(Kill(target, killed_s, perf_counter()))

    await asyncio.gather(*(restart(target) for target in planned.targets))


async def _sleep_until(moment_s: float) -> None:
    await asyncio.sleep(moment_s - perf_counter())


async def _post(stack: Stack, number: int) -> str:
    body = {"title": f"Before the weather, number {number}"}
    answer = await stack.call("POST", stack.urls["posts"], "/posts", body)
    assert answer.status == 201, answer
    return str(answer.data["id"])


def _plan(
    storm: StormPlan, stack: Stack, seeds: list[str], folder: Path, start_at: float
) -> dict[str, Any]:
    urls = {name: stack.urls[name] for name in ("posts", "comments", "query")}
    return {
        "seed": storm.seed,
        "rate": storm.rate,
        "mix": {"create_post": 1, "create_comment": 1},
        "start_at": start_at,
        "settle_s": SETTLE_WITHIN_S,
        "phases": storm.phases(stack.arrangement.targets),
        "variants": [{"name": stack.name, "urls": urls, "seed_posts": seeds}],
        "samples": str(folder / "samples.csv"),
        "progress": str(folder / "progress.ndjson"),
        "summary": str(folder / "load.json"),
    }
