"""`lab.run` and what belongs to it: scenarios, guesses before a run, saved runs afterwards.

Names and messages are those of the command line. An invalid argument raises ValueError or
LookupError with the sentence that the command line would print. LabCannotRun means that there is
no result, because the lab itself could not run reliably. A run whose expectations do not hold has
a result like any other: see `result.exit_code`, `result.valid`, `result.expectations`.
"""

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from lab.api.display import NotebookSequence
from lab.api.progress import notebook_progress
from lab.api.result import Result
from lab.api.tasks import LoopThread
from lab.cluster.attached import read_attachments
from lab.cluster.errors import LabCannotRun
from lab.experiment import guesses
from lab.experiment.guesses import GuessError, GuessQuestion, build_questions
from lab.experiment.runner import MAX_REPEATS, RepeatedRun
from lab.report.html import notebook, page
from lab.report.sections import format_with_unit
from lab.report.terminal import listing
from lab.results.result import Guess
from lab.results.run_folder import create_run_folder, drop_databases, find_run
from lab.results.saved_names import LAST, RUNS
from lab.scenarios import catalogue
from lab.scenarios.overrides import apply_overrides, load_targets
from lab.scenarios.scenario import Scenario

Progress = Callable[[Mapping[str, Any]], None]
P = ParamSpec("P")
T = TypeVar("T")


class Scenarios(NotebookSequence[Scenario]):
    """The scenarios that come with the lab, in the recommended order."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that `lab.run` accepts."""
        return tuple(scenario.name for scenario in self)

    def __repr__(self) -> str:
        return f"<{len(self)} scenarios: {', '.join(self.names)}>"

    def _text(self) -> str:
        return notebook.as_text(lambda console: listing.show_scenarios(self, console))

    def _html(self) -> str:
        rows = [
            [scenario.name, scenario.title, " ".join(scenario.question.split())]
            for scenario in self
        ]
        headings = ["name", "what happens", "predict first"]
        return notebook.cell_html(notebook.table("Scenarios", headings, rows, left_columns=3))


class Guesses(NotebookSequence[Guess]):
    """Guesses about the result of a scenario; `lab.run(…, predict=guesses)` saves them."""

    def __init__(
        self,
        scenario: Scenario,
        scenario_questions: Sequence[GuessQuestion],
        guess_list: Sequence[Guess],
    ) -> None:
        super().__init__(guess_list)
        self.scenario, self._question_text = scenario.name, scenario.question
        self.questions = tuple(scenario_questions)

    def __repr__(self) -> str:
        guesses = (f"{guess.question} {guess.variant} {guess.guessed}" for guess in self)
        return f"<Guesses for {self.scenario}: {', '.join(guesses) or 'none yet'}>"

    def _rows(self) -> Iterator[list[str]]:
        for question in self.questions:
            answers = ", ".join(
                f"{guess.variant} {format_with_unit(guess.guessed, guess.unit)}".strip()
                for guess in self
                if guess.question == question.key
            )
            each = "" if question.kind == "who" else f" for each of {', '.join(question.variants)}"
            yield [question.key, question.text, question.expected + each, answers]

    def _text(self) -> str:
        lines = [" ".join(self._question_text.split())] if self._question_text.strip() else []
        for key, question, expected, answer in self._rows():
            lines += [
                f"{key}: {question}",
                f"    you say: {answer}" if answer else f"    ({expected})",
            ]
        return "\n".join(lines)

    def _html(self) -> str:
        headings = ["name", "question", "expected", "you say"]
        table = notebook.table(
            f"Predict first: {self.scenario}", headings, self._rows(), left_columns=4
        )
        return notebook.cell_html(
            notebook.as_paragraph(self._question_text),
            table,
        )


def scenarios(*tags: str) -> Scenarios:
    """The built-in scenarios; with tags, those that have one of them. Raises UnknownName."""
    return Scenarios(catalogue.find_tagged(tags) if tags else catalogue.builtin_scenarios())


def report(run: str | Path = LAST) -> Result:
    """Load a saved run: the last one here, the newest one of a scenario by its name, or one by its
    folder or its `result.json`. Raises ResultError."""
    path = Path(run).expanduser()
    is_path = path.exists() or isinstance(run, Path) or os.sep in run
    return Result.load_run(path if is_path else find_run(str(run)))


def predict(name: str | Scenario, **answers: object) -> Guesses:
    """The two or three questions that a scenario asks, and your answers to them, checked.

        lab.predict("slow-service")                     # shows the questions
        mine = lab.predict("slow-service", fails="nobody", feed_p50_ms=300, lost=0)
        lab.run("slow-service", predict=mine)

    A number applies to all variants; a dict has one for each, as
    `{"sync-chain": 300, "async-bus": 5}`. Raises GuessError (a ValueError) for an invalid answer.
    """
    scenario = _find_scenario(name)
    return Guesses(scenario, build_questions(scenario), guesses.parse_guesses(scenario, answers))


