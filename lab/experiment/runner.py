"""Runs a scenario, once or several times, and writes its result.

All variants run at the same time, under the same schedule, with faults at the same moments, so that
only the arrangement differs. With `isolate`, they run one after another: then no variant slows down
another one, but the machine may behave differently a minute later. A run is not valid if a fault
did not act, if a service ended by itself, if the steady state did not hold before the fault, or if
nothing can be judged because the load generator fell behind; the result then says why.

One run is an anecdote, so a scenario can be run several times. Each run has its own seed, so that
no figure depends on one schedule. The runs of several scenarios are interleaved (1 2 1 2 ...), so
that a slow period of the machine affects all of them alike. With `isolate`, every other run takes
the variants in reverse order (A B, B A), because the second one may find a warmer machine.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.experiment import differences as noise
from lab.experiment.differences import compare_medians
from lab.experiment.evaluate import judge_expectations, validity_problems
from lab.experiment.lag import write_lag
from lab.experiment.lateness import bounded_run
from lab.experiment.pooling import RunOutcome, merge_loads, pool_runs
from lab.experiment.predictions import judge_predictions
from lab.experiment.trial import ProgressCallback, TrialResult, run_trial
from lab.load.samples import read_samples, write_samples
from lab.results.result import AnswerTexts, RunResult
from lab.results.run_folder import describe_environment
from lab.scenarios.scenario import Scenario

# ── One run


@dataclass
class Run:
    """One run of one scenario, in its own folder. `reverse`: isolated variants run from the last to
    the first."""

    scenario: Scenario
    folder: Path
    seed: int = 7
    quick: bool = False
    progress: ProgressCallback = field(default=lambda line: None)
    reverse: bool = False

    async def __call__(self) -> RunResult:
        """Run the scenario and save the result. Raises LabCannotRun when there is no result."""
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        machine = describe_environment()
        trials = [
            await run_trial(part, folder, self.seed, self.progress)
            for part, folder in self._split()
        ]
        if self.scenario.isolate:
            self._merge_files(trials)
        samples = [sample for trial in trials for sample in trial.samples]
        by_name = {variant.name: variant for trial in trials for variant in trial.variants}
        floor = noise.load_noise_floor(machine)
        result = RunResult(
            scenario=self.scenario.name,
            title=self.scenario.title,
            question=self.scenario.question,
            explain=self.scenario.explain,
            answer=AnswerTexts.model_validate(self.scenario.answer.model_dump()),
            seed=self.seed,
            quick=self.quick,
            started=started,
            environment=machine,
            isolated=self.scenario.isolate,
            load=merge_loads([trial.load for trial in trials]),
            variants=[by_name[name] for name in self.scenario.variants],
            noise_floor=floor,
            timeline=self.scenario.timeline().to_result(list(self.scenario.variants)),
        )
        bounded = bounded_run(samples, self.scenario, result)
        result.differences = compare_medians(
            [bounded], list(self.scenario.variants), self.scenario.reported_phases(), floor
        )
        exits = [death for trial in trials for death in trial.unexpected_exits]
        result.problems = [
            *(why for trial in trials for why in trial.problems),
            *validity_problems(self.scenario, result, exits),
        ]
        result.valid = not result.problems
        result.expectations = judge_expectations(self.scenario, result)
        result.predictions = judge_predictions(self.scenario, result, samples)
        result.save(self.folder / "result.json")
        comparable = not self.scenario.isolate and all(
            spec.is_own for spec in self.scenario.variants.values()
        )
        is_control = self.scenario.name == noise.CONTROL_SCENARIO and comparable
        share = noise.median_gap(samples) if is_control else None
        all_certain = all(one.exact for one in bounded)
        if result.valid and all_certain and share is not None:
            noise.save_noise(machine, share, started)
        return result

    def _split(self) -> Iterator[tuple[Scenario, Path]]:
        """The parts of the run, one after another: the variants that run at the same time, and the
        folder for their files."""
        if not self.scenario.isolate:
            yield self.scenario, self.folder
            return
        names = list(self.scenario.variants)
        for name in reversed(names) if self.reverse else names:
            folder = self.folder / f"variant-{name}"
            folder.mkdir(mode=0o700)
            self.progress({"alone": f"{name} alone", "variants": {}, "t": 0.0})
            alone = {name: self.scenario.variants[name]}
            yield self.scenario.model_copy(update={"variants": alone}), folder

    def _merge_files(self, trials: list[TrialResult]) -> None:
        """Merge the samples, lag readings and load figures of isolated variants into one folder."""
        write_samples(
            self.folder / "samples.csv", [sample for trial in trials for sample in trial.samples]
        )
        write_lag(self.folder / "lag.csv", [line for trial in trials for line in trial.readings])
        load = merge_loads([trial.load for trial in trials])
        (self.folder / "load.json").write_text(json.dumps(load.model_dump(), indent=2) + "\n")


# ── Repeated runs

MAX_REPEATS = 50


@dataclass
class RepeatedRun:
    """All runs of one scenario: a single run in `folder` itself, several in `folder/run-01`, ..."""

    scenario: Scenario
    folder: Path
    seed: int
    quick: bool
    repeats: int
    outcomes: list[RunOutcome] = field(default_factory=list)

    async def run(self, number: int, progress: Callable[[Mapping[str, Any]], None]) -> RunOutcome:
        """Run number `number`, counted from 0. Records a failure, then raises LabCannotRun."""
        folder = self.folder
        if self.repeats > 1:
            folder = self.folder / f"run-{number + 1:02d}"
            folder.mkdir(mode=0o700)
            progress({"run": f"run {number + 1} of {self.repeats}"})
        seed = self.seed + number
        run = Run(self.scenario, folder, seed, self.quick, progress, reverse=number % 2 == 1)
        try:
            result = await run()
        except LabCannotRun as error:
            self.outcomes.append(RunOutcome(seed, folder, None, failure=str(error)))
            raise
        self.outcomes.append(RunOutcome(seed, folder, result, read_samples(folder / "samples.csv")))
        return self.outcomes[-1]

    def result(self) -> RunResult | None:
        """The result of all runs so far, saved in the folder; None if no run has a result."""
        results = [outcome.result for outcome in self.outcomes if outcome.result]
        if self.repeats == 1 or not results:
            return results[0] if results else None
        result = pool_runs(self.scenario, self.outcomes)
        result.save(self.folder / "result.json")
        return result
