"""`lab run` without a run: the command line in this process, with figures recorded beforehand."""

from typing import ClassVar

import pytest

from lab.experiment import runner
from lab.experiment.evaluate import evaluated
from lab.experiment.runner import Run
from lab.load.samples import write_samples
from lab.results.result import Data, Result
from tests.support import kept_runs


class Recorded(Run):
    """Starts nothing. `order`: the scenario and seed of each run, in order."""

    order: ClassVar[list[tuple[str, int]]] = []

    async def __call__(self) -> Result:
        self.order.append((self.scenario.name, self.seed))
        of = kept_runs.samples(list(self.scenario.variants))
        result = kept_runs.result(of, list(self.scenario.variants), scenario=self.scenario.name)
        result.seed = self.seed
        for variant in result.variants:
            variant.data = Data(acknowledged=40, visible=40, lost=0, duplicated=0, unsettled=0)
        result.expectations, result.predictions = evaluated(self.scenario, result), []
        write_samples(self.folder / "samples.csv", of)
        result.save(self.folder / "result.json")
        return result


def play_back(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    """Replace every later run in this process by a recorded one."""
    monkeypatch.setattr(runner, "Run", Recorded)
    monkeypatch.setattr(Recorded, "order", [])
    return Recorded
