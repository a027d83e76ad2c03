"""Predict first: two or three questions, made from any scenario, and how their answers are read.

Whoever has only looked on remembers a table; whoever has written down a number beforehand, and was
wrong, remembers why. What becomes of the answers is in `lab.scenarios.guesses`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.meant import did_you_mean
from lab.scenarios.figures import phase_key as key_of
from lab.scenarios.guessed import NEVER, NOBODY
from lab.scenarios.scenario import Scenario

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
    """An answer that can't be meant; the message says what was seen and what was asked for."""


@dataclass(frozen=True)
class Question:
    """`key`: what its answer is called in Python. `variants`: who may be named, or of whom a number
    is asked. `paths`: by variant, the figures that decide it."""

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
        """What an answer looks like."""
        if self.kind == "who":
            return f"{', '.join(self.variants)}, all, or {NOBODY}"
        return f"milliseconds, or {NEVER}" if self.kind == "latency" else "a whole number"

    def read(self, answer: object) -> float | str:
        """The answer as it is kept. Raises GuessError, in a sentence."""
        if self.kind == "who":
            return _names(answer, self)
        return _number(answer, self)


def questions(scenario: Scenario) -> tuple[Question, ...]:
    """Two or three, in the order in which they are asked."""
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
    """Names as they are kept; `nobody` when there are none."""
    return ", ".join(names) or NOBODY


def _figure_of_theory(scenario: Scenario, names: Sequence[str], asked: str) -> str:
    """The one of which the scenario's theory speaks, so that all three can stand in a row."""
    said = {" ".join(one.measured.split()) for one in scenario.predict}
    for figure in _LATENCIES:
        if any(f"{name}.during.{asked}.{figure}" in said for name in names):
            return figure
    return "p99"


def _when(scenario: Scenario) -> str:
    """What is done to them, in words that need no knowledge of the file's."""
    if scenario.in_sequence:
        return " while one of them is broken"
    broken = list(dict.fromkeys(f"{one.target}: {one.fault}" for one in scenario.method))
    if not broken:
        return " in the rush" if scenario.load.during_rate else " with nothing broken"
    more = ", ..." if len(broken) > _MOST_NAMED else ""
    return f" while this is on ({', '.join(broken[:_MOST_NAMED])}{more})"
