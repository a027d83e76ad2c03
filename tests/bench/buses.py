"""A bus for a while, and how many events a second get through it to three consumers.

The bus is a process, the three consumers are one each, the publisher is this one. An event counts
when all three have it; the clock runs from the first publishing to the last hearing.
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

import requests

from lab.bus.open import open_bus
from lab.domain.events import Envelope, PostCreated
from lab.nats_here import NatsMissing, find_server, require_client

CONSUMERS = 3
TOKEN = "bench"
_PATIENCE_S = 20.0

Publish = Callable[[str, list[str]], Awaitable[None]]
"""Publishes envelopes to the bus at an address; returns when each is acknowledged."""


def nats_is_missing() -> str:
    """Why there is no nats here, as a sentence; nothing when there is."""
    try:
        require_client()
        find_server()
    except NatsMissing as error:
        return str(error).partition("\n")[0]
    return ""


@contextmanager
def program(*arguments: str) -> Iterator[str]:
    """A program of the lab that says on its first line where it listens; that URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"LAB_TOKEN": TOKEN},
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        yield url
    finally:
        process.terminate()
        process.communicate()


def until(look: Callable[[], bool], within_s: float = _PATIENCE_S, every_s: float = 0.002) -> None:
    """Wait until it is so; raises TimeoutError."""
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
    """A bus of its own on an empty disk: the address by which `open_bus` finds it."""
    with tempfile.TemporaryDirectory(dir=".") as place:
        module = {"log": "lab.bus.log_server", "nats": "lab.bus.nats_server"}[engine]
        with program(module, "--port", "0", "--data", place) as url:
            until(lambda: requests.get(f"{url}/health", timeout=5).status_code == 200)
            yield url if engine == "log" else f"nats://{Path(place).absolute() / 'nats'}"


def events(count: int) -> list[str]:
    """So many envelopes as JSON, each of one small post."""
    told = (PostCreated(id=str(number), title="A post") for number in range(count))
    return [Envelope.around(event, source="/bench").model_dump_json() for event in told]


def rate_through(address: str, envelopes: list[str], publish: Publish) -> float:
    """Events a second through the bus at `address`, from the publisher to three consumers."""
    return asyncio.run(_rate_through(address, envelopes, publish))


async def _rate_through(address: str, envelopes: list[str], publish: Publish) -> float:
    with hearers(_hear_so_many, address, len(envelopes)) as (ready, ended):
        await asyncio.to_thread(ready)
        begun = perf_counter()
        await publish(address, envelopes)
        await asyncio.to_thread(ended)
        return len(envelopes) / (perf_counter() - begun)


@contextmanager
def hearers(
    hear: Callable[..., None], *arguments: object
) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """Three processes that hear. Two things to wait for: that they listen; that they have ended."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(CONSUMERS + 1)
    consumers = [spawn.Process(target=hear, args=(*arguments, barrier)) for _ in range(CONSUMERS)]
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


def _hear_so_many(address: str, count: int, ready: object) -> None:
    async def hear() -> None:
        connection = open_bus(address)
        await connection.head()
        await asyncio.to_thread(ready.wait)  # type: ignore[attr-defined]
        async for batch in connection.read(0):
            if batch[-1].sequence >= count:
                break
        await connection.close()

    asyncio.run(hear())


def at_once(in_flight: int) -> Publish:
    """So many appends under way, of an event each: one publisher, with as many things to tell."""

    async def publish(address: str, envelopes: list[str]) -> None:
        await _share(address, [[one] for one in envelopes], in_flight)

    return publish


def in_batches(size: int, in_flight: int) -> Publish:
    """So many appends under way, each of a batch of events."""

    async def publish(address: str, envelopes: list[str]) -> None:
        batches = [envelopes[at : at + size] for at in range(0, len(envelopes), size)]
        await _share(address, batches, in_flight)

    return publish


async def _share(address: str, batches: Sequence[Sequence[str]], in_flight: int) -> None:
    """Each of the publisher's tasks takes the next batch when its last one is acknowledged."""
    connection = open_bus(address)
    await connection.head()
    waiting = iter(batches)

    async def publish() -> None:
        for batch in waiting:
            await connection.append(batch)

    await asyncio.gather(*(publish() for _ in range(in_flight)))
    await connection.close()
