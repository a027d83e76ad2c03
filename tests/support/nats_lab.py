"""NATS servers for the tests, and a teller and a hearer who behave as services do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import pytest

from lab.bus.base import Bus, BusUnavailable
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, preload
from lab.domain.directory import BUS
from lab.domain.events import Envelope, PostCreated
from lab.nats_here import NatsMissing, find_server, require_client

WITHIN_S = 20.0
ONE = {"bus": "nats"}
THREE = {"bus": "nats", "replicas": 3}
PARTS = ("event-bus", "event-bus-2", "event-bus-3")


def _missing() -> str:
    try:
        require_client()
        find_server()
    except NatsMissing as error:
        return str(error)
    return ""


def nats_is_here() -> bool:
    return not _missing()


needs_nats = pytest.mark.skipif(bool(_missing()), reason=_missing() or "nats is here")


def told(*numbers: int) -> list[str]:
    """Envelopes whose ids are their numbers."""
    events = [PostCreated(id=str(number), title="A post") for number in numbers]
    wrapped = [Envelope.around(event, source="/test") for event in events]
    return [one.model_copy(update={"id": one.subject}).model_dump_json() for one in wrapped]


async def heard(bus: Bus, after: int, count: int) -> list[Envelope]:
    """The next `count` events, read as a service does: whatever breaks, it asks again."""
    events: list[Envelope] = []
    async with asyncio.timeout(WITHIN_S):
        while len(events) < count:
            with contextlib.suppress(BusUnavailable):
                async for batch in bus.read(events[-1].sequence if events else after):
                    events += batch
                    if len(events) >= count:
                        break
            await asyncio.sleep(0)
    return events


async def surely(bus: Bus, envelopes: Sequence[str]) -> list[int]:
    """Append as a relay does: until it is acknowledged, with the same ids."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(BusUnavailable):
                return await bus.append(envelopes)
            await asyncio.sleep(0.01)


class Servers:
    """The bus's programs, without services: one or three of them."""

    def __init__(self, supervisor: Supervisor, stack: Stack, folder: Path) -> None:
        self.supervisor = supervisor
        self.folder = folder / "data" / "blog" / "nats"
        self.address = f"nats://{self.folder}"
        self.programs = {
            part: program
            for part in PARTS
            for program in stack.programs
            if program.name == f"blog.{part}"
        }

    async def start(self) -> None:
        await self.supervisor.start(*self.programs.values())

    def server(self, part: str = BUS) -> psutil.Process:
        """The nats-server of a node."""
        (server,) = psutil.Process(self.supervisor.pid(f"blog.{part}")).children()
        return server


@contextlib.asynccontextmanager
async def running(folder: Path, options: dict[str, object]) -> AsyncIterator[Servers]:
    async with Supervisor(preload([options]), folder) as supervisor:
        arrangement = ARRANGEMENTS["async-bus"]
        with Stack("blog", arrangement, supervisor, folder, options=options) as stack:
            servers = Servers(supervisor, stack, folder)
            await servers.start()
            yield servers