def _with_parameters_of(
    other: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Give a function the parameters of a coroutine function, for type checkers and `help`."""

    def copy_signature(function: Callable[..., T]) -> Callable[P, T]:
        function.__signature__ = signature(other)  # type: ignore[attr-defined]
        return function

    return copy_signature


async def arun(
    name: str | Scenario,
    *,
    quick: bool = False,
    seed: int = 7,
    rate: float | None = None,
    repeat: int = 1,
    only: Sequence[str] | str | None = None,
    bus: str | None = None,
    with_: str | Path | None = None,
    replace: Mapping[str, str | Path] | None = None,
    at: str | Path | Sequence[str | Path] = (),
    keep: str | Path | None = None,
    predict: Guesses | Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a scenario (its name, or the path of a .toml file) in the running loop.

    - `rate`: arrivals/s for each variant.
    - `repeat`: number of runs, pooled in one result.
    - `only`: the variants to run.
    - `with_`: a target's file; its external services are one more variant.
    - `replace`: target files by name of the service that each replaces, as
      `{"comments": "mine.toml"}`.
    - `at`: one or more files, each of which describes blogs that run already on an engine
      (docs/beyond-one-machine.md); these are the only variants then.
    - `keep`: the folder under which the run is saved with its databases; without it, the run is
      saved under `runs/` without databases.
    - `predict`: guesses, saved with the run.
    - `progress`: a function, called five times a second with the state of the run. Without one, a
      notebook shows a line below the cell.

    When the call is cancelled, or `progress` raises, all faults are removed and all processes end.

    Raises LookupError, ScenarioError, GuessError or ValueError before anything starts, and
    LabCannotRun when the lab could not run.
    """
    variants = [only] if isinstance(only, str) else only
    if rate is not None and not 0.1 <= rate <= 1_000:
        raise ValueError(f"rate = {rate}: expected 0.1 to 1000 arrivals a second.")
    if not 1 <= repeat <= MAX_REPEATS:
        raise ValueError(f"repeat = {repeat}: expected 1 to {MAX_REPEATS} runs.")
    if at and (with_ or replace or bus):
        raise ValueError("at runs what is there: leave out with_, replace and bus.")
    files = [at] if isinstance(at, str | Path) else at
    scenario = apply_overrides(
        _find_scenario(name),
        bus=bus,
        only=variants,
        rate=rate,
        quick=quick,
        at=read_attachments([Path(file).expanduser() for file in files]),
        **load_targets(with_, replace or {}),
    )
    checked_guesses = _check_guesses(scenario, predict)
    series = RepeatedRun(
        scenario, create_run_folder(scenario.name, _output_folder(keep)), seed, quick, repeat
    )
    if checked_guesses is not None:
        guesses.save_guesses(checked_guesses, series.folder)
    with (
        _dropping_databases(series.folder, unless=keep is not None),
        notebook_progress(scenario, unless=progress is not None) as shown,
    ):
        for number in range(repeat):
            try:
                await series.run(number, progress or shown)
            except LabCannotRun:
                if number == repeat - 1 and series.result() is None:
                    raise
    result = series.result()
    assert result is not None
    if checked_guesses is not None:
        guesses.attach_guesses(checked_guesses, scenario, result, series.folder)
    with suppress(OSError):  # A page that can't be written does not spoil the run.
        page.save(result, series.folder)
    return Result.load_run(series.folder)


@_with_parameters_of(arun)
def run(*args: Any, **kwargs: Any) -> Result:
    """As `arun`, but returns when the run is over: for scripts, and for notebook cells.

    An interrupt removes all faults and ends all processes before it is raised.
    """
    with LoopThread() as loop:
        return loop.run(arun(*args, **kwargs))


def _find_scenario(name: str | Scenario) -> Scenario:
    return name if isinstance(name, Scenario) else catalogue.find(name)


def _output_folder(keep: str | Path | None) -> Path:
    return RUNS if keep is None else Path(keep).expanduser()


def _check_guesses(
    scenario: Scenario, predict: Guesses | Mapping[str, object] | None
) -> Sequence[Guess] | None:
    if predict is None:
        return None
    if isinstance(predict, Guesses):
        if predict.scenario != scenario.name:
            raise GuessError(f"predict: these are guesses about {predict.scenario}.")
        # Checked again: the run may have other variants than the questions.
        known = {
            (question.key, variant)
            for question in build_questions(scenario)
            for variant in question.variants
        }
        return [
            guess
            for guess in predict
            if not guess.variant or (guess.question, guess.variant) in known
        ]
    return guesses.parse_guesses(scenario, predict)


@contextmanager
def _dropping_databases(folder: Path, unless: bool) -> Iterator[None]:
    try:
        yield
    finally:
        if not unless:
            drop_databases(folder)
