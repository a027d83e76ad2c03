"""The buses that the contract suite looks at: an engine supplies a place, and no tests."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Protocol

from laboratory import PATIENCE_S, Laboratory

from lab.bus.base import Bus
from lab.bus.open import open_bus
from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.domain.events import Envelope, PostCreated

_numbers = itertools.count()


class Place(Protocol):
    """A bus of its own, to be treated badly."""

    url: str

    def connect(self) -> Bus: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class LogPlace:
    """The `log` engine: one process, one file."""

    def __init__(self, laboratory: Laboratory, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._laboratory = laboratory
        name = f"bus-{next(_numbers)}"
        argv = ("--port", str(port), "--reuse-port", "--data", str(laboratory.folder / name))
        log = laboratory.folder / f"{name}.log"
        self.program = Program(name, "lab.bus.log_server", argv, log, health=f"{self.url}/health")

    def connect(self) -> Bus:
        return open_bus(self.url)

    def kill(self) -> None:
        self._laboratory.run(self._laboratory.supervisor.kill(self.program.name))

    def restart(self) -> None:
        self._laboratory.run(self._laboratory.supervisor.restart(self.program.name))


def _log_place(laboratory: Laboratory) -> Iterator[Place]:
    with reserve() as port:
        place = LogPlace(laboratory, port.port)
        with laboratory.start(place.program):
            yield place


ENGINES: dict[str, Callable[[Laboratory], Iterator[Place]]] = {"log": _log_place}


def an_event(name: object = "x") -> str:
    return Envelope.around(
        PostCreated(id=str(name), title=f"Title {name}"), source="/tests/bus"
    ).model_dump_json()


async def first(bus: Bus, count: int, after: int = 0) -> list[Envelope]:
    """The first so many events behind a number."""
    heard: list[Envelope] = []
    async with asyncio.timeout(PATIENCE_S):
        stream = bus.read(after)
        async for batch in stream:
            heard += batch
            if len(heard) >= count:
                break
        await stream.aclose()  # type: ignore[attr-defined]
    return heard[:count]


def names(envelopes: list[Envelope]) -> list[str]:
    return [envelope.subject for envelope in envelopes]
