"""The bench's arithmetic, and its page."""

from contextlib import nullcontext

import pytest

from tests.bench.ratio import Measured, Row, interval, measure, reached, verdict


def row(**more: object) -> Row:
    given = {"name": "a", "what": "b", "ours": "log", "other": "peer", "unit": "/s", "reach": 1.5}
    return Row.model_validate({**given, "measure": nullcontext, **more})


def measured(*ratios: float) -> Measured:
    return Measured(name="a", ours=list(ratios), other=[1.0] * len(ratios))


def test_the_interval_holds_the_median_with_its_confidence() -> None:
    assert interval([5, 1, 4, 2, 3]) == (1, 5)  # 94 %: no five pairs reach more
    assert interval([6, 5, 1, 4, 2, 3]) == (1, 6)
    assert interval([9, 8, 7, 6, 5, 1, 4, 2, 3]) == (2, 8)


@pytest.mark.parametrize(
    ("ratios", "better", "says", "sign"),
    [
        ((1.6, 1.7, 1.8), "more", "log is better", "✓"),
        ((1.2, 1.7, 1.8), "more", "log is better", "~"),
        ((0.8, 1.1, 1.2), "more", "can't be told", "✗"),
        ((0.7, 0.8, 0.9), "more", "peer is better", "✗"),
        ((0.7, 0.8, 0.9), "less", "log is better", "✓"),
        ((1.6, 1.7, 1.8), "less", "peer is better", "✗"),
    ],
)
def test_a_verdict_needs_the_whole_interval(
    ratios: tuple[float, ...], better: str, says: str, sign: str
) -> None:
    one = row(better=better)
    assert verdict(one, measured(*ratios)) == says
    assert reached(one, measured(*ratios)) == sign


def test_both_sides_are_measured_in_turn() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return 2.0 if name == "A" else 1.0

    pair = (lambda: side("A"), lambda: side("B"))
    found = measure(row(pairs=5, measure=lambda: nullcontext(pair)))
    assert "".join(order) == "AB" * 6  # the first pair does not count
    assert found.ratios == [2.0] * 5
