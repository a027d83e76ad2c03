"""A scenario several times over: one run is an anecdote.

The runs of several scenarios are interleaved (one two one two ...), so that a slow quarter of an
hour of the machine hits all of them alike, and each run has a seed of its own, so that no figure
hangs on one schedule. Where the variants of a scenario don't run side by side, every other run
takes them in reverse (A B, B A): who comes second may find a warmer machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.load.samples import read_samples
from lab.scenarios.pooled import Outcome, pooled
from lab.scenarios.result import Result
from lab.scenarios.runner import Run
from lab.scenarios.scenario import Scenario

MOST = 50


@dataclass
class Repeated:
    """All runs of one scenario: one in `folder` itself, several in `folder/run-01`, ..."""

    scenario: Scenario
    folder: Path
    seed: int
    quick: bool
    repeats: int
    outcomes: list[Outcome] = field(default_factory=list)

    async def run(self, number: int, progress: Callable[[Mapping[str, Any]], None]) -> Outcome:
        """Run number `number`, counted from 0. Raises LabCannotRun, having noted it."""
        folder = self.folder
        if self.repeats > 1:
            folder = self.folder / f"run-{number + 1:02d}"
            folder.mkdir(mode=0o700)
            progress({"run": f"run {number + 1} of {self.repeats}"})
        seed = self.seed + number
        run = Run(self.scenario, folder, seed, self.quick, progress, in_reverse=number % 2 == 1)
        try:
            result = await run()
        except LabCannotRun as error:
            self.outcomes.append(Outcome(seed, folder, None, why_none=str(error)))
            raise
        self.outcomes.append(Outcome(seed, folder, result, read_samples(folder / "samples.csv")))
        return self.outcomes[-1]

    def result(self) -> Result | None:
        """Of all runs up to now, kept in the folder; None when not one of them has a result."""
        results = [one.result for one in self.outcomes if one.result]
        if self.repeats == 1 or not results:
            return results[0] if results else None
        result = pooled(self.scenario, self.outcomes)
        result.save(self.folder / "result.json")
        return result
