"""The uncertainty of a ratio of two medians: pure functions from latencies to an interval.

Two runs of the same experiment never give the same figure, so a ratio needs a confidence interval.
The interval depends on the number of *independent* observations, which is not the number of
requests: a busy moment of the machine slows down all requests near it in time. There are two
methods:

- From one run, or a few: whole blocks of neighbouring requests are resampled, and the spread of the
  resampled ratios is the standard error (the moving-block bootstrap: H. R. Künsch, *The jackknife
  and the bootstrap for general stationary observations*, Annals of Statistics 17, 1989; B. Efron
  and R. J. Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 8.6 and 12).
- From five runs or more: each run gives one ratio, and these ratios are independent. They are too
  few to be resampled: no resample goes beyond the extremes of five values, yet five ratios of two
  equal variants all lie on one side of 1 once in 16 times. The interval therefore uses Student's t
  (Student, *The probable error of a mean*, Biometrika 6, 1908).

Both use logarithms, so that half as long and twice as long are equally far from equal.
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
    """A ratio, the standard error of its logarithm, and the number of independent observations."""

    ratio: float
    log_standard_error: float
    sample_size: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The confidence interval of the ratio: (low, high)."""
        factor = math.exp(students_t(confidence, self.sample_size - 1) * self.log_standard_error)
        return self.ratio / factor, self.ratio * factor


def median(values: Sequence[float]) -> float:
    """The nearest-rank median, as everywhere in the lab: always a value that was measured."""
    return sorted(values)[(len(values) - 1) // 2]


def ratio_of_runs(ratios: Sequence[float]) -> Estimate:
    """The geometric mean of the ratios of two or more runs, and its standard error."""
    logs = [math.log(ratio) for ratio in ratios]
    return Estimate(math.exp(fmean(logs)), stdev(logs) / math.sqrt(len(logs)), len(logs))


Series = Sequence[Sequence[float | None]]
"""One run: for each variant (the first is the reference), the latencies in the order of the
schedule; None where there was no good answer. All variants have the same length."""


def ratios_of_requests(runs: Sequence[Series], seed: int = 0) -> list[Estimate]:
    """The ratio of each further variant's median to that of the first; the same for the same seed.

    A block is the same part of the schedule in all variants, so a moment that slowed down all of
    them is in both medians and cancels out of the ratio. Every variant needs at least one good
    answer. n places of the schedule are resampled in blocks of 2 n^(1/3): twice Künsch's order,
    because with shorter blocks two equal variants were reported as different when one of them had
    a busy period.
    """
    positions = sum(len(run[0]) for run in runs)
    variants = range(len(runs[0]))
    length = round(2 * positions ** (1 / 3))
    # With logarithms, the difference of two medians is the logarithm of their ratio.
    blocks: list[list[list[float]]] = [[] for _ in variants]
    for run in runs:
        for start in range(max(1, len(run[0]) - length + 1)):
            for variant in variants:
                block = run[variant][start : start + length]
                blocks[variant].append(
                    [math.log(latency) for latency in block if latency is not None]
                )
    log_latencies = [
        [math.log(latency) for run in runs for latency in run[variant] if latency is not None]
        for variant in variants
    ]
    block_count = math.ceil(positions / length)
    random, block_indexes = Random(seed), range(len(blocks[0]))
    resample_count = min(RESAMPLES, max(50, _MOST_SORTED // (positions * len(variants))))
    log_ratios: list[list[float]] = [[] for _ in variants]
    for _ in range(resample_count):
        chosen = random.choices(block_indexes, k=block_count)
        resampled = [list(chain.from_iterable([own[index] for index in chosen])) for own in blocks]
        if all(resampled):
            first = median(resampled[0])
            for variant in variants:
                log_ratios[variant].append(median(resampled[variant]) - first)
    first = median(log_latencies[0])
    return [
        Estimate(
            math.exp(median(log_latencies[variant]) - first),
            stdev(log_ratios[variant]) if len(log_ratios[variant]) > 1 else math.inf,
            block_count,
        )
        for variant in variants[1:]
    ]


def median_interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """The confidence interval of a median, from its order statistics; None if there are too few.

    It makes no assumption about the distribution (H. A. David and H. N. Nagaraja, *Order
    Statistics*, 2003, chapter 7.1): the k-th smallest of n values lies above the median with the
    probability that fewer than k of n fair coins show heads.
    """
    ordered, count = sorted(values), len(values)
    tail, rank = 0.5**count, 0
    cumulated = tail
    while 2 * cumulated <= 1 - confidence:
        rank += 1
        tail *= (count - rank + 1) / rank
        cumulated += tail
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def ratio_of_few(
    first: Sequence[float], other: Sequence[float], confidence: float
) -> tuple[float, float] | None:
    """The interval of the ratio of two medians from a few values each; None if there are too few.

    Each median is inside its own interval with half of the allowed error, so both are at once.
    """
    both = [median_interval(values, (1 + confidence) / 2) for values in (first, other)]
    if both[0] is None or both[1] is None or both[0][0] <= 0:
        return None
    (first_low, first_high), (other_low, other_high) = both[0], both[1]
    return other_low / first_high, other_high / first_low


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
