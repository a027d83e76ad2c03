"""A line per figure: the promised value, the measured one, and the spread of the runs."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`reach` is the promise in words; `holds` says whether the median met it (None: no promise).

    Without values the figure could not be measured here, and `unit` says why.
    """

    what: str
    reach: str
    values: Sequence[float]
    unit: str
    holds: bool | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def line(self) -> str:
        if not self.values:
            return f"- skipped  {self.what}: {self.unit}"
        spread = f"({min(self.values):,.5g} to {max(self.values):,.5g}, {len(self.values)} runs)"
        sign = {True: "✓ reached", False: "✗ missed", None: "  figure"}[self.holds]
        measured = f"{self.median:,.5g} {self.unit} {spread}"
        return f"{sign}  {self.what}: {measured}; to reach: {self.reach}"


def at_most(what: str, limit: float, values: Sequence[float], unit: str) -> Figure:
    return Figure(what, f"≤ {limit:g} {unit}", values, unit, statistics.median(values) <= limit)


def at_least(what: str, limit: float, values: Sequence[float], unit: str) -> Figure:
    return Figure(what, f"≥ {limit:,g} {unit}", values, unit, statistics.median(values) >= limit)


def shown(what: str, values: Sequence[float], unit: str) -> Figure:
    """A figure without a promise."""
    return Figure(what, "none set", values, unit)


def missing(what: str, why: str) -> Figure:
    """A figure that cannot be measured on this machine."""
    return Figure(what, "", [], why)
