"""The verdict on a figure: whether it was measured."""

from types import SimpleNamespace
from typing import cast

import pytest

from lab.experiment.evaluate import judge_expectations
from lab.results.result import LatencySummary
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
