"""The log at power cuts: what it acknowledged is on disk, and nothing else counts.

The log is alone here. In a blog, publishers would repeat what a log has lost.
"""

import asyncio
import itertools
import random
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lab.bus.base import BusUnavailable
from lab.bus.connect import open_bus
from lab.bus.log.storage import LogFile
from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.cluster.supervisor import Supervisor
from lab.domain.events import Envelope
from tests.support.bus_places import an_event
from tests.support.power_cut import ForgetfulDisk
from tests.support.preload import needs_preload
from tests.support.trials import MUTANTS, PATIENCE_S, Power

pytestmark = [needs_preload, pytest.mark.slow]

PUBLISHERS = 4
ENOUGH = 20  # acknowledged events between two cuts
MANY = 200


@dataclass
class Publishers:
    """Publish one event after another; `acknowledged` has the number of each that the log took."""

    url: str
    acknowledged: dict[str, int] = field(default_factory=dict)

    async def publish(self, name: int) -> None:
        bus = open_bus(self.url)
        try:
            for number in itertools.count():
                event = an_event(f"{name}-{number}")
                with suppress(BusUnavailable):
                    (sequence,) = await bus.append([event])
                    self.acknowledged[Envelope.from_json(event).id] = sequence
                await asyncio.sleep(0.001)
        finally:
            await bus.close()

    async def wait_for_enough(self) -> None:
        before = len(self.acknowledged)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < before + ENOUGH:  # noqa: ASYNC110 - several publishers
                await asyncio.sleep(0.003)


async def lost_over_power_cuts(folder: Path, cuts: int, seed: int, bug: str = "") -> list[str]:
    """The acknowledged events that the log has lost or numbered anew, after `cuts` power cuts."""
    data = folder / "data"
    data.mkdir()
    disk = ForgetfulDisk(data, folder / "journals")
    power = Power(disk, random.Random(seed))
    with disk.preloaded(), reserve() as place:
        url = f"http://127.0.0.1:{place.port}"
        argv = ("--port", str(place.port), "--reuse-port", "--data", str(data / "bus"))
        module = "lab.bus.log.server"
        program = Program("log", module, argv, folder / "log.log", health=f"{url}/health")
        if bug:
            program = replace(program, module=MUTANTS, argv=(bug, module, *argv))
        async with Supervisor(["lab.bus.log.server"], folder) as supervisor:
            await supervisor.start(program, ready_within_s=PATIENCE_S)
            publishers = Publishers(url)
            tasks = [asyncio.create_task(publishers.publish(one)) for one in range(PUBLISHERS)]
            while power.cuts < cuts:
                await publishers.wait_for_enough()
                await power.cut(supervisor, ["log"])
            await publishers.wait_for_enough()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await supervisor.kill("log")
    disk.cut_power()
    assert disk.forgotten or cuts < MANY, "so many power cuts have undone nothing"
    with closing(LogFile(data / "bus" / "event-bus.db")) as log:
        assert log.damage is None
        return [
            event
            for event, sequence in publishers.acknowledged.items()
            if log.id_of(sequence) != event
        ]


async def test_a_power_cut_takes_nothing_that_the_log_acknowledged(tmp_path: Path) -> None:
    assert await lost_over_power_cuts(tmp_path, cuts=6, seed=1) == []


async def test_a_log_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    assert await lost_over_power_cuts(tmp_path, cuts=1, seed=1, bug="syncs nothing") != []


@pytest.mark.soak
async def test_two_hundred_power_cuts_take_nothing_from_the_log(tmp_path: Path) -> None:
    assert await lost_over_power_cuts(tmp_path, cuts=MANY, seed=2) == []
