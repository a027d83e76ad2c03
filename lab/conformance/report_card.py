"""What a report card says: data only."""

from collections.abc import Iterable
from dataclasses import dataclass

UNSEEN = "not looked at, for what comes before it failed"


@dataclass(frozen=True)
class Criterion:
    """One thing that is looked at. `hint` is shown when it does not hold; `claim` and `scenario`,
    by their names in the lab, explain it."""

    key: str
    wanted: str
    hint: str
    claim: str = ""
    scenario: str = ""


@dataclass(frozen=True)
class Line:
    """What was seen of a criterion. `held` is None where it could not be looked at."""

    criterion: Criterion
    held: bool | None
    seen: str


@dataclass(frozen=True)
class Part:
    """The contract, or an outage, with what was looked at in it."""

    key: str
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Card:
    """`unmoved`: the services before which no door can stand. `trouble`: why the system could not
    be looked at to the end, "" where it could; `log`: the last lines of who made it."""

    target: str
    title: str
    services: tuple[str, ...]
    bus: str | None
    unmoved: tuple[str, ...]
    parts: tuple[Part, ...]
    seconds: float
    trouble: str = ""
    log: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for part in self.parts for line in part.lines)

    @property
    def passed(self) -> bool:
        return not self.trouble and all(line.held is not False for line in self.lines)


class Notes:
    """Collects what is seen of a few criteria."""

    def __init__(self, criteria: Iterable[Criterion]) -> None:
        self._criteria = tuple(criteria)
        self._seen: dict[str, tuple[bool | None, str]] = {}

    def note(self, key: str, held: bool | None, seen: str) -> bool:
        """Note what was seen, in words that a full stop may follow; whether it holds."""
        self._seen[key] = (held, seen.rstrip("."))
        return bool(held)

    def fail(self, seen: str) -> None:
        """Nothing could be looked at, and that is their fault: one line has to say so."""
        self.note(self._criteria[0].key, False, seen)

    def lines(self, otherwise: str = UNSEEN) -> tuple[Line, ...]:
        """A line for each criterion; those of which nothing was noted say why."""
        unseen = (None, otherwise.rstrip("."))
        return tuple(Line(one, *self._seen.get(one.key, unseen)) for one in self._criteria)
