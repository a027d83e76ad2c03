"""The data of a report card."""

from collections.abc import Iterable
from dataclasses import dataclass

UNSEEN = "not looked at, for what comes before it failed"


@dataclass(frozen=True)
class Criterion:
    """One thing that is checked. `hint` is shown when it does not hold; `claim` and `scenario` are
    names of the lab's claim and scenario that explain it."""

    key: str
    wanted: str
    hint: str
    claim: str = ""
    scenario: str = ""


@dataclass(frozen=True)
class Line:
    """What was seen of a criterion. `held`: None if it could not be checked."""

    criterion: Criterion
    held: bool | None
    seen: str


@dataclass(frozen=True)
class Part:
    """The contract, or an outage, with its findings."""

    key: str
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Card:
    """The result of a check.

    `unmoved`: services on their own port, without a fault filter in front. `trouble`: why the
    system could not be checked; "" if it could. `log`: the last log lines of the service that
    failed.
    """

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
    """Collects what is seen of some criteria."""

    def __init__(self, criteria: Iterable[Criterion]) -> None:
        self._criteria = tuple(criteria)
        self._seen: dict[str, tuple[bool | None, str]] = {}

    def note(self, key: str, held: bool | None, seen: str) -> bool:
        """Record what was seen, a phrase without a full stop; return whether the criterion
        holds."""
        self._seen[key] = (held, seen.rstrip("."))
        return bool(held)

    def fail(self, seen: str) -> None:
        """Fail the first criterion: nothing could be checked, and the system is the cause."""
        self.note(self._criteria[0].key, False, seen)

    def lines(self, otherwise: str = UNSEEN) -> tuple[Line, ...]:
        """A line for each criterion; `otherwise` says why a criterion was not checked."""
        unseen = (None, otherwise.rstrip("."))
        return tuple(Line(one, *self._seen.get(one.key, unseen)) for one in self._criteria)
