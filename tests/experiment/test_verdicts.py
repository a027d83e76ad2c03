"""The verdict on a figure: whether it was measured, and how certain it is."""

from types import SimpleNamespace
from typing import cast

import pytest

from lab.experiment.differences import _Comparison, _judge
from lab.experiment.evaluate import judge_expectations
from lab.experiment.statistics import Estimate, ratio_of_runs
from lab.results.result import LatencySummary, NoiseFloor
from lab.scenarios.scenario import Scenario
from tests.report.test_compare import run


@pytest.mark.parametrize(("p50", "verdict"), [(9, "holds"), (1, "fails"), (None, "not measured")])
def test_what_was_not_measured_has_no_verdict(p50: float | None, verdict: str) -> None:
    result = run(10)
    result.variants[0].phases["during"].endpoints["read_feed"].latency_ms = LatencySummary(p50=p50)
    that = "sync-chain.during.read_feed.p50 > 5"
    expect = [SimpleNamespace(says="It waits.", claim=None, that=that)]
    (found,) = judge_expectations(cast(Scenario, SimpleNamespace(expect=expect)), result)
    assert found.verdict == verdict


def test_more_runs_of_the_same_are_surer() -> None:
    few, many = ratio_of_runs([1.0, 4.0]), ratio_of_runs([1.0, 4.0] * 8)
    assert few.log_standard_error / many.log_standard_error == pytest.approx(15**0.5)


def test_an_unsure_ratio_is_no_difference() -> None:
    estimate = Estimate(ratio=2.0, log_standard_error=1.0, sample_size=5)
    comparison = _Comparison(
        "latency", ("during", "read_feed"), "other", estimate.ratio, estimate.interval
    )
    found = _judge(comparison, "first", 0.95, NoiseFloor())
    assert found is not None
    assert found.low < 1 < found.high
    assert found.verdict == "no difference shown"
