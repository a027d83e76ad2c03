"""Guesses: questions asked before a run, the answers, and the comparison with the result.

The questions (at most three) are made from the scenario. A student who wrote down a wrong number
before the run remembers why it was wrong; a student who only watched remembers a table.

The answers are saved in the run's folder. A guess of milliseconds is good within a factor of two,
because only the order of magnitude can be known before the run. A wrong guess never makes a run
fail.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.results.paths import measured
from lab.results.paths import phase_key as key_of
from lab.results.result import NEVER, NOBODY, Guess, Result
from lab.scenarios.scenario import Scenario
from lab.support.text import did_you_mean

# ── Questions and their answers

_MOST_ASKED = 3
_MOST_NAMED = 2
_LATENCIES = ("p99", "p95", "p50", "mean")
_CALLED = {"read_feed": "a feed", "create_post": "a new post", "create_comment": "a comment"}
_WORDS = {"p99": "at p99", "p95": "at p95", "p50": "at p50", "mean": "on average"}
_NONE = {NOBODY, "none", "no one", "neither", "no"}
_ALL = {"all", "both", "every", "everybody", "each"}
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ms|s)?")

Kind = Literal["who", "latency", "count"]


class GuessError(ValueError):
    """An answer that is not valid; the message says what was seen and what was expected."""


@dataclass(frozen=True)
class Question:
    """One question. `key`: the name of its answer in Python. `variants`: those that an answer may
    name, or that need a number each. `paths`: by variant, the paths of the deciding figures."""

    key: str
    kind: Kind
    asks: str
    variants: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]

    @property
    def unit(self) -> str:
        return "ms" if self.kind == "latency" else ""

    @property
    def meant(self) -> str:
        """The form of a valid answer, in words."""
        if self.kind == "who":
            return f"{', '.join(self.variants)}, all, or {NOBODY}"
        return f"milliseconds, or {NEVER}" if self.kind == "latency" else "a whole number"

    def read(self, answer: object) -> float | str:
        """Parse an answer into the value that is saved. Raises GuessError."""
        if self.kind == "who":
            return _names(answer, self)
        return _number(answer, self)


def questions(scenario: Scenario) -> tuple[Question, ...]:
    """The questions of a scenario (one to three), in the order in which they are asked."""
    asked = max(scenario.load.mix, key=lambda name: (name == "read_feed", scenario.load.mix[name]))
    if not scenario.load.mix[asked]:
        asked = max(scenario.load.mix, key=lambda name: scenario.load.mix[name])
    broken = scenario.reported_phases()[1:-1]
    names = tuple(scenario.variants)
    few = names if len(names) <= _MOST_ASKED else (names[0], names[-1])
    when = _when(scenario)
    reads = "read the feed" if asked == "read_feed" else f"write {_CALLED[asked]}"
    found = [
        Question(
            key="fails",
            kind="who",
            asks=f"Which side fails? Where can fewer than 99 in 100 {reads}{when}?",
            variants=names,
            paths={
                name: tuple(f"{name}.{key_of(phase)}.{asked}.success" for phase in broken)
                for name in names
            },
        )
    ]
    if not scenario.in_sequence:
        figure = _figure_of_theory(scenario, few, asked)
        found.append(
            Question(
                key=f"{'feed' if asked == 'read_feed' else 'write'}_{figure}_ms",
                kind="latency",
                asks=f"How long does {_CALLED[asked]} take {_WORDS[figure]}{when}, in ms?",
                variants=few,
                paths={name: (f"{name}.during.{asked}.{figure}",) for name in few},
            )
        )
    if scenario.load.mix.get("create_comment") or scenario.load.mix.get("create_post"):
        found.append(
            Question(
                key="lost",
                kind="count",
                asks="How many comments and posts get lost for good, after their writer had a 201?",
                variants=few,
                paths={name: (f"{name}.data.lost",) for name in few},
            )
        )
    return tuple(found)


def _names(answer: object, question: Question) -> str:
    words = re.split(r"\s*(?:,|;|\band\b|\s)\s*", answer) if isinstance(answer, str) else answer
    if isinstance(answer, str) and answer.strip().lower() in _NONE | _ALL:
        return listed(question.variants if answer.strip().lower() in _ALL else ())
    if words is None or (isinstance(words, list | tuple | set | frozenset) and not words):
        return NOBODY
    if not isinstance(words, list | tuple | set | frozenset):
        raise GuessError(f"Saw {answer!r}; expected {question.meant}.")
    chosen = [_one_name(str(word), question) for word in words if str(word).strip()]
    if not chosen:
        raise GuessError(f"That was nothing; expected {question.meant}.")
    return listed(name for name in question.variants if name in chosen)


def _one_name(word: str, question: Question) -> str:
    near = [name for name in question.variants if name == word.lower()]
    near = near or [name for name in question.variants if word.lower() in name.split("-")]
    if len(near) == 1:
        return near[0]
    raise GuessError(
        f"There is no side {word!r}. {did_you_mean(word, question.variants)} "
        f"Expected {question.meant}."
    )


def _number(answer: object, question: Question) -> float | str:
    if isinstance(answer, str):
        word = answer.strip().lower()
        if question.kind == "latency" and word == NEVER:
            return NEVER
        written = _NUMBER.fullmatch(word)
        if written and (question.kind == "latency" or not written[2]):
            answer = float(written[1]) * (1_000 if written[2] == "s" else 1)
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        value = float(answer)
        whole = question.kind == "latency" or value.is_integer()
        if math.isinf(value) and value > 0 and question.kind == "latency":
            return NEVER
        if math.isfinite(value) and value >= 0 and whole:
            return value
    raise GuessError(f"Saw {answer!r}; expected {question.meant}.")


def listed(names: Iterable[str]) -> str:
    """Names as one text, separated by commas; `nobody` when there are none."""
    return ", ".join(names) or NOBODY


def _figure_of_theory(scenario: Scenario, names: Sequence[str], asked: str) -> str:
    """The latency figure that a prediction of the scenario uses, so that guess, prediction and
    measurement can be compared; p99 if no prediction uses one."""
    said = {" ".join(one.measured.split()) for one in scenario.predict}
    for figure in _LATENCIES:
        if any(f"{name}.during.{asked}.{figure}" in said for name in names):
            return figure
    return "p99"


def _when(scenario: Scenario) -> str:
    """The end of a question: under which faults or load, in words."""
    if scenario.in_sequence:
        return " while one of them is broken"
    broken = list(dict.fromkeys(f"{one.target}: {one.fault}" for one in scenario.method))
    if not broken:
        return " in the rush" if scenario.load.during_rate else " with nothing broken"
    more = ", ..." if len(broken) > _MOST_NAMED else ""
    return f" while this is on ({', '.join(broken[:_MOST_NAMED])}{more})"


# ── Guesses and the comparison with the result

FILE = "guesses.json"
WELL = 0.99
NEAR = 2.0
_AS_GUESSED = {"question", "asks", "variant", "unit", "guessed"}


def guesses(scenario: Scenario, answers: Mapping[str, object]) -> list[Guess]:
    """Parse answers by question key. An answer is a choice, a number for all variants, or a number
    for each (`{"sync-chain": 300, "async-bus": 5}`). Keys may be left out. Raises GuessError."""
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
    """One guess, without a measurement yet. Raises GuessError."""
    return Guess(
        question=question.key,
        asks=question.asks,
        variant=variant,
        unit=question.unit,
        guessed=question.read(answer),
    )


def keep(found: Sequence[Guess], folder: Path) -> None:
    """Save the guesses in the run's folder, before the run begins."""
    file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        json.dump([one.model_dump(include=_AS_GUESSED) for one in found], out, indent=2)
        out.write("\n")


def beside(found: Sequence[Guess], scenario: Scenario, result: Result) -> list[Guess]:
    """The guesses, completed with the measured value and the prediction of the same figure."""
    asked = {one.key: one for one in questions(scenario)}
    return [_judged(one, asked[one.question], result) for one in found if one.question in asked]


def keep_with(found: Sequence[Guess], scenario: Scenario, result: Result, folder: Path) -> None:
    """Attach the compared guesses to a result, and save it in the run's folder."""
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
