"""The cost of the sidecar in front of an external service: latency, and throughput per core.

Requests go in turn directly to the service and through the sidecar, so that a slow moment of the
machine hits both. The service is minimal, so the whole difference is the sidecar's.
"""

import asyncio
import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import psutil

from lab.cluster.ports import reserve
from tests.bench.running import program
from tests.bench.serving import bare_aiohttp
from tests.bench.table import Figure, at_least, at_most, shown

ROUNDS = 5
QUESTIONS = 600
AT_ONCE = 32
FOR_S = 2.0
RAW, FACE = "raw", "face"


def figures() -> Iterator[Figure]:
    with bare_aiohttp() as url:
        port = int(url.rpartition(":")[2])
        with _sidecar(port) as (process, ports):
            took = asyncio.run(_by_turns(port, ports))
            rates = asyncio.run(_rates(process, ports[RAW]))
    for way, says in ((RAW, "passed on as it is"), (FACE, "asked in the lab's words, a feed")):
        costs = [of[way] - of[""] for of in took]
        yield at_most(f"the sidecar's own cost for a request, p50 ({says})", 0.6, costs, "ms")
    of_a_core = [rate for rate, _ in rates]
    yield at_least("requests/s through a sidecar, a core of its own", 3_000, of_a_core, "/s")
    on_the_clock = [rate for _, rate in rates]
    what = f"the same on the clock, {AT_ONCE} at once, service and client beside it"
    yield shown(what, on_the_clock, "/s")


@contextmanager
def _sidecar(service_port: int) -> Iterator[tuple[psutil.Process, dict[str, int]]]:
    with reserve() as face, reserve() as raw:
        ports = {FACE: face.port, RAW: raw.port}
        words = [
            *("--name", "query", "--service-port", str(service_port), "--reuse-port"),
            *("--port", str(face.port), "--raw-port", str(raw.port)),
            *("--mapping", json.dumps({"read_feed": {"path": "/posts"}})),
        ]
        with program(sys.executable, "-m", "lab.external.sidecar", *words) as (process, _):
            yield psutil.Process(process.pid), ports


async def _by_turns(service_port: int, ports: dict[str, int]) -> list[dict[str, float]]:
    """The p50 of each way, in ms, per round."""
    ways = {
        "": await _Asker.at(service_port, "/posts"),
        RAW: await _Asker.at(ports[RAW], "/posts"),
        FACE: await _Asker.at(ports[FACE], "/feed"),
    }
    rounds = []
    for _ in range(ROUNDS):
        took: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(QUESTIONS):
            for way, asker in ways.items():
                begun_s = perf_counter()
                await asker.ask()
                took[way].append((perf_counter() - begun_s) * 1_000)
        rounds.append({way: statistics.median(of) for way, of in took.items()})
    for asker in ways.values():
        asker.close()
    return rounds


async def _rates(process: psutil.Process, port: int) -> list[tuple[float, float]]:
    """Per round: requests per second of CPU time of the sidecar, and per second of wall time."""
    askers = [await _Asker.at(port, "/posts") for _ in range(AT_ONCE)]
    found = []
    for _ in range(ROUNDS):
        before, begun_s = process.cpu_times(), perf_counter()
        until_s = begun_s + FOR_S
        asked = sum(await asyncio.gather(*(_ask_until(one, until_s) for one in askers)))
        took_s, after = perf_counter() - begun_s, process.cpu_times()
        of_a_core_s = after.user + after.system - before.user - before.system
        found.append((asked / of_a_core_s, asked / took_s))
    for asker in askers:
        asker.close()
    return found


async def _ask_until(asker: "_Asker", until_s: float) -> int:
    asked = 0
    while perf_counter() < until_s:
        await asker.ask()
        asked += 1
    return asked


class _Asker:
    """A kept-alive connection that repeats one request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> None:
        self._reader, self._writer, self._request = reader, writer, request

    @classmethod
    async def at(cls, port: int, path: str) -> "_Asker":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(
            reader, writer, f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
        )

    async def ask(self) -> None:
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
        await self._reader.readexactly(int(length))

    def close(self) -> None:
        self._writer.close()
