"""The generator compared with a bare timer loop, and with the least that can send a request.

Both limits use the generator's own event loop and schedule. The rate "held" is the highest of a
geometric ladder (steps of 15 %) at which the schedule lag p99 is at most 1 ms.
"""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

from lab.load.generator import gc_paused, new_loop
from lab.load.plan import PlanPhase
from lab.load.schedule import build_schedule
from tests.bench.ratio import Measure, Pair, Row, Skipped
from tests.bench.running import load, percentile
from tests.bench.serving import bare_aiohttp

SECONDS = 0.8
LAG_MS = 1.0
CONNECTIONS = 5_000
LADDER = [round(1_000 * 1.15**step) for step in range(34)]  # to 100,000
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
        if low < 0:
            raise Skipped(f"not even {rungs[0]}/s is held here: something else keeps it busy")
        return float(rungs[low])

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


async def _nothing() -> None:
    pass


def timer_lag_ms(
    rate: float,
    fire: Fire = lambda: None,
    before: Callable[[], Coroutine[Any, Any, None]] = _nothing,
) -> float:
    """The lag p99 of a loop that calls `fire` at each arrival and does nothing else."""
    phase = PlanPhase(name="all", seconds=SECONDS)
    due_s = [arrival.at_s for arrival in build_schedule(7, rate, [phase], {"read_feed": 1.0})]
    late_ms: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        await before()
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


class Sender(asyncio.Protocol):
    """Kept-alive connections that send one request each and read its response as bytes."""

    free: ClassVar[list[asyncio.Transport]] = []
    REQUEST = b"GET /feed HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.free.append(transport)

    def data_received(self, data: bytes) -> None:
        self.free.append(self._transport)  # the response is small: it comes in one piece


def sender_lag_ms(url: str, rate: float) -> float:
    """The same, sending a request at each arrival; infinite when no connection is free."""
    port, short = int(url.rpartition(":")[2]), 0

    async def connect() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(256):
            await loop.create_connection(Sender, "127.0.0.1", port)

    def fire() -> None:
        nonlocal short
        if Sender.free:
            Sender.free.pop().write(Sender.REQUEST)
        else:
            short += 1

    Sender.free = []
    late_ms = timer_lag_ms(rate, fire, connect)
    return float("inf") if short else late_ms


@contextmanager
def beside_timers() -> Iterator[Pair]:
    with bare_aiohttp() as url:
        yield held(generator_lag_ms(url), 10_000), held(timer_lag_ms, LADDER[-1])


@contextmanager
def beside_sender() -> Iterator[Pair]:
    with bare_aiohttp() as url:
        ours = held(generator_lag_ms(url), 10_000)
        yield ours, held(partial(sender_lag_ms, url), 10_000)


@contextmanager
def connections() -> Iterator[Pair]:
    """Connections that the generator's loop waits on at once, to those that this bench tries."""

    def opened() -> float:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 3 * CONNECTIONS), most))
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return float(runner.run(_answered(CONNECTIONS)))

    yield opened, lambda: float(CONNECTIONS)


async def _answered(count: int) -> int:
    """How many of `count` connections, open at once, get an answer while all are open."""
    loop, answers = asyncio.get_running_loop(), 0
    heard = asyncio.Event()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class Client(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            nonlocal answers
            answers += len(data)
            heard.set()

    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    transports = []
    with suppress(OSError, ValueError):
        for _ in range(count):
            transports.append((await loop.create_connection(Client, "127.0.0.1", port))[0])
    for transport in transports:
        transport.write(b"x")
    with suppress(TimeoutError, ValueError):
        while answers < len(transports):
            heard.clear()
            await asyncio.wait_for(heard.wait(), 5)
    for transport in transports:
        transport.close()
    server.close()
    return answers


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
    Row(
        name="generator-sender",
        what=f"rate held at a schedule lag p99 ≤ {LAG_MS:g} ms",
        ours="the generator",
        other="a loop that sends a constant and reads bytes",
        unit="/s",
        kind="limit",
        pairs=6,
        measure=beside_sender,
    ),
    Row(
        name="generator-connections",
        what="connections that answer while all are open",
        ours="the generator's loop",
        other="all that were opened",
        unit="connections",
        kind="limit",
        reach=1,
        pairs=5,
        measure=connections,
    ),
]
