"""Runs scenarios one after another for `lab run`.

Each outcome is printed at once. Runs that are no result run once more at the end; a list stops
where no run can be valid.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.commands.console import (
    ALL_ENDED,
    VERBOSITY,
    console,
    echo_error,
    echo_failure,
    interruptible,
    make_run_folder,
    note,
    run_until_done,
)
from lab.experiment import guesses
from lab.experiment.evaluate import requests_sent
from lab.experiment.runner import RepeatedRun
from lab.report.sections import headline
from lab.report.terminal.progress import ProgressDisplay
from lab.results.result import Guess, RunResult
from lab.results.run_folder import create_run_folder, drop_databases
from lab.scenarios.attached import AttachedVariant
from lab.scenarios.scenario import Scenario

MAX_BUSY_RUNS = 3
"""After this many runs in a row that are no result because of the machine's load, a list of
scenarios is not continued."""
BUSY_SHARE = 0.1
"""A run without a result had a busy machine, if more of its requests were late or never sent."""
FAILED_CODE = 3
"""The exit code of a run without a result."""


@dataclass
class ScenarioRun:
    """A scenario of the list, its runs, and its result once they are over."""

    scenario: Scenario
    answers: Sequence[Guess] = ()
    repeated: RepeatedRun | None = None
    result: RunResult | None = None

    @property
    def has_result(self) -> bool:
        return self.result is not None and self.result.valid

    @property
    def folder(self) -> Path:
        assert self.repeated
        return self.repeated.folder


@dataclass
class Series:
    """All scenarios of one command. `show` prints the result of a run that is over. `terse`: each
    has a line, and those that are no result run once more at the end. `on`: the Dask scheduler of
    the machines that run it, instead of this one."""

    runs: list[ScenarioRun]
    seed: int
    quick: bool
    repeat: int
    parent: Path
    keep_databases: bool
    predict: bool
    terse: bool
    show: Callable[[RunResult, Path], None]
    on: str | None = None
    _busy: int = field(default=0, init=False)

    def run(self) -> None:
        """Run all of them. Raises SystemExit when interrupted."""
        completed = self._run_each(self.runs)
        invalid = [one for one in self.runs if not one.has_result]
        if not (self.terse and completed and invalid):
            return
        count = "1 run was" if len(invalid) == 1 else f"{len(invalid)} runs were"
        note(f"\n{count} no result. Once more:")
        self._run_each(invalid)

    @property
    def exit_code(self) -> int:
        """The worst of all runs."""
        return max(one.result.exit_code if one.result else FAILED_CODE for one in self.runs)

    def _run_each(self, runs: Sequence[ScenarioRun]) -> bool:
        """Run these scenarios in turns; False when it was given up because the machine is busy."""
        self._busy = 0
        if self.on:
            for index, one in enumerate(runs):
                self._begin(one)
                self._run_on_cluster(one, self.on)
                self._finish(one, f"{index + 1} of {len(runs)}" if len(self.runs) > 1 else "")
            return True
        for number in range(self.repeat):
            for index, one in enumerate(runs):
                position = f"{index + 1} of {len(runs)}" if len(self.runs) > 1 else ""
                if number == 0:
                    self._begin(one)
                self._run_once(one, number, position)
                if number == self.repeat - 1:
                    self._finish(one, position)
                if self.terse and self._busy >= MAX_BUSY_RUNS:
                    self._say_that_it_stops(runs[index + 1 :])
                    return False
        return True

    def _begin(self, one: ScenarioRun) -> None:
        folder = make_run_folder(create_run_folder, one.scenario.name, self.parent)
        one.repeated = RepeatedRun(one.scenario, folder, self.seed, self.quick, self.repeat)
        if self.predict:
            guesses.save_guesses(one.answers, folder)

    def _run_once(self, one: ScenarioRun, number: int, position: str) -> None:
        from lab.cluster.errors import LabCannotRun

        assert one.repeated
        result = None
        try:
            display = ProgressDisplay(
                one.scenario, console(stderr=True), position, level=VERBOSITY.level
            )
            with display:
                run = one.repeated.run(number, display)
                result = run_until_done(run, _stopped(one.scenario)).result
        except LabCannotRun as error:  # this run has no result; the others have
            echo_failure(
                _with_position(position, f"{one.scenario.name}: {error}" if position else error)
            )
        finally:
            if not self.keep_databases:
                drop_databases(one.folder)
        self._busy = self._busy + 1 if result and was_machine_busy(result) else 0

    def _run_on_cluster(self, one: ScenarioRun, address: str) -> None:
        from lab.experiment.spread import run_on

        assert one.repeated
        with interruptible(), closing(run_on(one.repeated, address, note)) as outcomes:
            for arrived, outcome in enumerate(outcomes, 1):
                valid = outcome.result is not None and outcome.result.valid
                note(
                    f"run {arrived} of {self.repeat}: seed {outcome.seed}, "
                    + ("valid" if valid else outcome.failure or "no result")
                )

    def _finish(self, one: ScenarioRun, position: str) -> None:
        assert one.repeated
        result = one.repeated.result()
        if result is None:
            return
        if self.predict:
            guesses.attach_guesses(one.answers, one.scenario, result, one.folder)
        one.result = result
        if self.terse:
            note(_with_position(position, headline(result)))
        self.show(result, one.folder)

    def _say_that_it_stops(self, not_run: Sequence[ScenarioRun]) -> None:
        count = "1 scenario was" if len(not_run) == 1 else f"{len(not_run)} scenarios were"
        left = f" {count} not run." if not_run else ""
        echo_error(
            f"\nStopped: {MAX_BUSY_RUNS} runs in a row are no result, because this machine was too "
            f"busy to send the requests in time.{left} Close other programs (`lab doctor` shows "
            "the load), or lower --rate, and run it again."
        )


def _stopped(scenario: Scenario) -> str:
    """What is true after Ctrl-C."""
    if any(isinstance(spec, AttachedVariant) for spec in scenario.variants.values()):
        return "All faults are removed. The attached blog runs on, and keeps what was written."
    return ALL_ENDED


def was_machine_busy(result: RunResult) -> bool:
    """Whether a run is no result and its load was late or could not be sent: the machine's fault,
    and not that of the scenario."""
    unsent_or_late = result.load.late + result.load.dropped
    due = requests_sent(result) + result.load.dropped
    return not result.valid and unsent_or_late > BUSY_SHARE * due


def _with_position(position: str, text: Any) -> str:
    return f"{position:<9} {text}" if position else str(text)
