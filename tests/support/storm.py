"""Storms for a blog: open-loop writes, random `kill -9`, and a check of what came of it.

    calm            nothing is broken: the time to a 201, and the events in flight
    outage          the bus is killed and stays down; everything else goes on
    drain           the bus is back, the writes go on, the backlog must drain
    storm           each round kills each process once, in random order and at random
                    moments, and then all of them at once

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
from lab.experiment.checker import Holdings, check, read_holdings
from lab.load.plan import Plan
from lab.load.samples import read_samples, token
from lab.load.schedule import schedule
from tests.support.aftermath import Aftermath, Kill

SEED_POSTS = 10
WARM_UP_S = 0.5
HEADROOM_S = 0.15
SETTLE_WITHIN_S = 60.0
READY_WITHIN_S = 60.0
LOOK_EVERY_S = 0.1
LONGEST_DOWN = 0.6  # of the time between two blows
LOAD = "load"


@dataclass(frozen=True)
class Weather:
    """The length of each phase in seconds, and the rate in writes/s (as many posts as comments).

    `drain_s` is the longest time the drain may take; the storm has a blow about every `every_s`.
    """

    rate: float = 200.0
    calm_s: float = 0.0
    outage_s: float = 0.0
    drain_s: float = 0.0
    rounds: int = 0
    every_s: float = 1.6
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

    def blows(self, targets: Sequence[str]) -> Iterator["Blow"]:
        """The storm's random blows: in each round every target once, then all at once."""
        dice = random.Random(self.seed)
        number = 0
        for _ in range(self.rounds):
            for struck in (*((one,) for one in dice.sample(targets, len(targets))), tuple(targets)):
                down_s = dice.uniform(0, LONGEST_DOWN * self.every_s)
                moment = dice.uniform(0, 1 - LONGEST_DOWN)
                yield Blow((number + moment) * self.every_s, struck, down_s)
                number += 1


@dataclass(frozen=True)
class Blow:
    """At second `at_s` of the storm all `targets` are killed, and restarted `down_s` later."""

    at_s: float
    targets: tuple[str, ...]
    down_s: float


async def go_through(
    weather: Weather, folder: Path, arrangement: str = "async-bus", **options: Any
) -> Aftermath:
    """Run a fresh blog under writes through this weather, in its own folder."""
    kills: list[Kill] = []
    drained_s = None
    async with Supervisor(preload([options]), folder) as supervisor:
        of = ARRANGEMENTS[arrangement]
        with Stack("blog", of, supervisor, folder, options=options) as stack:
            await supervisor.start(*stack.programs, ready_within_s=READY_WITHIN_S)
            seeds = [await _post(stack, number) for number in range(SEED_POSTS)]
            assert await stack.settle(SETTLE_WITHIN_S), "the seed posts did not settle"
            started_at_s = perf_counter() + HEADROOM_S
            plan = _plan(weather, stack, seeds, folder, started_at_s)
            (folder / "plan.json").write_text(json.dumps(plan))
            log = folder / "load.log"
            await supervisor.start(
                Program(
                    LOAD, "lab.load.generator", (str(folder / "plan.json"),), log, measures=True
                )
            )
            await _until(started_at_s + WARM_UP_S)
            if weather.outage_s:
                drained_s = await _outage(weather, stack, kills)
            await _storm(weather, stack, kills)
            assert await supervisor.wait(LOAD) == 0, log.read_text()
            assert await stack.settle(SETTLE_WITHIN_S), "it did not settle"
            held = await read_holdings(stack)
            deaths = supervisor.unexpected_exits()
    samples = read_samples(folder / "samples.csv")
    return Aftermath(
        data=check(samples, held),
        samples=samples,
        started_at_s=started_at_s,
        load=json.loads((folder / "load.json").read_text()),
        judged_wrongly=_judged_wrongly(Plan.model_validate(plan), held),
        deaths=deaths,
        kills=kills,
        drained_s=drained_s,
    )


def _judged_wrongly(plan: Plan, held: Holdings) -> int:
    """How many comments have a status that contradicts the course's moderation rule."""
    arrivals = schedule(plan.seed, plan.rate, plan.phases, plan.mix)
    right = {
        token(0, number): "rejected" if arrival.is_rejectable else "approved"
        for number, arrival in enumerate(arrivals)
    }
    return sum(right[one] != status for one, status in held.status_owned.items())


async def _outage(weather: Weather, stack: Stack, kills: list[Kill]) -> float:
    """Run the calm, then take the bus down. Returns the seconds from its return until the backlog
    is gone, that is until no more events are in flight than the most during the calm; writes go on
    meanwhile. `inf`: not within `drain_s`."""
    calm_over_s = perf_counter() + weather.calm_s
    usual = 0
    while perf_counter() < calm_over_s:
        usual = max(usual, await _under_way(stack) or 0)
        await asyncio.sleep(LOOK_EVERY_S)
    await _strike(Blow(0, (BUS,), weather.outage_s), stack, kills)
    back_s = kills[-1].ready_s
    while (left := await _under_way(stack)) is None or left > usual:
        if perf_counter() > back_s + weather.drain_s:
            return inf
        await asyncio.sleep(LOOK_EVERY_S)
    return perf_counter() - back_s


async def _under_way(stack: Stack) -> int | None:
    """Events that wait in outboxes plus the consumers' lag; None if unknown."""
    services = [await stack.state(name) for name in SERVICES]
    bus = await stack.state(BUS)
    if bus is None or any(service is None for service in services):
        return None
    heard = [one["offset"] for one in services if one and one["offset"] is not None]
    untold: int = sum(one["untold"] for one in services if one)
    return untold + sum(max(0, bus["head"] - offset) for offset in heard)


async def _storm(weather: Weather, stack: Stack, kills: list[Kill]) -> None:
    begun_s = perf_counter()
    for blow in weather.blows(stack.arrangement.targets):
        await _until(begun_s + blow.at_s)
        await _strike(blow, stack, kills)


async def _strike(blow: Blow, stack: Stack, kills: list[Kill]) -> None:
    killed_s = perf_counter()
    programs = {target: stack.program(target) for target in blow.targets}
    await asyncio.gather(*(stack.supervisor.kill(program) for program in programs.values()))
    await _until(killed_s + blow.down_s)

    async def restart(target: str) -> None:
        await stack.supervisor.restart(programs[target], READY_WITHIN_S)
        kills.append(Kill(target, killed_s, perf_counter()))

    await asyncio.gather(*(restart(target) for target in blow.targets))


async def _until(moment_s: float) -> None:
    await asyncio.sleep(moment_s - perf_counter())


async def _post(stack: Stack, number: int) -> str:
    body = {"title": f"Before the weather, number {number}"}
    answer = await stack.call("POST", stack.urls["posts"], "/posts", body)
    assert answer.status == 201, answer
    return str(answer.data["id"])


def _plan(
    weather: Weather, stack: Stack, seeds: list[str], folder: Path, start_at: float
) -> dict[str, Any]:
    urls = {name: stack.urls[name] for name in ("posts", "comments", "query")}
    return {
        "seed": weather.seed,
        "rate": weather.rate,
        "mix": {"create_post": 1, "create_comment": 1},
        "start_at": start_at,
        "settle_s": SETTLE_WITHIN_S,
        "phases": weather.phases(stack.arrangement.targets),
        "variants": [{"name": stack.name, "urls": urls, "seed_posts": seeds}],
        "samples": str(folder / "samples.csv"),
        "progress": str(folder / "progress.ndjson"),
        "summary": str(folder / "load.json"),
    }
