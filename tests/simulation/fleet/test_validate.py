"""The model against the real lab: how errors are computed, what is refused, and one real run."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lab.load.samples import Sample
from lab.results.result import RunResult
from lab.scenarios.catalogue import find
from lab.simulation.fleet import runs
from lab.simulation.fleet.fleets import BLOG, FleetSpec
from lab.simulation.fleet.parameters import shipped_parameters
from lab.simulation.fleet.validate import (
    BOUNDS,
    Figure,
    Validation,
    compare_runs,
    refuse,
    shipped_validation,
    summarize,
    to_validation,
    validate,
)

PARAMETERS = shipped_parameters()
SCENARIO = "retry-storm"
Run = tuple[RunResult, Sequence[Sample]]


def simulated(seed: int) -> Run:
    return runs.run_once(find(SCENARIO), PARAMETERS, seed, BLOG, None)


@pytest.fixture(scope="module")
def two_runs() -> list[Run]:
    return [simulated(1), simulated(2)]


def slower(run: Run, factor: float) -> Run:
    """The run with all latencies longer, and every second feed a failure."""
    result, samples = run
    return result, [
        replace(
            sample,
            latency_ms=sample.latency_ms and sample.latency_ms * factor,
            ok=sample.ok and number % 2 == 0,
        )
        for number, sample in enumerate(samples)
    ]


def test_a_run_does_not_differ_from_itself(two_runs: list[Run]) -> None:
    figures = list(compare_runs(SCENARIO, two_runs, two_runs))
    assert {figure.name for figure in figures} >= {"success", "p50", "visible_p50", "recovery"}
    assert all(figure.error == 0 and not figure.refused for figure in figures)
    assert any(figure.again for figure in figures)


def test_an_error_is_a_share_of_the_real_figure_or_points(two_runs: list[Run]) -> None:
    other = [slower(run, 1.5) for run in two_runs]
    figures = {figure.key: figure for figure in compare_runs(SCENARIO, two_runs, other)}
    place = ("deadline", "after", "read_feed")
    assert figures[(*place, "p50")].error == pytest.approx(0.5, abs=0.2)
    assert figures[(*place, "success")].error == pytest.approx(0.5, abs=0.2)
    found = summarize(list(figures.values()))
    assert found["success"]["refused"] > 0
    assert found["p50"]["worst_kept"] <= BOUNDS["p50"] < found["p50"]["worst"]


def test_a_figure_that_is_not_a_number_is_refused() -> None:
    figure = Figure("x", "a", "during", "read_feed", "p50", 1.0, float("nan"), 30)
    assert figure.refused


def test_a_larger_fleet_does_not_show_what_is_refused(two_runs: list[Run]) -> None:
    result = two_runs[0][0].model_copy(deep=True)
    figures = [
        Figure(SCENARIO, "naive", "during", "read_feed", "success", 1.0, 0.0, 30),
        Figure(SCENARIO, "deadline", "after", "read_feed", "p50", 10.0, 90.0, 30),
        Figure(SCENARIO, "deadline", "after", "create_post", "visible_p50", 10.0, 90.0, 30),
        Figure(SCENARIO, "deadline", "", "", "recovery", 0.0, 9.0, 1),
        Figure(SCENARIO, "budget", "after", "read_feed", "p50", 10.0, 10.0, 30),
    ]
    validation = to_validation(figures, PARAMETERS, (1, 2), (0.5, 2.0), {"other": "why"})
    assert Validation.from_json(validation.to_json()) == validation
    names = refuse(result, validation)
    assert sorted(names) == [
        "deadline.after.create_post.visible_p50",
        "deadline.after.read_feed.p50",
        "deadline.recovery",
        "naive.during.read_feed.success",
    ]
    naive, deadline, budget = (
        next(one for one in result.variants if one.name == name)
        for name in ("naive", "deadline", "budget")
    )
    after = deadline.phases["after"].endpoints
    assert "read_feed" not in naive.phases["during"].endpoints
    assert after["read_feed"].latency_ms.p50 is None
    assert after["read_feed"].latency_ms.p99 is not None
    assert after["create_post"].visible_ms is not None
    assert after["create_post"].visible_ms.p50 is None
    assert deadline.recovery_seconds is None
    assert budget.phases["after"].endpoints["read_feed"].latency_ms.p50 is not None


def test_the_validation_of_the_lab_is_applied_to_fleets_only() -> None:
    refused = shipped_validation().refused.get(SCENARIO, ())
    spec = FleetSpec(kind="shards", services=8)
    fleet, _ = runs.run_once(find(SCENARIO), PARAMETERS, 1, spec, None)
    assert fleet.simulation is not None
    assert len(fleet.simulation.refused) == len(refused)
    assert simulated(1)[0].simulation is not None
    assert simulated(1)[0].simulation.refused == []  # type: ignore[union-attr]


def test_a_suspended_process_serves_what_its_callers_gave_up(two_runs: list[Run]) -> None:
    """Only so does a retry storm stay, as it does in real runs."""
    result = two_runs[0][0]
    success = {
        one.name: one.phases["after"].endpoints["read_feed"].success for one in result.variants
    }
    assert success["naive"] == success["jitter"] == 0.0
    assert success["budget"] == success["breaker"] == success["deadline"] == 1.0


@pytest.mark.slow
def test_the_model_meets_the_real_lab_where_a_storm_stays(tmp_path: Path) -> None:
    scenario = runs.prepared(find(SCENARIO), only=["naive", "budget"], quick=True)
    duplicates = find("duplicates")
    for _ in range(3):  # a busy machine gives no result
        found = asyncio.run(validate([duplicates, scenario], [1], tmp_path / "runs", quick=True))
        if found.figures:
            break
        tmp_path = tmp_path / "again"
    assert "fault of data" in found.left_out["duplicates"]
    if not found.figures:
        pytest.skip(f"the machine was busy: {found.left_out}")
    after = {one.variant: one for one in found.figures if one.key[1:] == AFTER}
    assert (after["naive"].real, after["naive"].simulated) == (0.0, 0.0)
    assert (after["budget"].real, after["budget"].simulated) == pytest.approx((1.0, 1.0), abs=0.1)


AFTER = ("after", "read_feed", "success")
