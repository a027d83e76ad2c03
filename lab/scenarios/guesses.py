"""Guesses: answers given before a run, kept in its folder, and set beside what came out.

A guess of milliseconds is good within a factor of two: orders of magnitude are what one can know
beforehand. It judges nobody, and no run fails by it.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.meant import did_you_mean
from lab.scenarios.figures import measured
from lab.scenarios.guessed import NEVER, Guess
from lab.scenarios.questions import GuessError, Kind, Question, listed, questions
from lab.scenarios.result import Result
from lab.scenarios.scenario import Scenario

FILE = "guesses.json"
WELL = 0.99
NEAR = 2.0
_AS_GUESSED = {"question", "asks", "variant", "unit", "guessed"}


def guesses(scenario: Scenario, answers: Mapping[str, object]) -> list[Guess]:
    """Answers by the questions' keys: a choice, a number for all variants, or a number for each
    (`{"sync-chain": 300, "async-bus": 5}`). Raises GuessError; questions may be left out."""
    asked = {one.key: one for one in questions(scenario)}
    found = []
    for key, answer in answers.items():
        if key not in asked:
            raise GuessError(f"{scenario.name} has no question {key!r}. {did_you_mean(key, asked)}")
        question = asked[key]
        for variant, one in _by_variant(question, answer):
            try:
                found.append(guess(question, variant, one))
            except GuessError as error:
                raise GuessError(f"{key}: {error}") from None
    return found


def guess(question: Question, variant: str, answer: object) -> Guess:
    """One answer, not yet measured. Raises GuessError."""
    return Guess(
        question=question.key,
        asks=question.asks,
        variant=variant,
        unit=question.unit,
        guessed=question.read(answer),
    )


def keep(found: Sequence[Guess], folder: Path) -> None:
    """Write them into the run's folder, before it begins."""
    file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        json.dump([one.model_dump(include=_AS_GUESSED) for one in found], out, indent=2)
        out.write("\n")


def beside(found: Sequence[Guess], scenario: Scenario, result: Result) -> list[Guess]:
    """The same with what was measured, and what theory said of the very same figure."""
    asked = {one.key: one for one in questions(scenario)}
    return [_judged(one, asked[one.question], result) for one in found if one.question in asked]


def keep_with(found: Sequence[Guess], scenario: Scenario, result: Result, folder: Path) -> None:
    """Put them into a result, and into its document in the run's folder."""
    result.guesses = beside(found, scenario, result)
    result.save(folder / "result.json")


def _judged(one: Guess, question: Question, result: Result) -> Guess:
    update: dict[str, Any] = {}
    if question.kind == "who":
        seen = _who_failed(question, result)
        update = {"measured": seen, "hit": None if seen is None else seen == one.guessed}
    else:
        path = question.paths[one.variant][0]
        figure = measured(path, result)
        value: float | str | None = None if figure is None else float(figure)
        if value is None and question.kind == "latency" and _nobody_answered(path, result):
            value = NEVER
        update = {"measured": value, "hit": _is_near(one.guessed, value, question.kind)}
        for theory in result.predictions:
            if theory.measured_as == path:
                update |= {"theory": theory.predicted, "theory_by": theory.predicted_by}
    return one.model_copy(update=update)


def _who_failed(question: Question, result: Result) -> str | None:
    worst = {}
    for name, paths in question.paths.items():
        shares = [share for path in paths if (share := measured(path, result)) is not None]
        if not shares:
            return None
        worst[name] = min(shares)
    return listed(name for name, share in worst.items() if share < WELL)


def _nobody_answered(path: str, result: Result) -> bool:
    counts = path.rpartition(".")[0]
    return bool(measured(f"{counts}.sent", result)) and measured(f"{counts}.ok", result) == 0


def _is_near(guessed: float | str, seen: float | str | None, kind: Kind) -> bool | None:
    if seen is None:
        return None
    if isinstance(guessed, str) or isinstance(seen, str) or kind == "count":
        return guessed == seen
    low, high = sorted((guessed, seen))
    return high <= NEAR * low or high < 1


def _by_variant(question: Question, answer: object) -> Iterator[tuple[str, object]]:
    if question.kind == "who":
        yield "", answer
    elif isinstance(answer, Mapping):
        for name, one in answer.items():
            if name not in question.variants:
                raise GuessError(
                    f"{question.key}: it is not asked of {name!r}. "
                    f"{did_you_mean(str(name), question.variants)}"
                )
            yield name, one
    else:
        yield from ((name, answer) for name in question.variants)
