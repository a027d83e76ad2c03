"""The data of an exercise and of a check's verdict."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMIT_S = 25.0
"""The time limit of a check; ending all its processes takes at most two seconds more."""


@dataclass(frozen=True)
class GradedCriterion:
    """One thing that a check tests. `requirement` and `hint` are shown if it fails."""

    key: str
    requirement: str
    hint: str
    points: int = 1


@dataclass(frozen=True)
class Submission:
    """`file` in the student's folder, which runs as the `program` of an arrangement.

    `options` are the arrangement's options. If it has no such program, the file is a guest: an
    extra program that the check starts when it is needed.
    """

    arrangement: str
    program: str
    file: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exercise:
    """Each submission has its own stack. `check` gets a testbed (`lab/exercises/testbed.py`) for
    each, in the same order, and records what it observes."""

    name: str
    title: str
    submissions: tuple[Submission, ...]
    criteria: tuple[GradedCriterion, ...]
    check: Callable[..., Awaitable[None]]

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the student's files."""
        return tuple(submission.file for submission in self.submissions)


@dataclass(frozen=True)
class CriterionResult:
    """The outcome of one criterion; `observed` is what the check saw."""

    criterion: GradedCriterion
    passed: bool
    observed: str
    tested: bool = True


@dataclass(frozen=True)
class Grade:
    """The outcome of a check.

    `trouble`: why the check could not be completed, "" if it was. `log`: the last lines of the
    student's programs, if they may help.
    """

    exercise: str
    results: tuple[CriterionResult, ...]
    seconds: float
    trouble: str = ""
    log: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.trouble and all(step.passed for step in self.results)

    @property
    def score(self) -> int:
        """The points of all criteria that passed."""
        return sum(step.criterion.points for step in self.results if step.passed)

    @property
    def max_score(self) -> int:
        return sum(step.criterion.points for step in self.results)
