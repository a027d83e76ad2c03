"""What an exercise is, and what a check comes to: data only."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.exercises.bench import Bench

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
class Exercise:
    """`file` in the student's folder takes the place of the program `part` of an arrangement, which
    is started with `options`. `check` looks at a running stack, and notes what it saw."""

    name: str
    title: str
    arrangement: str
    part: str
    criteria: tuple[Criterion, ...]
    check: Callable[["Bench"], Awaitable[None]]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """What the student's file is called."""
        return f"{'bus' if self.part == 'event-bus' else self.part}.py"


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
    the last lines of the student's program, where they may help."""

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
