"""Several runs of one scenario: what is pooled, what is left out, and their order."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.experiment.pooling import RunOutcome, merge_loads, pool_runs
from lab.experiment.runner import RepeatedRun
from lab.load.samples import Sample, read_samples
from lab.results.result import (
    CheckerCounts,
    ConsumerLag,
    FaultEvidence,
    LoadSummary,
    Newcomer,
    NoiseFloor,
    PhaseResult,
    RunResult,
    SendLag,
    VariantResult,
)
from lab.scenarios.scenario import Scenario
from tests.programs.unhurried import be_unhurried
from tests.support.small import scenario_file, scenario_text

TWINS = ["sync-chain", "async-bus"]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    expect = "sync-chain.during.read_feed.max <= 100"
    path = tmp_path / scenario_file(tmp_path, "own", expect=expect)
    return Scenario.load_file(path)


def samples(*latencies_ms: float, endpoint: str = "read_feed") -> list[Sample]:
    return [
        Sample("sync-chain", "during", endpoint, place / 10, 0.1, latency, 200, ok=True)
        for place, latency in enumerate(latencies_ms)
    ]


def outcome(seed: int, *latencies_ms: float, valid: bool = True, **more: Any) -> RunOutcome:
    phases = {name: PhaseResult(seconds=2) for name in ("before", "during", "after")}
    variant = VariantResult(name="sync-chain", arrangement="sync-chain", phases=phases, **more)
    result = RunResult(
        scenario="own",
        seed=seed,
        started="2026-01-01T00:00:00+00:00",
        variants=[variant],
        load=LoadSummary(
            lag_ms=SendLag(p50=0.1, p99=seed, max=9), late=seed, probes={"sync-chain": 5}
        ),
        noise_floor=NoiseFloor(),
        valid=valid,
        problems=[] if valid else ["The load was late."],
    )
    return RunOutcome(seed, Path(f"run-{seed:02d}"), result, samples(*latencies_ms))


def test_percentiles_are_of_all_samples_together(scenario: Scenario) -> None:
    result = pool_runs(scenario, [outcome(1, 1, 1, 1, 90), outcome(2, 2, 3)])
    during = result.variants[0].phases["during"]
    feed = during.endpoints["read_feed"]
    assert (feed.sent, feed.ok, during.seconds) == (6, 6, 4)
    assert (feed.latency_ms.p50, feed.latency_ms.max) == (1, 90)
    assert (result.seed, result.repeats, result.valid) == (1, 2, True)
    assert (result.load.late, result.load.lag_ms.p99) == (3, 2)
    assert result.load.probes == {"sync-chain": 10}


def test_an_expectation_is_judged_by_the_whole(scenario: Scenario) -> None:
    good, bad = outcome(1, *[5] * 9), outcome(2, 500)
    assert pool_runs(scenario, [good]).expectations[0].verdict == "holds"
    both = pool_runs(scenario, [good, bad])
    assert both.expectations[0].verdict == "fails"
    assert both.expectations[0].measured == 500


def test_an_invalid_run_has_no_part_in_the_whole(scenario: Scenario) -> None:
    result = pool_runs(scenario, [outcome(1, 500, valid=False), outcome(2, 7)])
    assert result.valid
    assert result.problems == []
    assert result.variants[0].phases["during"].endpoints["read_feed"].latency_ms.max == 7
    assert [(one.seed, one.valid) for one in result.runs] == [(1, False), (2, True)]
    assert [one.folder for one in result.runs] == ["run-01", "run-02"]
    assert result.runs[0].problems == ["The load was late."]


def test_without_an_honest_run_there_is_no_result(scenario: Scenario) -> None:
    result = pool_runs(scenario, [outcome(1, 5, valid=False), outcome(2, 5, valid=False)])
    assert (result.exit_code, result.problems) == (3, ["The load was late."])
    none = RunOutcome(1, Path("run-01"), None, failure="No port is free.")
    result = pool_runs(scenario, [none, outcome(2, 5)])
    assert (result.valid, result.repeats) == (True, 2)
    assert result.runs[0].problems == ["No port is free."]


def test_counts_are_summed(scenario: Scenario) -> None:
    data = CheckerCounts(acknowledged=9, visible=8, lost=1, duplicated=0, unsettled=0)
    asks = {"comments": {"posts": {"asked": 3, "retried": 1}}}
    more = {"data": data, "asks": asks, "given_up": 2}
    (variant,) = pool_runs(scenario, [outcome(1, 5, **more), outcome(2, 5, **more)]).variants
    assert variant.data is not None
    assert (variant.data.acknowledged, variant.data.visible, variant.data.lost) == (18, 16, 2)
    assert variant.asks == {"comments": {"posts": {"asked": 6, "retried": 2}}}
    assert variant.given_up == 4


def test_the_time_to_recover_is_the_median_of_all_runs(
    scenario: Scenario,
) -> None:
    def recovered(*seconds: float | None) -> float | None:
        runs = [outcome(n, 5, recovery_seconds=one) for n, one in enumerate(seconds)]
        return pool_runs(scenario, runs).variants[0].recovery_seconds

    assert recovered(0.1, 0.3, 9) == 0.3
    assert recovered(0.1, None, 9) == 9
    assert recovered(0.1, None, None) is None


def test_the_time_to_recover_has_two_ends_if_a_run_has(scenario: Scenario) -> None:
    uncertain = {"recovery_seconds": (0.1, None)}
    runs = [
        outcome(1, 5, recovery_seconds=0.1),
        outcome(2, 5, recovery_seconds=0.3, bounds=uncertain),
        outcome(3, 5, recovery_seconds=9),
    ]
    (variant,) = pool_runs(scenario, runs).variants
    assert variant.recovery_seconds == 0.3
    assert variant.bounds == {"recovery_seconds": (0.1, 9)}


def test_a_late_request_of_one_run_makes_the_whole_uncertain(scenario: Scenario) -> None:
    during = next(phase for phase in scenario.timeline().phases if phase.name == "during")
    for late_ms, verdict, ends in ((0.0, "fails", {}), (115.0, "not measured", {(9.0, 120.0)})):
        runs = [outcome(1, 5, 6, 120), outcome(2, 7, 8, 9)]
        for run in runs:
            for place, sample in enumerate(run.samples):
                sample.intended_s = during.from_s + (place + 1) * during.seconds / 10
        runs[0].samples[2].lag_ms = late_ms
        result = pool_runs(scenario, runs)
        assert result.expectations[0].verdict == verdict
        bounds = result.variants[0].bounds
        assert {end for path, end in bounds.items() if path == "during.read_feed.max"} == set(ends)


def test_a_fault_acted_only_if_it_acted_in_every_run(scenario: Scenario) -> None:
    def with_fault(seed: int, acted: bool) -> RunOutcome:
        proof = FaultEvidence(kind="down", target="posts", acted=acted, evidence={"pid": seed})
        return outcome(seed, 5, faults=[proof])

    (proof,) = pool_runs(scenario, [with_fault(1, True), with_fault(2, True)]).variants[0].faults
    assert (proof.acted, proof.evidence) == (True, {"pid": 1, "acted_in_runs": 2})
    (proof,) = pool_runs(scenario, [with_fault(1, True), with_fault(2, False)]).variants[0].faults
    assert not proof.acted


def test_the_worst_lag_and_the_middle_newcomer_are_kept(scenario: Scenario) -> None:
    def with_lag(seed: int, most: int, seconds: float | None) -> RunOutcome:
        newcomer = Newcomer(service="query", part="query-2", at_s=1, events=5, seconds=seconds)
        lag = {"query": ConsumerLag(max=most, drain_rate=most)}
        return outcome(seed, 5, lag=lag, newcomers=[newcomer])

    runs = [with_lag(1, 10, 3.0), with_lag(2, 90, None), with_lag(3, 50, 1.0)]
    (variant,) = pool_runs(scenario, runs).variants
    assert (variant.lag["query"].max, variant.lag["query"].drain_rate) == (90, 50)
    assert [one.seconds for one in variant.newcomers] == [3.0]


def test_pooled_loads_add_their_late_sends() -> None:
    loads = [
        LoadSummary(
            lag_ms=SendLag(p99=1, max=2), late=1, dropped=2, cpu_share=0.1, machine_share=0.9
        ),
        LoadSummary(
            lag_ms=SendLag(p99=3, max=9), late=3, dropped=1, cpu_share=0.4, machine_share=0.2
        ),
    ]
    together = merge_loads(loads)
    assert together.lag_ms == SendLag(p50=None, p99=3, max=9)
    assert (together.late, together.dropped, together.cpu_share) == (4, 3, 0.4)
    assert together.machine_share == 0.9


# ── Variants that run one after another


async def test_isolated_variants_run_alone_and_next_time_in_reverse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_unhurried(monkeypatch.setattr)
    path, phases = tmp_path / "own.toml", "before = 0.3, during = 0.3, after = 0.3"
    text = scenario_text(rate=40, phases=phases, timeout_ms=60_000)
    path.write_text(f"isolate = true\n{text}")
    runs = RepeatedRun(Scenario.load_file(path), tmp_path, 7, False, repeats=2)
    for number, order in enumerate((TWINS, TWINS[::-1])):
        one = await runs.run(number, lambda line: None)
        plans = {
            name: json.loads((one.folder / f"variant-{name}/plan.json").read_text())
            for name in TWINS
        }
        assert sorted(TWINS, key=lambda name: float(plans[name]["start_at"])) == order
        assert [len(plan["variants"]) for plan in plans.values()] == [1, 1]
        assert {plan["seed"] for plan in plans.values()} == {7 + number}
        sent: dict[str, list[tuple[float, str]]] = {name: [] for name in TWINS}
        for sample in read_samples(one.folder / "samples.csv"):
            sent[sample.variant].append((sample.intended_s, sample.endpoint))
        assert sorted(sent["sync-chain"]) == sorted(sent["async-bus"])
        assert len(sent["sync-chain"]) > 30
    whole = runs.result()
    assert whole is not None
    assert (whole.valid, whole.isolated, whole.repeats) == (True, True, 2)
    assert [one.name for one in whole.variants] == TWINS
    each = [one.result for one in runs.outcomes if one.result]
    for place, variant in enumerate(whole.variants):
        assert _sent(variant) == sum(_sent(one.variants[place]) for one in each) > 0


def _sent(variant: VariantResult) -> int:
    return sum(of.sent for phase in variant.phases.values() for of in phase.endpoints.values())
