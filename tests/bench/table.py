"""A line for each figure: what was to be reached, what was measured, how far apart the runs were."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`reach` in words; `holds` says whether the median reached it (None: nothing was promised)."""

    what: str
    reach: str
    values: Sequence[float]
    unit: str
    holds: bool | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def line(self) -> str:
        spread = f"({min(self.values):,.4g} to {max(self.values):,.4g}, {len(self.values)} runs)"
        sign = {True: "✓ reached", False: "✗ missed", None: "  figure"}[self.holds]
        return f"{sign}  {self.what}: {self.median:,.4g} {self.unit} {spread}; to reach: {self.reach}"


def at_most(what: str, limit: float, values: Sequence[float], unit: str) -> Figure:
    return Figure(what, f"≤ {limit:g} {unit}", values, unit, statistics.median(values) <= limit)


def at_least(what: str, limit: float, values: Sequence[float], unit: str) -> Figure:
    return Figure(what, f"≥ {limit:,g} {unit}", values, unit, statistics.median(values) >= limit)
