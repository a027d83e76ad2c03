"""Theory next to measurement: a scenario's predictions, their outcome, and how it is printed."""

import io
import math
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from lab.experiment.predictions import judge_predictions
from lab.load.metrics import phase_figures
from lab.load.samples import Sample
from lab.report.terminal import run
from lab.results.result import (
    ConsumerLag,
    EndpointResult,
    LatencySummary,
    NoiseFloor,
    PhaseResult,
    Prediction,
    RunResult,
    VariantResult,
)
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


def judge(
    tmp_path: Path, predicted: str, measured: str, samples: list[Sample], within: float = 0.01
) -> Prediction:
    """A prediction, judged by a run with these samples."""
    text = FILE.replace("chain_ms(sync-chain.before.read_feed.p50, 300)", predicted)
    text = text.replace("sync-chain.during.read_feed.p50", measured) + f"within = {within}\n"
    phases = phase_figures(samples, {"before": 3, "during": 5, "after": 3})
    variant = VariantResult.model_validate(
        {"name": "sync-chain", "arrangement": "sync-chain", "phases": phases}
    )
    run = RunResult(scenario="mine", seed=7, started="2026-01-01", variants=[variant])
    run.noise_floor = NoiseFloor(share=0.1, runs=20, newest="2026-01-01")
    (one,) = judge_predictions(scenario(tmp_path, text), run, samples)
    return one


def feeds(phase: str, latencies_ms: list[float], ok: bool = True) -> list[Sample]:
    return [
        Sample(
            "sync-chain",
            phase,
            "read_feed",
            place / 10,
            0.1,
            ms,
            200 if ok else 503,
            "" if ok else "http_503",
            ok=ok,
        )
        for place, ms in enumerate(latencies_ms)
    ]


def test_a_share_of_few_requests_has_a_wide_interval(tmp_path: Path) -> None:
    widths = []
    for count in (20, 2_000):
        samples = feeds("during", [5.0] * count) + feeds("during", [5.0] * (count // 4), ok=False)
        one = judge(tmp_path, "all_up(0.9, 2)", "sync-chain.during.read_feed.success", samples)
        assert one.predicted == pytest.approx(0.81)
        assert one.low is not None
        assert one.high is not None
        assert one.agrees
        widths.append(one.high - one.low)
    assert widths[0] > 0.25 > 0.05 > widths[1]


def test_no_share_is_more_than_all(tmp_path: Path) -> None:
    samples = feeds("during", [5.0] * 40)
    one = judge(tmp_path, "all_up(0.98, 1)", "sync-chain.during.read_feed.success", samples)
    assert (one.high, one.agrees) == (1.0, True)


def test_nineteen_of_twenty_true_predictions_lie_inside(tmp_path: Path) -> None:
    """Without any grant for what theory leaves out, all that moves the figure is chance."""
    random, inside = Random(3), 0
    for _ in range(100):
        samples = [
            sample
            for _ in range(60)
            for sample in feeds("during", [5.0], ok=random.random() < 0.95**4)
        ]
        measured = "sync-chain.during.read_feed.success"
        inside += judge(tmp_path, "all_up(0.95, 4)", measured, samples, 0.0001).agrees is True
    assert 90 <= inside <= 99


def test_a_median_of_waits_lies_inside_as_often(tmp_path: Path) -> None:
    random, inside = Random(4), 0
    for _ in range(100):
        waits = [2_500 * random.random() for _ in range(20)]
        predicted = "freeze_quantile_ms(2500, 2500, 0.5)"
        measured = "sync-chain.during.read_feed.p50"
        inside += (
            judge(tmp_path, predicted, measured, feeds("during", waits), 0.0001).agrees is True
        )
    assert 90 <= inside <= 100


def test_a_time_measured_before_is_as_unsure_as_the_machine(tmp_path: Path) -> None:
    samples = feeds("before", [50.0] * 40) + feeds("during", [350.0] * 40)
    predicted = "chain_ms(sync-chain.before.read_feed.p50, 300)"
    one = judge(tmp_path, predicted, "sync-chain.during.read_feed.p50", samples)
    assert one.low == pytest.approx(350 - math.hypot(5, 3.5))  # 10 % of 50 ms, 1 % of 350 ms
    assert one.high == pytest.approx(350 + math.hypot(5, 3.5))


def test_the_rate_of_another_consumer_is_as_unsure_as_the_machine(tmp_path: Path) -> None:
    run = result(300.0)
    run.variants[0] = run.variants[0].model_copy(
        update={"arrangement": "async-bus", "lag": {"query": ConsumerLag(max=9, drain_rate=100.0)}}
    )
    run.noise_floor = NoiseFloor(share=0.1, runs=20, newest="2026-01-01")
    text = FILE.replace("sync-chain", "async-bus").replace(
        "chain_ms(async-bus.before.read_feed.p50, 300)", "async-bus.lag.query.drain_rate"
    )
    run.variants[0].name = "async-bus"
    (one,) = judge_predictions(scenario(tmp_path, f"{text}within = 0.001\n"), run)
    assert (one.low, one.high) == (pytest.approx(90, abs=0.01), pytest.approx(110, abs=0.01))


def test_a_fault_that_did_not_act_leaves_it_unjudged(tmp_path: Path) -> None:
    run = result(400.0)
    run.variants[0].unproved = {"during": "The fault did not act as declared."}
    (one,) = judge_predictions(scenario(tmp_path), run)
    assert (one.agrees, one.reason) == (None, "The fault did not act as declared.")


def test_what_lies_outside_its_interval_is_a_finding(tmp_path: Path) -> None:
    samples = feeds("before", [5.0] * 40) + feeds("during", [400.0] * 40)
    predicted = "chain_ms(sync-chain.before.read_feed.p50, 300)"
    one = judge(tmp_path, predicted, "sync-chain.during.read_feed.p50", samples)
    assert one.agrees is False
    assert one.high is not None
    assert one.high < 310


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
    assert "274 to 336" in out.getvalue()
    assert "+31%" in out.getvalue()
    assert "The machine was busy." in out.getvalue()
