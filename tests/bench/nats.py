"""Start-up time of the `nats` engine: one server, and three with a replicated stream.

Measured as the lab starts it, from the start to "ready": the stream exists, has a leader, and
accepts events.
"""

import asyncio
from collections.abc import Iterator
from time import perf_counter

from lab.domain.services import BUS
from tests.bench.buses import nats_is_missing
from tests.bench.running import a_stack
from tests.bench.table import Figure, at_most, missing

RUNS = 5
_ONE = {"bus": "nats"}
_THREE = {"bus": "nats", "replicas": 3}


def figures() -> Iterator[Figure]:
    what = "nats, from its start to ready"
    if reason := nats_is_missing():
        yield missing(what, reason)
        return
    runs = [(asyncio.run(_seconds(_ONE)), asyncio.run(_seconds(_THREE))) for _ in range(RUNS)]
    yield at_most(f"{what}: one server", 0.5, [one for one, _ in runs], "s")
    yield at_most(f"{what}: three, the stream replicated", 6, [three for _, three in runs], "s")


async def _seconds(options: dict[str, object]) -> float:
    async with a_stack("async-bus", options) as (stack, supervisor, _):
        servers = [one for one in stack.programs if BUS in one.name]
        begun = perf_counter()
        await supervisor.start(*servers)
        return perf_counter() - begun
