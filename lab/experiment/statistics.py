"""How sure a ratio of two medians is: pure functions from latencies to an interval.

Two runs of the same thing never give the same figure. So a ratio is worth nothing without the range
in which it may well lie. A range needs to know how many *independent* things were seen, and that is
not the number of requests: a busy moment of the machine slows down all those that are near in time.
Two ways to allow for it:

- from one run, or few: whole blocks of neighbours are drawn again and again, and how much the ratio
  moves is its standard error (the moving-block bootstrap: H. R. Künsch, *The jackknife and the
  bootstrap for general stationary observations*, Annals of Statistics 17, 1989; B. Efron and
  R. J. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 8.6 and 12);
- from five runs or more: each run gives one ratio, and these are independent. So few can't be drawn
  again to any use (no draw goes beyond the outermost of five, yet five equal things lie all on one
  side once in 16 times), so Student's t is asked how much so few may deceive (Student, *The
  probable error of a mean*, Biometrika 6, 1908).

Both work on logarithms: half as long and twice as long are then equally far from equal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from statistics import fmean, stdev

RESAMPLES = 1_000
_MOST_SORTED = 2_000_000  # values, in all resamples of one call: about a quarter of a second


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio, the standard error of its logarithm, and from how many independent things."""

    ratio: float
    error: float
    independent: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """From where to where the ratio may well lie: in `confidence` of all such intervals."""
        factor = math.exp(student(confidence, self.independent - 1) * self.error)
        return self.ratio / factor, self.ratio * factor


def median(values: Sequence[float]) -> float:
    """The nearest-rank median, as everywhere in the lab: a value that was really measured."""
    return sorted(values)[(len(values) - 1) // 2]


def ratio_of_runs(ratios: Sequence[float]) -> Estimate:
    """From the ratio that each run gave (two or more): their geometric mean."""
    logs = [math.log(ratio) for ratio in ratios]
    return Estimate(math.exp(fmean(logs)), stdev(logs) / math.sqrt(len(logs)), len(logs))


Series = Sequence[Sequence[float | None]]
"""One run: for each variant, the first being the one to compare with, the latency at each place of
the schedule; None where there was no good answer. All are equally long."""


def ratios_of_requests(runs: Sequence[Series], seed: int = 0) -> list[Estimate]:
    """The ratio of each further variant's median to the first one's; seeded, so always the same.

    One block is the same stretch of the schedule in all variants, so what slowed down everybody at
    that moment is in both medians and falls out of their ratio. Every variant needs at least one
    good answer. n places are drawn in blocks of 2 n^(1/3): Künsch's order, twice, for with shorter
    ones stretches in which one of two equal things is busy were called a difference.
    """
    places = sum(len(run[0]) for run in runs)
    variants = range(len(runs[0]))
    length = round(2 * places ** (1 / 3))
    # Sorted are logarithms: the difference of two medians is then the logarithm of their ratio.
    blocks: list[list[list[float]]] = [[] for _ in variants]
    for run in runs:
        for start in range(max(1, len(run[0]) - length + 1)):
            for variant in variants:
                block = run[variant][start : start + length]
                blocks[variant].append([math.log(one) for one in block if one is not None])
    wholes = [
        [math.log(one) for run in runs for one in run[variant] if one is not None]
        for variant in variants
    ]
    drawn = math.ceil(places / length)
    random, which = Random(seed), range(len(blocks[0]))
    times = min(RESAMPLES, max(50, _MOST_SORTED // (places * len(variants))))
    moved: list[list[float]] = [[] for _ in variants]
    for _ in range(times):
        chosen = random.choices(which, k=drawn)
        again = [list(chain.from_iterable([of[one] for one in chosen])) for of in blocks]
        if all(again):
            first = median(again[0])
            for variant in variants:
                moved[variant].append(median(again[variant]) - first)
    first = median(wholes[0])
    return [
        Estimate(
            math.exp(median(wholes[variant]) - first),
            stdev(moved[variant]) if len(moved[variant]) > 1 else math.inf,
            drawn,
        )
        for variant in variants[1:]
    ]


def student(confidence: float, freedom: int) -> float:
    """How many standard errors Student's t lies within, either way, with that probability.

    `freedom`: degrees of freedom, 1 or more; none at all leaves everything possible (infinite).
    Found by halving from the closed form (Abramowitz and Stegun, *Handbook of Mathematical
    Functions*, 1964, formulas 26.7.3 and 26.7.4).
    """
    if freedom < 1:
        return math.inf
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """The probability that Student's t lies between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    term = math.cos(angle) if freedom % 2 else 1.0
    total = 0.0
    for number in range(2 + freedom % 2, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (number - 1) / number
    if freedom % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + math.sin(angle) * total)
