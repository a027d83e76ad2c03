"""Theory next to measurement: a scenario's predictions, their outcome, and how it is printed."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from lab.experiment.evaluate import judge_predictions
from lab.report.terminal import run
from lab.results.result import EndpointResult, LatencySummary, PhaseResult, RunResult, VariantResult
from lab.scenarios.scenario import Scenario, ScenarioError

FILE = """
title = "By how much"
[load]
rate = 10
[[method]]
fault = "latency"
target = "comments"
ms = 300
[variants.sync-chain]
[[predict]]
says = "A feed takes as long as its calls in a row."
predicted = "chain_ms(sync-chain.before.read_feed.p50, 300)"
measured = "sync-chain.during.read_feed.p50"
"""


def scenario(tmp_path: Path, text: str = FILE) -> Scenario:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return Scenario.load_file(path)


def result(during_ms: float | None) -> RunResult:
    def phase(p50: float | None) -> PhaseResult:
        feed = EndpointResult(
            sent=10, ok=10, failed=0, success=1.0, latency_ms=LatencySummary(p50=p50)
        )
        return PhaseResult(seconds=3, endpoints={"read_feed": feed})

    phases = {"before": phase(5.0), "during": phase(during_ms), "after": phase(5.0)}
    variant = VariantResult(name="sync-chain", arrangement="sync-chain", phases=phases)
    return RunResult(scenario="mine", seed=7, started="2026-01-01", variants=[variant])


@pytest.mark.parametrize(("measured", "agrees"), [(320.0, True), (400.0, False), (None, None)])
def test_a_prediction_agrees_as_far_as_it_may_be_off(
    tmp_path: Path, measured: float | None, agrees: bool | None
) -> None:
    (one,) = judge_predictions(scenario(tmp_path), result(measured))
    assert (one.predicted, one.measured, one.agrees) == (305, measured, agrees)
    off = None if measured is None else pytest.approx((measured - 305) / 305)
    assert one.deviation == off


def test_where_theory_has_no_answer_it_says_why(tmp_path: Path) -> None:
    never = FILE.replace("chain_ms(sync-chain.before.read_feed.p50, 300)", "drain_seconds(5, 3, 3)")
    (one,) = judge_predictions(scenario(tmp_path, never), result(320.0))
    assert one.predicted is None
    assert "never drains" in one.answer


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("chain_ms(sync-chain.before.read_feed.p51, 300)", "p51"),
        ("drain_seconds(1, 2)", "3 figures: outage_seconds, arriving, served"),
        ("chain_ms(300)", "two figures or more"),
        ("sync-chain.before.read_feed.p50 <= 3", "not a figure"),
        ("open(1, 2)", "open"),
    ],
)
def test_a_mistake_in_a_prediction_is_reported_before_the_run(
    tmp_path: Path, wrong: str, sentence: str
) -> None:
    text = FILE.replace("chain_ms(sync-chain.before.read_feed.p50, 300)", wrong)
    with pytest.raises(ScenarioError, match="predict 1") as error:
        scenario(tmp_path, text)
    assert sentence in str(error.value)


def test_predictions_about_a_variant_are_left_out_with_it(tmp_path: Path) -> None:
    both = scenario(tmp_path, FILE + "[variants.async-bus]\n")
    assert len(both.only(["sync-chain"]).predict) == 1
    assert both.only(["async-bus"]).predict == ()


def test_the_table_shows_predicted_measured_and_how_far_off(tmp_path: Path) -> None:
    shown = result(400.0)
    text = FILE + 'because = "The machine was busy."\n'
    shown.predictions = judge_predictions(scenario(tmp_path, text), shown)
    out = io.StringIO()
    run.render(shown, Console(file=out, width=80))
    assert "305" in out.getvalue()
    assert "+31%" in out.getvalue()
    assert "The machine was busy." in out.getvalue()
