"""Starts a bus and measures its throughput in durable events per second to three consumers.

The bus and each of the three consumers are processes; the publisher is this process. An event
counts when all three consumers have it; the clock runs from the first publish to the last delivery.
"""

import asyncio
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Protocol

import requests

from lab.bus.base import Batch
from lab.bus.connect import open_bus
from lab.cluster.ports import reserve
from lab.domain.events import Envelope, PostCreated
from lab.support.nats import NatsNotInstalled, find_server, require_client
from tests.bench.rabbitmq import RabbitBus
from tests.bench.ratio import Measure, Skipped
from tests.bench.redis import RedisBus
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
    with (
        tempfile.TemporaryDirectory(dir=".", ignore_cleanup_errors=True) as place,
        _ENGINES[engine](Path(place).absolute()) as address,
    ):
        yield address


@contextmanager
def _log(folder: Path) -> Iterator[str]:
    with lab_program("lab.bus.log.server", "--port", "0", "--data", str(folder)) as url:
        until(lambda: requests.get(f"{url}/health", timeout=5).status_code == 200)
        yield url


@contextmanager
def _nats(folder: Path) -> Iterator[str]:
    try:
        require_client()
        find_server()
    except NatsNotInstalled as error:
        raise Skipped(str(error)) from None
    with lab_program("lab.bus.nats.server", "--port", "0", "--data", str(folder)) as url:
        until(lambda: requests.get(f"{url}/health", timeout=5).status_code == 200)
        yield f"nats://{folder / 'nats'}"


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    _require("redis-server", "redis-server")
    (port,) = _free_ports(1)
    words = f"--port {port} --bind 127.0.0.1 --dir {folder} --appendonly yes --appendfsync always"
    with _running("redis-server", *words.split(), "--save", ""):
        until(lambda: _listens(port))
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def _rabbitmq(folder: Path, kind: str) -> Iterator[str]:
    server = _RABBITMQ / "rabbitmq-server"
    _require("epmd", "rabbitmq-server")
    if not server.exists():
        raise Skipped(f"{server} is not here. Try: apt-get install rabbitmq-server")
    ports = _free_ports(3)
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{ports[0]}\n")
    (folder / "plugins").write_text("[].")
    environment = os.environ | {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(ports[1]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(ports[2]),
        "RABBITMQ_NODENAME": f"bench{ports[0]}@localhost",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    # The broker would start an epmd that outlives it.
    with (
        _running("epmd", "-port", str(ports[1]), env=environment),
        _running(str(server), env=environment),
    ):
        address = f"amqp+{kind}://127.0.0.1:{ports[0]}"
        until(lambda: asyncio.run(_answers(address)), every_s=0.2)
        yield address


_RABBITMQ = Path("/usr/lib/rabbitmq/bin")  # Debian's: the command on PATH wants another user
_ENGINES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "log": _log,
    "nats": _nats,
    "redis": _redis,
    "quorum": partial(_rabbitmq, kind="quorum"),
    "stream": partial(_rabbitmq, kind="stream"),
}


def _require(command: str, package: str) -> None:
    if shutil.which(command) is None:
        raise Skipped(f"{command} is not installed. Try: apt-get install {package}")


@contextmanager
def _running(*command: str, env: Mapping[str, str] | None = None) -> Iterator[None]:
    """A server in a separate process group, which is killed at the end: its disk goes too."""
    process = subprocess.Popen(
        command,
        env=env,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def _answers(address: str) -> bool:
    with suppress(OSError, EOFError):
        broker = RabbitBus(address)
        await broker.head()
        await broker.close()
        return True
    return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        return [held.enter_context(reserve()).port for _ in range(count)]


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def connect(address: str) -> Connection:
    """A client of the bus at `address`; its `head` connects."""
    if address.startswith("redis://"):
        return RedisBus(address)
    return RabbitBus(address) if address.startswith("amqp+") else open_bus(address)


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

        try:
            yield rate
        finally:
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
        if isinstance(connection, RabbitBus):
            await connection.subscribe()
        count.value = 0
        async for batch in connection.read(0):
            count.value += len(batch)

    asyncio.run(listen())
