"""A blog on the bus whose processes are killed under load, and whose bus is down for a while.

A storm and two outages, each on a fresh stack, for each engine; one run each, because they are
long. The writes go on all the time: 200 a second in the storm, 120 where a bus that syncs each
event separately has to catch up. `tests.support.storm` explains the terms.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.table import Figure, at_least, at_most, shown
from tests.support.aftermath import StormOutcome
from tests.support.storm import StormPlan, run_storm

ENGINES = ("log", "nats")
OUTAGES_S = (10, 180)
STORM = StormPlan(rounds=8)


def figures() -> Iterator[Figure]:
    for engine in ENGINES:
        yield from _storm(engine)
        for outage_s in OUTAGES_S:
            yield from _outage(engine, outage_s)


def _storm(engine: str) -> Iterator[Figure]:
    came_of_it = _go_through(STORM, engine)
    where = f"{engine}, storm"
    yield at_least(
        f"{where}: processes killed under load", 60, [came_of_it.kills_under_load], "kills"
    )
    yield at_least(
        f"{where}: acknowledged writes", 10_000, [came_of_it.data.acknowledged], "writes"
    )
    yield _nothing_wrong(where, came_of_it)
    seen_again_s = came_of_it.visible_again_s()
    yield Figure(
        f"{where}: from a killed process being healthy again until a reader has seen the last "
        "write acknowledged before, worst kill",
        "≤ 5 s (p99)",
        [max(seen_again_s)],
        "s",
        max(seen_again_s) <= 5,
    )
    yield shown(f"{where}: the same for each kill", seen_again_s, "s")


def _outage(engine: str, outage_s: float) -> Iterator[Figure]:
    weather = StormPlan(rate=120, calm_s=18, outage_s=outage_s, drain_s=60)
    came_of_it = _go_through(weather, engine)
    where = f"{engine}, {outage_s} s without the bus"
    accepted, sent = came_of_it.accepted("outage")
    yield at_least(f"{where}: accepted, of {sent:,} writes", 100, [100 * accepted / sent], "%")
    yield _nothing_wrong(where, came_of_it)
    assert came_of_it.drained_s is not None
    yield at_most(
        f"{where}: from its return until no more events are under way than in the calm, "
        "writes going on",
        30,
        [came_of_it.drained_s],
        "s",
    )
    calm_ms, outage_ms = came_of_it.answered_ms("calm"), came_of_it.answered_ms("outage")
    yield at_most(
        f"{where}: answered p99, {outage_ms:.3g} ms, as a multiple of the {calm_ms:.3g} ms in the "
        "calm before",
        2,
        [outage_ms / calm_ms],
        "×",
    )


def _nothing_wrong(where: str, came_of_it: StormOutcome) -> Figure:
    wrong = came_of_it.violations()
    names = ", ".join(wrong) or "lost, duplicated, diverged, unsettled, refused and kept"
    return at_most(f"{where}: {names}", 0, [sum(wrong.values())], "writes")


def _go_through(weather: StormPlan, engine: str) -> StormOutcome:
    with tempfile.TemporaryDirectory(dir=".") as place:
        return asyncio.run(run_storm(weather, Path(place).absolute(), bus=engine))
