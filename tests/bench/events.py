"""How many durable events a second go through the `log` engine to three consumers.

The bus is a process, the three consumers are one each, the publishers are one: 64 tasks with one
POST an event, or four that publish 64 at a time. An event counts when all three consumers
have it; each was on disk (`synchronous=FULL`) before it was acknowledged.
"""

import asyncio
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from time import perf_counter

from lab.bus.log import LogBus
from lab.domain.events import Envelope, PostCreated
from tests.bench.publisher import publish_singly
from tests.bench.table import Figure, at_least

RUNS = 3
IN_FLIGHT = 64
BATCH = 64
BATCH_PUBLISHERS = 4
SINGLY = 30_000
IN_BATCHES = 128_000


def figures() -> Iterator[Figure]:
    yield at_least(
        "durable events/s through the log engine to 3 consumers, 64 publishers in flight",
        9_000,
        [_run(SINGLY, batched=False) for _ in range(RUNS)],
        "events/s",
    )
    yield at_least(
        "the same, 4 publishers, each publishing batches of 64",
        40_000,
        [_run(IN_BATCHES, batched=True) for _ in range(RUNS)],
        "events/s",
    )


def _run(events: int, *, batched: bool) -> float:
    with tempfile.TemporaryDirectory(dir=".") as place:
        server = subprocess.Popen(
            [sys.executable, "-m", "lab.bus.log_server", "--port", "0", "--data", place],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            url = server.stdout.readline().split()[-1]
            return asyncio.run(_through(url, events, batched))
        finally:
            server.terminate()
            server.communicate()


async def _through(url: str, events: int, batched: bool) -> float:
    told = [
        Envelope.around(PostCreated(id=str(number), title="A post"), source="/bench")
        for number in range(events)
    ]
    envelopes = [envelope.model_dump_json() for envelope in told]
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(4)
    consumers = [spawn.Process(target=_consume, args=(url, events, ready)) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    await asyncio.to_thread(ready.wait)
    begun = perf_counter()
    if batched:
        await _publish_batches(url, envelopes)
    else:
        await publish_singly(url, envelopes, IN_FLIGHT)
    await asyncio.to_thread(lambda: [consumer.join() for consumer in consumers])
    assert all(consumer.exitcode == 0 for consumer in consumers)
    return events / (perf_counter() - begun)


async def _publish_batches(url: str, envelopes: list[str]) -> None:
    """Each publisher takes the next batch when the bus has acknowledged its last one."""
    bus = LogBus(url)
    batches = iter([envelopes[n : n + BATCH] for n in range(0, len(envelopes), BATCH)])

    async def publish() -> None:
        for batch in batches:
            await bus.append(batch)

    await asyncio.gather(*(publish() for _ in range(BATCH_PUBLISHERS)))
    await bus.close()


def _consume(url: str, events: int, ready: object) -> None:
    async def hear() -> None:
        bus = LogBus(url)
        await bus.head()
        await asyncio.to_thread(ready.wait)  # type: ignore[attr-defined]
        async for batch in bus.read(0):
            if batch[-1].sequence >= events:
                break
        await bus.close()

    asyncio.run(hear())
