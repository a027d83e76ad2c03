"""What an exercise is, and what a check comes to: data only."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMIT_S = 25.0
"""A check that takes longer is broken off; to end everything takes two seconds more at most."""


@dataclass(frozen=True)
class Criterion:
    """One thing that is looked at. `wanted` and `hint` are shown when it is not so."""

    key: str
    wanted: str
    hint: str
    points: int = 1


@dataclass(frozen=True)
class Piece:
    """`file` in the student's folder, and its place in an arrangement that is started with
    `options`: that of the program `part`. Where there is no such part it is a guest, and stands
    beside the others as soon as the check starts it."""

    arrangement: str
    part: str
    file: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exercise:
    """Each of the `pieces` stands in a stack of its own. `check` is given a bench
    (`lab/exercises/testbed.py`) for each, in the same order; it looks, and notes what it saw."""

    name: str
    title: str
    pieces: tuple[Piece, ...]
    criteria: tuple[Criterion, ...]
    check: Callable[..., Awaitable[None]]

    @property
    def files(self) -> tuple[str, ...]:
        """What the student's files are called."""
        return tuple(piece.file for piece in self.pieces)


@dataclass(frozen=True)
class Step:
    """A criterion, and what was seen of it."""

    criterion: Criterion
    passed: bool
    seen: str
    looked_at: bool = True


@dataclass(frozen=True)
class Verdict:
    """What a check came to. `trouble`: why it could not be carried to its end, "" if it was; `log`:
    the last lines of the student's programs, where they may help."""

    exercise: str
    steps: tuple[Step, ...]
    seconds: float
    trouble: str = ""
    log: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.trouble and all(step.passed for step in self.steps)

    @property
    def score(self) -> int:
        """The points of what was seen to be as wanted."""
        return sum(step.criterion.points for step in self.steps if step.passed)

    @property
    def max_score(self) -> int:
        return sum(step.criterion.points for step in self.steps)
