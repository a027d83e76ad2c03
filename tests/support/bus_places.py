"""The buses that the contract suite runs against: each engine supplies a place, and no tests.

A place is started once for the whole suite where a new bus costs less than a new process: on a NATS
server, a new bus is a new stream.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest

from lab.bus.base import Bus
from lab.bus.connect import open_bus
from lab.bus.nats.files import NatsFiles
from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.domain.events import Envelope, PostCreated
from tests.support.laboratory import PATIENCE_S, Laboratory
from tests.support.nats_lab import needs_nats

_numbers = itertools.count()


class RestartableBus(Protocol):
    """A bus for one test, which may kill and restart it."""

    url: str

    def connect(self) -> Bus: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class BusProcess:
    """A place that is a process with its own folder."""

    def __init__(
        self, laboratory: Laboratory, module: str, port: int, extra_args: tuple[str, ...] = ()
    ) -> None:
        name = f"bus-{next(_numbers)}"
        self.folder = laboratory.folder / name
        self.url = f"http://127.0.0.1:{port}"
        self._laboratory = laboratory
        argv = ("--port", str(port), "--reuse-port", "--data", str(self.folder), *extra_args)
        log = laboratory.folder / f"{name}.log"
        self.program = Program(name, module, argv, log, health=f"{self.url}/health")

    def connect(self) -> Bus:
        return open_bus(self.url)

    def kill(self) -> None:
        self._laboratory.run(self._laboratory.supervisor.kill(self.program.name))

    def restart(self) -> None:
        self._laboratory.run(self._laboratory.supervisor.restart(self.program.name))

    def restart_if_killed(self) -> None:
        """Restart the bus if a test has left it killed."""
        if not self._laboratory.supervisor.alive(self.program.name):
            self.restart()


class NatsBusProcess(BusProcess):
    """The `nats` engine: one server, and a new stream on it for each test."""

    def new_stream(self) -> None:
        (address,) = NatsFiles(self.folder / "nats").urls()
        self.url = f"{address}/stream-{next(_numbers)}?replicas=1"


BusFactory = Callable[[], AbstractContextManager[RestartableBus]]


@contextmanager
def _log_buses(laboratory: Laboratory) -> Iterator[BusFactory]:
    """The `log` engine: one process, one file."""

    @contextmanager
    def place() -> Iterator[RestartableBus]:
        with reserve() as port:
            place = BusProcess(laboratory, "lab.bus.log.server", port.port)
            with laboratory.start(place.program):
                yield place

    yield place


@contextmanager
def nats_server(laboratory: Laboratory) -> Iterator[NatsBusProcess]:
    with reserve() as port:
        server = NatsBusProcess(laboratory, "lab.bus.nats.server", port.port)
        with laboratory.start(server.program):
            yield server


@contextmanager
def _nats_buses(laboratory: Laboratory) -> Iterator[BusFactory]:
    with nats_server(laboratory) as server:

        @contextmanager
        def place() -> Iterator[RestartableBus]:
            server.new_stream()
            yield server
            server.restart_if_killed()

        yield place


ENGINES: dict[str, Callable[[Laboratory], AbstractContextManager[BusFactory]]] = {
    "log": _log_buses,
    "nats": _nats_buses,
}
PARAMETERS = [
    pytest.param("log"),
    pytest.param("nats", marks=needs_nats),
]


def an_event(name: object = "x") -> str:
    return Envelope.around(
        PostCreated(id=str(name), title=f"Title {name}"), source="/tests/bus"
    ).model_dump_json()


async def read_first(bus: Bus, count: int, after: int = 0) -> list[Envelope]:
    """The first `count` events after sequence number `after`."""
    events: list[Envelope] = []
    async with asyncio.timeout(PATIENCE_S):
        stream = bus.read(after)
        async for batch in stream:
            events += batch
            if len(events) >= count:
                break
        await stream.aclose()  # type: ignore[attr-defined]
    return events[:count]


def subjects_of(envelopes: list[Envelope]) -> list[str]:
    return [envelope.subject for envelope in envelopes]
