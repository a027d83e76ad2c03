"""The generator beside a bare timer loop, and beside the least that can send a request.

Both limits use the generator's own event loop and schedule. The rate "held" is the highest of a
geometric ladder (steps of 10 %) at which the schedule lag p99 is at most 1 ms.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from lab.load.generator import gc_paused, new_loop
from lab.load.plan import PlanPhase
from lab.load.schedule import build_schedule
from tests.bench.ratio import Measure, Pair, Row
from tests.bench.running import load, percentile
from tests.bench.serving import bare_aiohttp

SECONDS = 1.0
LAG_MS = 1.0
LADDER = [round(500 * 1.1**step) for step in range(60)]
Fire = Callable[[], object]


def held(lag_ms: Callable[[float], float], highest: float) -> Measure:
    """The highest rate of the ladder, at most `highest`, whose lag p99 is at most LAG_MS: found by
    bisection, confirmed by a second try where the first one failed."""
    rungs = [rate for rate in LADDER if rate <= highest]

    def measure() -> float:
        low, high = -1, len(rungs)
        while high - low > 1:
            middle = (low + high) // 2
            holds = any(lag_ms(rungs[middle]) <= LAG_MS for _ in range(2))
            low, high = (middle, high) if holds else (low, middle)
        return float(rungs[max(low, 0)])

    return measure


def generator_lag_ms(url: str) -> Callable[[float], float]:
    variant = {
        "name": "bare",
        "urls": dict.fromkeys(("posts", "comments", "query"), url),
        "seed_posts": ["0"],
    }

    def lag_ms(rate: float) -> float:
        with tempfile.TemporaryDirectory() as place:
            summary = load(
                Path(place), SECONDS, variant, rate=rate, mix={"read_feed": 1}, warm_up_s=0.3
            )
        return float(summary["lag_ms"]["p99"]) if not summary["dropped"] else float("inf")

    return lag_ms


def timer_lag_ms(rate: float, fire: Fire = lambda: None) -> float:
    """The lag p99 of a loop that calls `fire` at each arrival and does nothing else."""
    phase = PlanPhase(name="all", seconds=SECONDS)
    due_s = [arrival.at_s for arrival in build_schedule(7, rate, [phase], {"read_feed": 1.0})]
    late_ms: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        begun = perf_counter() + 0.05

        def tick() -> None:
            while len(late_ms) < len(due_s):
                late_s = perf_counter() - begun - due_s[len(late_ms)]
                if late_s < 0:
                    loop.call_later(-late_s, tick)
                    return
                late_ms.append(late_s * 1_000)
                fire()
            ended.set_result(None)

        tick()
        await ended

    with asyncio.Runner(loop_factory=new_loop) as runner, gc_paused():
        runner.run(run())
    return percentile(late_ms, 99)


@contextmanager
def beside_timers() -> Iterator[Pair]:
    with bare_aiohttp() as url:
        yield held(generator_lag_ms(url), 10_000), held(timer_lag_ms, LADDER[-1])


ROWS = [
    Row(
        name="generator-timers",
        what=f"rate held at a schedule lag p99 ≤ {LAG_MS:g} ms",
        ours="the generator",
        other="a loop of timers that sends nothing",
        unit="/s",
        kind="limit",
        reach=0.5,
        pairs=6,
        measure=beside_timers,
    ),
]
