"""Starts a bus and measures its throughput in durable events per second to three consumers.

The bus and each of the three consumers are processes; the publisher is this process. An event
counts when all three consumers have it; the clock runs from the first publish to the last delivery.
"""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Protocol

import requests

from lab.bus.base import Batch
from lab.bus.connect import open_bus
from lab.domain.events import Envelope, PostCreated
from lab.support.nats import NatsNotInstalled, find_server, require_client
from tests.bench.ratio import Measure, Skipped
from tests.bench.running import program

CONSUMERS = 3
TOKEN = "bench"
_PATIENCE_S = 120.0


class Connection(Protocol):
    """What the bench needs of a client; the lab's own buses have it."""

    async def head(self) -> int: ...
    async def append(self, envelopes: Sequence[str]) -> list[int]: ...
    def read(self, after: int) -> AsyncIterator[Batch]: ...
    async def close(self) -> None: ...


@contextmanager
def lab_program(*arguments: str) -> Iterator[str]:
    """A module of the lab as a running program; yields its URL."""
    how = {"stderr": subprocess.DEVNULL, "env": os.environ | {"LAB_TOKEN": TOKEN}}
    with program(sys.executable, "-m", *arguments, **how) as (_, url):
        yield url


def until(look: Callable[[], bool], within_s: float = _PATIENCE_S, every_s: float = 0.001) -> None:
    """Wait until `look` returns true; raises TimeoutError."""
    give_up_at_s = perf_counter() + within_s
    while True:
        with suppress(requests.ConnectionError):
            if look():
                return
        if perf_counter() > give_up_at_s:
            raise TimeoutError("It did not come true.")
        sleep(every_s)


@contextmanager
def bus(engine: str) -> Iterator[str]:
    """A new bus on an empty disk; yields its address. Raises Skipped."""
    with tempfile.TemporaryDirectory(dir=".", ignore_cleanup_errors=True) as place:
        folder = Path(place).absolute()
        if engine == "nats":
            try:
                require_client()
                find_server()
            except NatsNotInstalled as error:
                raise Skipped(str(error)) from None
        module = {"log": "lab.bus.log.server", "nats": "lab.bus.nats.server"}[engine]
        with lab_program(module, "--port", "0", "--data", place) as url:
            until(lambda: requests.get(f"{url}/health", timeout=5).status_code == 200)
            yield url if engine == "log" else f"nats://{folder / 'nats'}"


def connect(address: str) -> Connection:
    return open_bus(address)


def events(count: int) -> list[str]:
    """`count` envelopes as JSON, each of a small post."""
    told = (PostCreated(id=str(number), title="A post") for number in range(count))
    return [Envelope.around(event, source="/bench").model_dump_json() for event in told]


@contextmanager
def throughput(engine: str, count: int, in_flight: int, batch: int = 1) -> Iterator[Measure]:
    """Starts a bus, three consumers and a publisher; the measure is in events per second.

    The publisher has `in_flight` appends of `batch` events in flight.
    """
    with bus(engine) as address, consumers(address) as heard, asyncio.Runner() as runner:
        publisher = connect(address)
        runner.run(publisher.head())
        published = 0

        def rate() -> float:
            nonlocal published
            published += count
            envelopes = events(count)
            begun = perf_counter()
            runner.run(publish(publisher, envelopes, in_flight, batch))
            until(lambda: min(heard()) >= published)
            return count / (perf_counter() - begun)

        yield rate
        runner.run(publisher.close())


async def publish(
    publisher: Connection, envelopes: list[str], in_flight: int, batch: int = 1
) -> None:
    """Each of `in_flight` tasks appends the next batch when its last one is acknowledged."""
    batches = iter([envelopes[at : at + batch] for at in range(0, len(envelopes), batch)])

    async def one_after_the_other() -> None:
        for one in batches:
            await publisher.append(one)

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))


@contextmanager
def consumers(address: str) -> Iterator[Callable[[], list[int]]]:
    """Three processes that consume. Yields a function: how many events each of them has."""
    spawn = multiprocessing.get_context("spawn")
    counts = [spawn.RawValue("q", -1) for _ in range(CONSUMERS)]
    processes = [spawn.Process(target=_consume, args=(address, one)) for one in counts]
    for process in processes:
        process.start()

    def heard() -> list[int]:
        if any(process.exitcode is not None for process in processes):
            raise RuntimeError(f"A consumer of {address} has ended.")
        return [int(one.value) for one in counts]

    try:
        until(lambda: min(heard()) >= 0)
        yield heard
    finally:
        for process in processes:
            process.kill()
            process.join()


def _consume(address: str, count: Any) -> None:
    async def listen() -> None:
        connection = connect(address)
        await connection.head()
        count.value = 0
        async for batch in connection.read(0):
            count.value += len(batch)

    asyncio.run(listen())
