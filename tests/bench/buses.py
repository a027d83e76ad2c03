"""Starts a bus and measures its throughput in events per second to three consumers.

The bus and each of the three consumers are processes; the publisher is this process. An event
counts when all three consumers have it; the clock runs from the first publish to the last delivery.
"""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import requests

from lab.bus.connect import open_bus
from lab.domain.events import Envelope, PostCreated
from lab.support.nats import NatsNotInstalled, find_server, require_client
from tests.bench.running import program

CONSUMERS = 3
TOKEN = "bench"
_PATIENCE_S = 120.0

Publish = Callable[[str, list[str]], Awaitable[None]]
"""Publishes envelopes to the bus at an address; returns when each is acknowledged."""


def nats_is_missing() -> str:
    """Why NATS cannot be used here, as a sentence; "" if it can."""
    try:
        require_client()
        find_server()
    except NatsNotInstalled as error:
        return str(error).partition("\n")[0]
    return ""


@contextmanager
def lab_program(*arguments: str) -> Iterator[str]:
    """A module of the lab as a running program; yields its URL."""
    how = {"stderr": subprocess.DEVNULL, "env": os.environ | {"LAB_TOKEN": TOKEN}}
    with program(sys.executable, "-m", *arguments, **how) as (_, url):
        yield url


def until(look: Callable[[], bool], within_s: float = _PATIENCE_S, every_s: float = 0.002) -> None:
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
    """A new bus on an empty disk; yields the address for `open_bus`."""
    with tempfile.TemporaryDirectory(dir=".") as place:
        module = {"log": "lab.bus.log.server", "nats": "lab.bus.nats.server"}[engine]
        with lab_program(module, "--port", "0", "--data", place) as url:
            until(lambda: requests.get(f"{url}/health", timeout=5).status_code == 200)
            yield url if engine == "log" else f"nats://{Path(place).absolute() / 'nats'}"


def events(count: int) -> list[str]:
    """`count` envelopes as JSON, each of a small post."""
    told = (PostCreated(id=str(number), title="A post") for number in range(count))
    return [Envelope.around(event, source="/bench").model_dump_json() for event in told]


def rate_through(address: str, envelopes: list[str], publish: Publish) -> float:
    """Throughput of the bus at `address`, in events/s, from the publisher to three consumers."""
    return asyncio.run(_rate_through(address, envelopes, publish))


async def _rate_through(address: str, envelopes: list[str], publish: Publish) -> float:
    with hearers(address, len(envelopes)) as (ready, ended):
        await asyncio.to_thread(ready)
        begun = perf_counter()
        await publish(address, envelopes)
        await asyncio.to_thread(ended)
        return len(envelopes) / (perf_counter() - begun)


@contextmanager
def hearers(
    address: str, count: int, heard: Any = None
) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """Three consumer processes. Yields two waits: until all listen, until all have ended."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(CONSUMERS + 1)
    given = (address, count, barrier, heard)
    consumers = [spawn.Process(target=hear, args=given) for _ in range(CONSUMERS)]
    for consumer in consumers:
        consumer.start()

    def ended() -> None:
        for consumer in consumers:
            consumer.join()
            if consumer.exitcode:
                raise RuntimeError(f"a consumer ended with {consumer.exitcode}")

    try:
        yield (lambda: barrier.wait(_PATIENCE_S)), ended
    finally:
        for consumer in consumers:
            consumer.kill()
            consumer.join()


def hear(address: str, count: int, ready: Any, heard: Any = None) -> None:
    """Consume `count` events. The queue, if given, gets the delivery times (perf_counter) as a
    list, indexed by the number in the event's subject."""

    async def listen() -> list[float]:
        moments = [0.0] * count
        connection = open_bus(address)
        await connection.head()
        await asyncio.to_thread(ready.wait)
        async for batch in connection.read(0):
            now = perf_counter()
            if heard is not None:
                for envelope in batch:
                    moments[int(envelope.subject)] = now
            if batch[-1].sequence >= count:
                break
        await connection.close()
        return moments

    moments = asyncio.run(listen())
    if heard is not None:
        heard.put(moments)


def at_once(in_flight: int) -> Publish:
    """One publisher with `in_flight` appends of one event each in flight."""

    async def publish(address: str, envelopes: list[str]) -> None:
        await _share(address, [[one] for one in envelopes], in_flight)

    return publish


def in_batches(size: int, in_flight: int) -> Publish:
    """One publisher with `in_flight` appends of `size` events each in flight."""

    async def publish(address: str, envelopes: list[str]) -> None:
        batches = [envelopes[at : at + size] for at in range(0, len(envelopes), size)]
        await _share(address, batches, in_flight)

    return publish


async def _share(address: str, batches: Sequence[Sequence[str]], in_flight: int) -> None:
    """Each of `in_flight` tasks takes the next batch when its last one is acknowledged."""
    connection = open_bus(address)
    await connection.head()
    waiting = iter(batches)

    async def publish() -> None:
        for batch in waiting:
            await connection.append(batch)

    await asyncio.gather(*(publish() for _ in range(in_flight)))
    await connection.close()
