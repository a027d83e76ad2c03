"""The lab's statistics agree with scipy, which the lab itself does not need."""

from random import Random

import numpy as np
import pytest
from scipy import stats

from lab.experiment.shares import fisher_decrease, wilson_interval
from lab.experiment.statistics import Block, factor_interval, median, students_t
from lab.load.metrics import percentile


def log_normal(count: int, seed: int) -> list[float]:
    random = Random(seed)
    return [random.lognormvariate(2, 0.5) for _ in range(count)]


@pytest.mark.parametrize("degrees_of_freedom", [1, 2, 3, 4, 7, 10, 29, 30, 99, 1_000])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.9975])
def test_students_t_agrees(confidence: float, degrees_of_freedom: int) -> None:
    expected = stats.t.ppf((1 + confidence) / 2, degrees_of_freedom)
    assert students_t(confidence, degrees_of_freedom) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 20, 99, 100, 101, 1_000])
@pytest.mark.parametrize("percent", [0.1, 1, 25, 50, 75, 95, 99, 100])
def test_percentiles_agree(count: int, percent: float) -> None:
    values = log_normal(count, seed=count)
    expected = np.quantile(values, percent / 100, method="inverted_cdf")
    assert percentile(values, percent) == expected
    assert median(values) == np.quantile(values, 0.5, method="inverted_cdf")


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (0, 51), (3, 10), (48, 80), (52, 52)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9975])
def test_the_interval_of_a_share_agrees(hits: int, total: int, confidence: float) -> None:
    expected = stats.binomtest(hits, total).proportion_ci(confidence, method="wilson")
    found = wilson_interval(hits, total, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_factor_is_the_one_of_hodges_and_lehmann() -> None:
    first, other = log_normal(60, seed=1), log_normal(45, seed=2)
    expected = np.median(np.divide.outer(np.array(other), np.array(first)))
    blocks = [Block([], [one]) for one in other] + [Block([one], []) for one in first]
    low, high = factor_interval(blocks, 1e-6) or (0.0, 0.0)
    assert low == pytest.approx(expected, rel=2e-3)
    assert high == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("times", [1.0, 1.3])
def test_single_requests_as_blocks_give_the_test_of_brunner_and_munzel(times: float) -> None:
    """Where every request is a block, a factor at the end of the interval has that p-value."""
    first, other = log_normal(150, seed=1), [times * one for one in log_normal(130, seed=2)]
    blocks = [Block([], [one]) for one in other] + [Block([one], []) for one in first]
    for factor in factor_interval(blocks, 0.95) or (0.0, 0.0):
        found = stats.brunnermunzel([factor * one for one in first], other)
        assert found.pvalue == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    "counts",
    [(6, 6, 0, 6), (6, 6, 1, 6), (4, 10, 5, 10), (12, 12, 11, 12), (0, 3, 0, 9), (0, 0, 1, 4)],
)
def test_fishers_exact_test_agrees(counts: tuple[int, int, int, int]) -> None:
    hits, total, other_hits, other_total = counts
    table = [[hits, total - hits], [other_hits, other_total - other_hits]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert fisher_decrease(*counts) == pytest.approx(expected, rel=1e-9)
