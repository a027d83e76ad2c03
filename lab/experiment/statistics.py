"""The uncertainty of "times as long": pure functions from latencies to the interval of a factor.

Two runs of the same experiment never give the same figure, so a factor needs a confidence interval.
Two questions decide how wide it is.

*How often is one longer?* The interval contains each factor θ for which the latencies of the one
and θ times those of the other are longer equally often, as far as the data can tell (the rank test
of Mann and Whitney, inverted: J. L. Hodges and E. L. Lehmann, *Estimates of location based on rank
tests*, Annals of Mathematical Statistics 34, 1963). Ranks do not depend on the distribution. A
median that lies between two humps (5 ms and 250 ms) jumps from one to the other; ranks do not.

*How many observations are independent?* Not as many as there are requests: a busy moment of the
machine slows down all requests near it in time. So the standard error comes from whole blocks of
time, each with the requests of both variants. A moment that slows down both cancels out. What a
fault does in the same seconds of every run is no chance either, so only differences from one block
to the next count (J. von Neumann and others, *The mean square successive difference*, Annals of
Mathematical Statistics 12, 1941). There are few blocks, so the quantile is that of Student's t
(Student, *The probable error of a mean*, Biometrika 6, 1908).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

Interval = tuple[float, float]
"""The ends of a confidence interval: (low, high)."""


class Block(NamedTuple):
    """The latencies of two variants in one block of time; infinite where there was no answer."""

    first: Sequence[float]
    other: Sequence[float]


def median(values: Sequence[float]) -> float:
    """The nearest-rank median, as everywhere in the lab: always a value that was measured."""
    return sorted(values)[(len(values) - 1) // 2]


Timed = Sequence[tuple[float, float]]
"""Latencies of one variant: (when it was due, ms)."""


def blocks_in_time(first: Timed, other: Timed) -> list[Block]:
    """Cut the latencies of two variants into blocks of neighbours in time, all of about one size.

    A block has n^(1/3) requests of each variant, the order of H. R. Künsch, *The jackknife and the
    bootstrap for general stationary observations*, Annals of Statistics 17, 1989. Longer blocks are
    fewer, so they find less; shorter ones take the requests of one busy moment for independent.
    """
    every = sorted(
        [(at_s, 0, latency) for at_s, latency in first]
        + [(at_s, 1, latency) for at_s, latency in other]
    )
    if not every:
        return []
    per_variant = len(every) / 2
    count = max(2, math.ceil(per_variant / round(per_variant ** (1 / 3))))
    edges = [round(number * len(every) / count) for number in range(count + 1)]
    return [
        Block(*([latency for _, of, latency in every[start:end] if of == one] for one in (0, 1)))
        for start, end in pairwise(edges)
    ]


def factor_interval(blocks: Sequence[Block], confidence: float) -> Interval | None:
    """The interval of the factor by which `other` takes longer than `first`; None if the blocks
    are too few or too different for any. An end may be 0 or infinite."""
    comparison = _Ranks(
        sorted(value for block in blocks for value in block.first),
        sorted(value for block in blocks for value in block.other),
    )
    centre = min(max(comparison.factor_where(0.5), 1 / _BEYOND_ALL), _BEYOND_ALL)
    error = comparison.standard_error(blocks, centre)
    margin = students_t(confidence, len(blocks) - 1) * error
    if margin >= 0.5:
        return None
    return comparison.factor_where(0.5 + margin), comparison.factor_where(0.5 - margin)


class _Ranks:
    """How often a value of `other` is greater than one of `first`. Both are sorted."""

    def __init__(self, first: Sequence[float], other: Sequence[float]) -> None:
        self._first, self._other = first, other

    def share_longer(self, factor: float) -> float:
        """The share of pairs in which `other` is greater than `factor` times `first`; a tie is half
        of one. It falls as the factor rises."""
        if len(self._first) < len(self._other):
            above = sum(1 - _share_below(self._other, factor * one) for one in self._first)
            return above / len(self._first)
        below = sum(_share_below(self._first, one / factor) for one in self._other)
        return below / len(self._other)

    def factor_where(self, share: float) -> float:
        """The factor at which `share_longer` falls through a share; 0 or infinite if nowhere."""
        finite = [
            [value for value in own if value < math.inf] for own in (self._first, self._other)
        ]
        if not (finite[0] and finite[1]):
            return 1.0 if finite[0] == finite[1] else math.inf if finite[0] else 0.0
        low = math.log(finite[1][0] / finite[0][-1]) - _STEP
        high = math.log(finite[1][-1] / finite[0][0]) + _STEP
        if self.share_longer(math.exp(low)) <= share:
            return 0.0
        if self.share_longer(math.exp(high)) >= share:
            return math.inf
        while high - low > _STEP:
            middle = (low + high) / 2
            if self.share_longer(math.exp(middle)) > share:
                low = middle
            else:
                high = middle
        return math.exp((low + high) / 2)

    def standard_error(self, blocks: Sequence[Block], factor: float) -> float:
        """The standard error of `share_longer`, from the sums of its linear part (Hájek's
        projection) in each block of time, and their differences from one block to the next."""
        if len(blocks) < 2:
            return math.inf
        share = self.share_longer(factor)
        sums = [
            sum(_share_below(self._first, one / factor) - share for one in block.other)
            / len(self._other)
            + sum(1 - share - _share_below(self._other, factor * one) for one in block.first)
            / len(self._first)
            for block in blocks
        ]
        steps = [(one - after) ** 2 / 2 for one, after in pairwise(sums)]
        return math.sqrt(len(sums) * math.fsum(steps) / len(steps))


_STEP = 1e-3
"""Relative precision of a factor."""
_BEYOND_ALL = 1e9
"""In place of a factor that is infinite because more than half of all requests failed."""


def _share_below(ordered: Sequence[float], value: float) -> float:
    """The share of the values that are below `value`; equal ones count half."""
    return (bisect_left(ordered, value) + bisect_right(ordered, value)) / (2 * len(ordered))


def quantile_interval(values: Sequence[float], quantile: float, confidence: float) -> Interval:
    """The confidence interval of a quantile, from its order statistics; as far as the extremes if
    the values are too few for it. Raises IndexError without any value."""
    ordered, count = sorted(values), len(values)
    below, cumulated = [], 0.0
    for hits in range(count + 1):
        log_ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
        log_chance = hits * math.log(quantile) + (count - hits) * math.log(1 - quantile)
        cumulated += math.exp(log_ways + log_chance)
        below.append(cumulated)
    low = bisect_right(below, (1 - confidence) / 2)
    high = bisect_left(below, (1 + confidence) / 2)
    return ordered[max(0, low - 1)], ordered[min(count - 1, high)]


def factor_of_few(
    first: Sequence[float], other: Sequence[float], confidence: float
) -> Interval | None:
    """The interval of the factor from a few values of each; None if there are too few for any.

    The question is that of `factor_interval`, and the answer comes from the exact distribution of
    the rank sum (H. B. Mann and D. R. Whitney, *On a test of whether one of two random variables is
    stochastically larger than the other*, Annals of Mathematical Statistics 18, 1947): the ends are
    the k-th smallest and the k-th largest of all ratios. Each request counts as independent,
    because there are too few blocks of time.
    """
    ratios = sorted(_ratio(two, one) for one in first for two in other)
    orders = _orders_by_pairs_above(len(first), len(other))
    allowed = (1 - confidence) / 2 * sum(orders)
    rank = cumulated = 0
    while cumulated + orders[rank] <= allowed:
        cumulated += orders[rank]
        rank += 1
    return (ratios[rank - 1], ratios[-rank]) if rank else None


def _ratio(one: float, two: float) -> float:
    return 1.0 if one == two else one / two if two < math.inf else 0.0


@cache
def _orders_by_pairs_above(first: int, other: int) -> list[int]:
    """The number of orders of two samples in which k pairs have their first value above the other.

    The index is k. `first`, `other`: the sizes of the samples.
    """
    if not first or not other:
        return [1]
    # The greatest of all values belongs to `first`, and is above all of `other`; or to `other`.
    counts = [0] * (first * other + 1)
    for pairs, orders in enumerate(_orders_by_pairs_above(first - 1, other)):
        counts[pairs + other] += orders
    for pairs, orders in enumerate(_orders_by_pairs_above(first, other - 1)):
        counts[pairs] += orders
    return counts


@cache
def students_t(confidence: float, degrees_of_freedom: int) -> float:
    """The t for which Student's t lies between -t and t with the probability `confidence`.

    Below one degree of freedom the result is infinite. Found by bisection on the
    closed form (Abramowitz and Stegun, *Handbook of Mathematical Functions*, 1964, formulas 26.7.3
    and 26.7.4).
    """
    if degrees_of_freedom < 1:
        return math.inf
    low, high = 0.0, 1.0
    while _central_probability(high, degrees_of_freedom) < confidence:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if _central_probability(middle, degrees_of_freedom) < confidence
            else (low, middle)
        )
    return high


def _central_probability(t: float, degrees_of_freedom: int) -> float:
    """The probability that Student's t lies between -t and t."""
    angle = math.atan(t / math.sqrt(degrees_of_freedom))
    term = math.cos(angle) if degrees_of_freedom % 2 else 1.0
    total = 0.0
    for number in range(2 + degrees_of_freedom % 2, degrees_of_freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (number - 1) / number
    if degrees_of_freedom % 2 == 0:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + math.sin(angle) * total)
