"""`lab run` without a run: the command line in this process, with figures recorded beforehand."""

from typing import ClassVar

import pytest

from lab.experiment import runner
from lab.experiment.evaluate import judge_expectations
from lab.experiment.runner import Run
from lab.load.samples import write_samples
from lab.results.result import CheckerCounts, RunResult
from tests.support import kept_runs


class RecordedRun(Run):
    """Starts nothing. `order`: the scenario and seed of each run, in order. `busy`: how many of the
    next runs of a scenario are no result, because the machine was busy."""

    order: ClassVar[list[tuple[str, int]]] = []
    busy: ClassVar[dict[str, int]] = {}

    async def __call__(self) -> RunResult:
        self.order.append((self.scenario.name, self.seed))
        run_samples = kept_runs.samples(list(self.scenario.variants))
        result = kept_runs.result(
            run_samples, list(self.scenario.variants), scenario=self.scenario.name
        )
        result.seed = self.seed
        for variant in result.variants:
            variant.data = CheckerCounts(
                acknowledged=40, visible=40, lost=0, duplicated=0, unsettled=0
            )
        if self.busy.get(self.scenario.name):
            self.busy[self.scenario.name] -= 1
            result.valid, result.problems = False, ["The load was late."]
            result.load.late = len(run_samples)
        result.expectations, result.predictions = judge_expectations(self.scenario, result), []
        write_samples(self.folder / "samples.csv", run_samples)
        result.save(self.folder / "result.json")
        return result


def replay_recorded_runs(monkeypatch: pytest.MonkeyPatch) -> type[RecordedRun]:
    """Replace every later run in this process by a recorded one."""
    monkeypatch.setattr(runner, "Run", RecordedRun)
    monkeypatch.setattr(RecordedRun, "order", [])
    monkeypatch.setattr(RecordedRun, "busy", {})
    return RecordedRun
