"""Latency of an event at an everyday rate: from publishing to delivery to three consumers.

Open loop: the intended send times are fixed beforehand, 200 a second at random distances. Each
delivery counts from its event's intended send time, not from the actual one. All processes of a
computer share one monotonic clock.
"""

import asyncio
import multiprocessing
import statistics
from collections.abc import Iterator
from time import perf_counter

from lab.bus.connect import open_bus
from lab.load.generator import gc_paused, new_loop
from lab.load.plan import PlanPhase
from lab.load.schedule import build_schedule
from tests.bench.buses import CONSUMERS, bus, events, hearers
from tests.bench.table import Figure, at_most

RUNS = 5
RATE = 200.0
SECONDS = 5.0
WARM_UP = 100  # events

Moments = list[float]
"""Delivery time of each event (perf_counter), in the order of publishing."""


def figures() -> Iterator[Figure]:
    runs = [_delivered_ms(seed) for seed in range(RUNS)]
    what = f"published → delivered to {CONSUMERS} consumers through log, {RATE:g} events/s"
    yield at_most(f"{what}, p50", 1.5, [percentile(run, 50) for run in runs], "ms")
    yield at_most(f"{what}, p99", 4, [percentile(run, 99) for run in runs], "ms")


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _delivered_ms(seed: int) -> list[float]:
    """The latencies in ms, for every consumer and every event after the warm-up."""
    arrivals = build_schedule(
        seed, RATE, [PlanPhase(name="all", seconds=SECONDS)], {"create_post": 1.0}
    )
    spawn = multiprocessing.get_context("spawn")
    heard: multiprocessing.Queue[Moments] = spawn.Queue()
    with bus("log") as address, hearers(address, len(arrivals), heard) as (ready, ended):
        ready()
        envelopes = events(len(arrivals))
        with asyncio.Runner(loop_factory=new_loop) as runner, gc_paused():
            due = [arrival.at_s for arrival in arrivals]
            begun = runner.run(_publish(address, envelopes, due))
        moments = [heard.get(timeout=120) for _ in range(CONSUMERS)]
        ended()
    return [
        (at - begun - due_s) * 1_000
        for consumer in moments
        for at, due_s in list(zip(consumer, due, strict=True))[WARM_UP:]
    ]


async def _publish(address: str, envelopes: list[str], due: list[float]) -> float:
    """Publish each event at its intended time, independent of the others' acknowledgements.

    Returns the start that the times in `due` count from, once all are acknowledged.
    """
    connection = open_bus(address)
    await connection.head()
    begun = perf_counter() + 0.1
    async with asyncio.TaskGroup() as group:
        for envelope, due_s in zip(envelopes, due, strict=True):
            await asyncio.sleep(max(0.0, begun + due_s - perf_counter()))
            group.create_task(connection.append([envelope]))
    await connection.close()
    return begun
