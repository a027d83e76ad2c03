"""A row of the bench: two things measured in turn, and the ratio of each pair.

The interval of the median is made of order statistics of the ratios. Each ratio is above or below
the true median with probability 1/2, so the k-th smallest and the k-th largest of n enclose it with
probability 1 - 2 P(B < k), B binomial (n, 1/2): 97 % for k = 1 of 6 pairs, 96 % for k = 2 of 9
(Conover, Practical Nonparametric Statistics, 3.2). Nothing is assumed about the distribution.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from time import perf_counter
from typing import Literal

from pydantic import BaseModel, ConfigDict

Measure = Callable[[], float]
Pair = tuple[Measure, Measure]
"""Measures ours and the other once; both in the row's unit."""

CONFIDENCE = 0.95


class Skipped(Exception):
    """The row can't be measured on this machine; the message says why, and what to install."""


class Row(BaseModel):
    """`other` is a peer, or a limit: what the machine can do without the lab. `reach`: the ratio
    to reach, ours to other; None: only shown. `better`: whether more or less of `unit` is better.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    what: str
    ours: str
    other: str
    unit: str
    kind: Literal["peer", "limit"] = "peer"
    better: Literal["more", "less"] = "more"
    reach: float | None = None
    pairs: int = 9
    measure: Callable[[], AbstractContextManager[Pair]]


class Measured(BaseModel):
    """A row's result: `ours[i]` and `other[i]` were measured one after the other.

    `load`: processes that ran or waited, on average over the minute before; `steal`: the share of
    the processors' time that the machine below gave to others.
    """

    name: str
    ours: list[float] = []
    other: list[float] = []
    skipped: str = ""
    seconds: float = 0.0
    load: float = 0.0
    steal: float = 0.0
    at: str = ""

    @property
    def ratios(self) -> list[float]:
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]


def measure(row: Row) -> Measured:
    """Measure the row's pairs in alternation, after one pair that does not count."""
    begun, load, ticks = perf_counter(), os.getloadavg()[0], _processor_ticks()
    measured = Measured(name=row.name, load=load, at=f"{datetime.now(UTC):%Y-%m-%d}")
    try:
        with row.measure() as (ours, other):
            ours(), other()
            for _ in range(row.pairs):
                measured.ours.append(ours())
                measured.other.append(other())
    except Skipped as reason:
        measured.skipped = str(reason)
    measured.steal = _steal_share(ticks, _processor_ticks())
    measured.seconds = perf_counter() - begun
    return measured


def median_ms(call: Callable[[], object], times: int) -> Measure:
    """The median time of a call, in ms, of `times` calls in a row."""

    def measure() -> float:
        took_ms = []
        for _ in range(times):
            begun = perf_counter()
            call()
            took_ms.append((perf_counter() - begun) * 1_000)
        return statistics.median(took_ms)

    return measure


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The narrowest order statistics that enclose the median with CONFIDENCE, or else the range."""
    ordered, n = sorted(values), len(values)
    outside, k = 0.0, 0
    while (outside := outside + 2 * comb(n, k) / 2**n) <= 1 - CONFIDENCE:
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def verdict(row: Row, measured: Measured) -> str:
    """Which side is better, as far as the interval says."""
    low, high = interval(measured.ratios)
    if low <= 1 <= high:
        return "can't be told"
    return f"{row.ours if (low > 1) == (row.better == 'more') else row.other} is better"


def reached(row: Row, measured: Measured) -> str:
    """Whether the whole interval reaches the goal: ✓, ✗, or ~ when the goal is inside it."""
    if row.reach is None:
        return ""
    holds = [
        ratio >= row.reach if row.better == "more" else ratio <= row.reach
        for ratio in interval(measured.ratios)
    ]
    return "✓" if all(holds) else "~" if any(holds) else "✗"


def cells(row: Row, measured: Measured | None) -> list[str]:
    """The row as text: what, to reach, ratio with interval, verdict, absolute figures, machine."""
    limit = " (limit)" if row.kind == "limit" else ""
    what = f"{row.what}: {row.ours} / {row.other}{limit}"
    sign = {"more": "≥", "less": "≤"}[row.better]
    goal = "–" if row.reach is None else f"{sign} {row.reach:g}"
    if measured is None or measured.skipped:
        return [what, goal, "–", measured.skipped if measured else "not measured yet", "", ""]
    low, high = interval(measured.ratios)
    middle = statistics.median(measured.ratios)
    ratio = f"{middle:.3g} ({low:.3g} to {high:.3g}) {reached(row, measured)}"
    absolute = " / ".join(
        f"{statistics.median(one):,.4g}" for one in (measured.ours, measured.other)
    )
    return [
        what,
        goal,
        ratio.strip(),
        verdict(row, measured),
        f"{absolute} {row.unit}",
        f"{len(measured.ours)}; {measured.load:.1f}; {measured.steal:.0%}",
    ]


def _processor_ticks() -> list[int]:
    """The first line of /proc/stat (proc(5)); empty where there is none."""
    stat = Path("/proc/stat")
    return [int(n) for n in stat.read_text().split("\n")[0].split()[1:9]] if stat.exists() else []


def _steal_share(before: Sequence[int], after: Sequence[int]) -> float:
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return spent[7] / sum(spent) if sum(spent) else 0.0
