"""Intervals of shares: published values, and how often they contain the truth."""

from random import Random

import pytest

from lab.experiment.shares import share_difference, wilson_interval


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe 1998, table II, method 10.
        ((48, 80, 56, 70), -0.3339, -0.0524),
        ((3, 10, 9, 10), -0.8091, -0.1705),
        ((0, 29, 5, 56), -0.1926, 0.0381),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ],
)
def test_intervals_are_those_of_newcombes_paper(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    hits, total, other_hits, other_total = counts
    found = share_difference(other_hits, other_total, hits, total)
    assert found == pytest.approx((low, high), abs=0.0001)


def test_all_against_nothing_needs_few_requests() -> None:
    low, _ = share_difference(0, 8, 8, 8, confidence=0.9975)
    assert low > 0


def test_equal_shares_are_rarely_called_different() -> None:
    random, alarms = Random(7), 0
    for _ in range(1_000):
        first, second = (sum(random.random() < 0.9 for _ in range(30)) for _ in range(2))
        low, high = share_difference(first, 30, second, 30)
        alarms += not low <= 0 <= high
    assert alarms <= 60


def test_nothing_of_nothing_is_no_share() -> None:
    with pytest.raises(ValueError, match="0 of 0"):
        wilson_interval(0, 0)
