"""`lab.run` and what belongs to it: scenarios, guesses before a run, saved runs afterwards.

Names and messages are those of the command line. An invalid argument raises ValueError or
LookupError with the sentence that the command line would print. LabCannotRun means that there is
no result, because the lab itself could not run reliably. A run whose expectations do not hold has
a result like any other: see `result.exit_code`, `result.valid`, `result.expectations`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, overload

from lab.api.display import Shown
from lab.api.result import Result
from lab.api.tasks import OwnLoop
from lab.cluster.errors import LabCannotRun
from lab.experiment import guesses
from lab.experiment.guesses import GuessError, Question, questions
from lab.experiment.runner import MOST, Repeated
from lab.report.charts.svg import words
from lab.report.html import notebook, page
from lab.report.terminal import listing
from lab.report.terminal.sections import figure
from lab.results.result import Guess
from lab.results.run_folder import RUNS, drop_databases, new_folder
from lab.scenarios import catalogue
from lab.scenarios.overrides import prepared, theirs
from lab.scenarios.scenario import Scenario

Progress = Callable[[Mapping[str, Any]], None]


class Scenarios(Shown, Sequence[Scenario]):
    """The scenarios that come with the lab, in the recommended order."""

    def __init__(self, found: Sequence[Scenario]) -> None:
        self._found = tuple(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that `lab.run` accepts."""
        return tuple(one.name for one in self._found)

    @overload
    def __getitem__(self, place: int) -> Scenario: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Scenario]: ...
    def __getitem__(self, place: int | slice) -> Scenario | Sequence[Scenario]:
        return self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<{len(self)} scenarios: {', '.join(self.names)}>"

    def _text(self) -> str:
        return notebook.as_text(lambda console: listing.scenarios(self._found, console))

    def _html(self) -> str:
        rows = [[one.name, one.title, " ".join(one.question.split())] for one in self._found]
        headings = ["name", "what happens", "predict first"]
        return notebook.piece(notebook.table("Scenarios", headings, rows, left=3))


class Guesses(Shown, Sequence[Guess]):
    """Guesses about the result of a scenario; `lab.run(…, predict=guesses)` saves them."""

    def __init__(
        self, scenario: Scenario, asked: Sequence[Question], found: Sequence[Guess]
    ) -> None:
        self.scenario, self.questions, self._found = scenario.name, tuple(asked), tuple(found)
        self._asks = scenario.question

    @overload
    def __getitem__(self, place: int) -> Guess: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Guess]: ...
    def __getitem__(self, place: int | slice) -> Guess | Sequence[Guess]:
        return self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        said = ", ".join(f"{one.question} {one.variant} {one.guessed}" for one in self._found)
        return f"<Guesses for {self.scenario}: {said or 'none yet'}>"

    def _rows(self) -> Iterator[list[str]]:
        for one in self.questions:
            given = [guess for guess in self._found if guess.question == one.key]
            said = ", ".join(
                f"{guess.variant} {figure(guess.guessed, guess.unit)}".strip() for guess in given
            )
            of = "" if one.kind == "who" else f" for each of {', '.join(one.variants)}"
            yield [one.key, one.asks, one.meant + of, said]

    def _text(self) -> str:
        lines = [" ".join(self._asks.split())] if self._asks.strip() else []
        for key, asks, meant, said in self._rows():
            lines += [f"{key}: {asks}", f"    {f'you say: {said}' if said else f'({meant})'}"]
        return "\n".join(lines)

    def _html(self) -> str:
        headings = ["name", "question", "expected", "you say"]
        table = notebook.table(f"Predict first: {self.scenario}", headings, self._rows(), left=4)
        return notebook.piece(f"<p>{words(self._asks)}</p>" if self._asks.strip() else "", table)


def scenarios(*tags: str) -> Scenarios:
    """The built-in scenarios; with tags, those that have one of them. Raises UnknownName."""
    return Scenarios(catalogue.tagged(tags) if tags else catalogue.built_in())


