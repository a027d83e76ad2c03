"""The data of a report card."""

from collections.abc import Iterable
from dataclasses import dataclass

NOT_CHECKED = "not looked at, for what comes before it failed"


@dataclass(frozen=True)
class Criterion:
    """One thing that is checked. `hint` is shown when it does not hold; `claim` and `scenario` are
    names of the lab's claim and scenario that explain it."""

    key: str
    requirement: str
    hint: str
    claim: str = ""
    scenario: str = ""


@dataclass(frozen=True)
class CriterionFinding:
    """What was seen of a criterion. `held`: None if it could not be checked."""

    criterion: Criterion
    held: bool | None
    observed: str


@dataclass(frozen=True)
class ReportSection:
    """The contract, or an outage, with its findings."""

    key: str
    title: str
    findings: tuple[CriterionFinding, ...]


@dataclass(frozen=True)
class ReportCard:
    """The result of a check.

    `without_sidecar`: services on their own port, without a fault filter in front. `trouble`: why
    the system could not be checked; "" if it could. `log`: the last log lines of the service that
    failed.
    """

    target: str
    title: str
    services: tuple[str, ...]
    bus: str | None
    without_sidecar: tuple[str, ...]
    sections: tuple[ReportSection, ...]
    seconds: float
    trouble: str = ""
    log: tuple[str, ...] = ()

    @property
    def findings(self) -> tuple[CriterionFinding, ...]:
        return tuple(line for section in self.sections for line in section.findings)

    @property
    def passed(self) -> bool:
        return not self.trouble and all(line.held is not False for line in self.findings)


class FindingRecorder:
    """Collects what is seen of some criteria."""

    def __init__(self, criteria: Iterable[Criterion]) -> None:
        self._criteria = tuple(criteria)
        self._recorded: dict[str, tuple[bool | None, str]] = {}
        self._omitted = set[str]()

    def record(self, key: str, held: bool | None, observed: str) -> bool:
        """Record what was seen, a phrase without a full stop; return whether the criterion
        holds."""
        self._recorded[key] = (held, observed.rstrip("."))
        return bool(held)

    def omit(self, key: str) -> None:
        """Leave a criterion out of the card: nothing was asked of which it speaks."""
        self._omitted.add(key)

    def omit_open(self) -> None:
        """Leave out every criterion of which nothing was recorded."""
        self._omitted.update(each.key for each in self._criteria if each.key not in self._recorded)

    def findings(self, reason: str = NOT_CHECKED) -> tuple[CriterionFinding, ...]:
        """A line for each criterion; `reason` says why a criterion was not checked."""
        not_checked = (None, reason.rstrip("."))
        return tuple(
            CriterionFinding(criterion, *self._recorded.get(criterion.key, not_checked))
            for criterion in self._criteria
            if criterion.key not in self._omitted
        )
