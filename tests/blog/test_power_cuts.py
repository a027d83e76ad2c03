"""Power cuts under load: no acknowledged write is lost or doubled, and no alarm is raised.

`kill -9` proves nothing about syncs, because the system keeps what a killed process has written.
Here all processes end at once, and their disk forgets what was not synced
(`tests/support/power_cut.py`).
"""

import random
from pathlib import Path

import pytest

from lab.cluster.arrangements import preload
from lab.cluster.supervisor import Supervisor
from lab.results.result import CheckerCounts
from tests.experiment.test_mutants import CLEAN, CONTENT
from tests.support.power_cut import ForgetfulDisk
from tests.support.preload import needs_preload
from tests.support.trials import POWER_CUT, MutantTrial, Power, run_mutant_trial

pytestmark = needs_preload

FEW, MANY = 3, 25  # treatments; a quarter of them are two power cuts or more
SEEDS = range(8)


async def counts_after_power_cuts(
    trial: MutantTrial, folder: Path, seed: int
) -> tuple[CheckerCounts, Power]:
    data = folder / "data"
    data.mkdir()
    disk = ForgetfulDisk(data, folder / "journals")
    power = Power(disk, random.Random(seed))
    with disk.preloaded():
        async with Supervisor(preload([{}]), folder) as supervisor:
            counts = await run_mutant_trial(supervisor, folder, trial, power)
    return counts, power


def wrong_in(counts: CheckerCounts, folder: Path) -> dict[str, int]:
    """Every count that must be 0 and is not, by name."""
    wrong = {name: getattr(counts, name) for name in (*CLEAN, *CONTENT)}
    wrong["alarms"] = sum(log.read_text().count("ALARM") for log in folder.glob("*.log"))
    return {name: count for name, count in wrong.items() if count}


@pytest.mark.slow
@pytest.mark.parametrize("arrangement", ["async-bus", "sync-chain", "monolith"])
async def test_power_cuts_take_nothing_that_was_acknowledged(
    arrangement: str, tmp_path: Path
) -> None:
    trial = MutantTrial(arrangement, (POWER_CUT,) * FEW)
    counts, power = await counts_after_power_cuts(trial, tmp_path, seed=1)
    assert wrong_in(counts, tmp_path) == {}
    assert counts.acknowledged > 0
    assert power.cuts >= FEW


@pytest.mark.slow
async def test_a_service_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    trial = MutantTrial("async-bus", (POWER_CUT,), {}, "posts", "syncs nothing", "lost")
    counts, _ = await counts_after_power_cuts(trial, tmp_path, seed=1)
    assert counts.lost > 0


@pytest.mark.slow
async def test_a_log_that_does_not_sync_raises_an_alarm(tmp_path: Path) -> None:
    """Publishers publish again what it lost: the checker finds at most another order in the log."""
    trial = MutantTrial("async-bus", (POWER_CUT,) * FEW, {}, "event-bus", "syncs nothing")
    counts, _ = await counts_after_power_cuts(trial, tmp_path, seed=1)
    wrong = wrong_in(counts, tmp_path)
    assert wrong.pop("alarms") > 0
    assert wrong.keys() <= {"out_of_order"}


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
async def test_two_hundred_power_cuts_take_nothing_that_was_acknowledged(
    seed: int, tmp_path: Path
) -> None:
    trial = MutantTrial("async-bus", (POWER_CUT,) * MANY)
    counts, power = await counts_after_power_cuts(trial, tmp_path, seed)
    assert wrong_in(counts, tmp_path) == {}
    assert power.cuts >= MANY
    assert power.disk.forgotten > 0, "so many power cuts have undone nothing"
