"""How often the lab claims a difference where there is none: the chain compared with itself.

Both variants are the same code under the same schedule, so every claimed difference is a false
alarm. Each run is judged as usual: by its intervals, and by the noise floor that the earlier runs
have left (the first run by the assumed floor). The phases are short and the rate is high: what
counts is the number of runs, and of figures per run that could go wrong.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from lab.cluster.errors import LabCannotRun
from lab.experiment import differences
from lab.experiment.runner import Run
from lab.results.result import RunResult
from lab.results.run_folder import describe_environment
from lab.scenarios.catalogue import find
from lab.scenarios.spec import PhasesSpec
from tests.bench.table import Figure, at_most, shown

SEEDS = range(1, 101)
RATE = 80
PHASES = PhasesSpec(before=1, during=2, after=0.5)


def figures() -> Iterator[Figure]:
    twins = find(differences.CONTROL_SCENARIO).only(differences.TWINS).at_rate(RATE)
    scenario = twins.model_copy(update={"phases": PHASES, "expect": (), "predict": ()})
    ran: list[RunResult] = []
    with (
        tempfile.TemporaryDirectory() as place,
        patch.dict(os.environ, LAB_STATE=place),
    ):
        for seed in SEEDS:
            folder = Path(place) / f"seed-{seed}"
            folder.mkdir()
            with suppress(LabCannotRun):
                ran.append(asyncio.run(Run(scenario, folder, seed=seed)()))
        floor = differences.load_noise_floor(describe_environment())
    honest = [one for one in ran if one.valid]
    lines = [line for one in honest for line in one.differences]
    claimed = [line for line in lines if line.verdict != "no difference shown"]
    alarmed = [one for one in honest if any(line in claimed for line in one.differences)]
    beyond_1 = [line for line in lines if not line.low <= 1 <= line.high]
    seen = f"{len(honest)} honest runs of {len(SEEDS)}"
    yield at_most(
        f"false alarms, of {seen}: runs in which equal twins are said to differ",
        5,
        [100 * len(alarmed) / max(1, len(honest))],
        "%",
    )
    yield at_most(
        f"the same, of {len(lines)} lines", 5, [100 * len(claimed) / max(1, len(lines))], "%"
    )
    yield shown(
        "lines whose interval alone, without the noise floor, excludes 1",
        [100 * len(beyond_1) / max(1, len(lines))],
        "%",
    )
    yield shown(f"the noise floor at the end, of {floor.runs} runs", [100 * floor.share], "%")