def report(folder: str | Path) -> Result:
    """Load a saved run, by its folder or its `result.json`. Raises ResultError."""
    return Result.kept_in(folder)


def predict(name: str | Scenario, **answers: object) -> Guesses:
    """The two or three questions that a scenario asks, and your answers to them, checked.

        lab.predict("slow-service")                     # shows the questions
        mine = lab.predict("slow-service", fails="nobody", feed_p50_ms=300, lost=0)
        lab.run("slow-service", predict=mine)

    A number applies to all variants; a dict has one for each, as
    `{"sync-chain": 300, "async-bus": 5}`. Raises GuessError (a ValueError) for an invalid answer.
    """
    scenario = _found(name)
    return Guesses(scenario, questions(scenario), guesses.guesses(scenario, answers))


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
    - `keep`: the folder under which the run is saved with its databases; without it, the run is
      saved under `runs/` without databases.
    - `predict`: guesses, saved with the run.
    - `progress`: a function, called five times a second with the state of the run.

    When the call is cancelled, or `progress` raises, all faults are removed and all processes end.

    Raises LookupError, ScenarioError, GuessError or ValueError before anything starts, and
    LabCannotRun when the lab could not run.
    """
    wanted = [only] if isinstance(only, str) else only
    if rate is not None and not 0.1 <= rate <= 1_000:
        raise ValueError(f"rate = {rate}: expected 0.1 to 1000 arrivals a second.")
    if not 1 <= repeat <= MOST:
        raise ValueError(f"repeat = {repeat}: expected 1 to {MOST} runs.")
    added = theirs(with_, replace or {})
    scenario = prepared(_found(name), bus=bus, only=wanted, rate=rate, quick=quick, **added)
    guessed = _guessed(scenario, predict)
    series = Repeated(scenario, new_folder(scenario.name, _under(keep)), seed, quick, repeat)
    if guessed is not None:
        guesses.keep(guessed, series.folder)
    with _databases_dropped(series.folder, unless=keep is not None):
        for number in range(repeat):
            try:
                await series.run(number, progress or _nobody)
            except LabCannotRun:
                if number == repeat - 1 and series.result() is None:
                    raise
    result = series.result()
    assert result is not None
    if guessed is not None:
        guesses.keep_with(guessed, scenario, result, series.folder)
    with suppress(OSError):  # A page that can't be written does not spoil the run.
        page.keep(result, series.folder)
    return Result.kept_in(series.folder)


def run(
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
    keep: str | Path | None = None,
    predict: Guesses | Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Result:
    """As `arun`, but returns when the run is over: for scripts, and for notebook cells.

    An interrupt removes all faults and ends all processes before it is raised.
    """
    with OwnLoop() as loop:
        return loop.do(
            arun(
                name,
                quick=quick,
                seed=seed,
                rate=rate,
                repeat=repeat,
                only=only,
                bus=bus,
                with_=with_,
                replace=replace,
                keep=keep,
                predict=predict,
                progress=progress,
            )
        )


def _found(name: str | Scenario) -> Scenario:
    return name if isinstance(name, Scenario) else catalogue.find(name)


def _under(keep: str | Path | None) -> Path:
    return RUNS if keep is None else Path(keep).expanduser()


def _guessed(
    scenario: Scenario, predict: Guesses | Mapping[str, object] | None
) -> Sequence[Guess] | None:
    if predict is None:
        return None
    if isinstance(predict, Guesses):
        if predict.scenario != scenario.name:
            raise GuessError(f"predict: these are guesses about {predict.scenario}.")
        # Checked again: the run may have other variants than the questions.
        known = {(one.key, variant) for one in questions(scenario) for variant in one.variants}
        return [one for one in predict if not one.variant or (one.question, one.variant) in known]
    return guesses.guesses(scenario, predict)


@contextmanager
def _databases_dropped(folder: Path, unless: bool) -> Iterator[None]:
    try:
        yield
    finally:
        if not unless:
            drop_databases(folder)


def _nobody(line: Mapping[str, Any]) -> None:
    pass
