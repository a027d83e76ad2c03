"""A surge: more arrivals in `during`, in the schedule, the file, the plan and the figures."""

from pathlib import Path
from typing import Any

import pytest

from lab.cluster.arrangements import ARRANGEMENTS, build_programs
from lab.experiment.evaluate import variant_result
from lab.experiment.lag import LagReading, LagSampler
from lab.experiment.trial import build_load_plan
from lab.load.plan import LoadAction, PlanPhase
from lab.load.samples import Sample
from lab.load.schedule import build_schedule
from lab.results.paths import check_figure_path, lookup
from lab.results.result import ConsumerLag, EndpointResult, PhaseResult, RunResult, VariantResult
from lab.scenarios.scenario import Scenario, ScenarioError
from tests.support.small import scenario_text

MIX: dict[LoadAction, float] = {"read_feed": 6.0, "create_post": 1.0, "create_comment": 3.0}
QUIET = [PlanPhase(name=name, seconds=20) for name in ("before", "during", "after")]
SURGE = [QUIET[0], QUIET[1].model_copy(update={"rate": 200.0}), QUIET[2]]


def scenario(folder: Path, load: str = "during_rate = 100, ", **more: Any) -> Scenario:
    text = scenario_text(rate=20, **more).replace("load = { ", f"load = {{ {load}", 1)
    (folder / "mine.toml").write_text(text)
    return Scenario.load_file(folder / "mine.toml")


# ── The schedule


def test_in_a_surge_arrivals_come_at_its_rate() -> None:
    arrivals = build_schedule(7, 20, SURGE, MIX)
    ends_s = (20, 40, 60)
    counts = [sum(end - 20 <= one.at_s < end for one in arrivals) for end in ends_s]
    assert counts == [pytest.approx(wanted, rel=0.15) for wanted in (400, 4_000, 400)]
    assert arrivals == sorted(arrivals, key=lambda one: one.at_s)


def test_only_the_surge_changes_the_schedule() -> None:
    calm = build_schedule(7, 20, QUIET, MIX)
    until_then = [one for one in calm if one.at_s < 20]
    assert build_schedule(7, 20, SURGE, MIX)[: len(until_then)] == until_then
    said = [phase.model_copy(update={"rate": 20.0}) for phase in QUIET]
    assert build_schedule(7, 20, said, MIX) == calm


def test_gaps_in_the_surge_are_exponential_from_the_beginning() -> None:
    moments = [one.at_s for one in build_schedule(7, 20, SURGE, MIX) if 20 <= one.at_s < 40]
    gaps = [after - before for before, after in zip([20.0, *moments], moments, strict=False)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 200, rel=0.05)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)


# ── The file and the plan


def test_the_plan_gives_a_rate_to_the_surge_alone(tmp_path: Path) -> None:
    plan = build_load_plan(scenario(tmp_path), 7, tmp_path, [], [], 0.0)
    assert plan["rate"] == 20
    assert {one["name"]: one.get("rate") for one in plan["phases"]} == {
        **{"warm_up": None, "before": None, "during": 100.0, "after": None}
    }
    calm = build_load_plan(scenario(tmp_path, load=""), 7, tmp_path, [], [], 0.0)
    assert not any(one["rate"] for one in calm["phases"])


def test_at_another_rate_the_surge_keeps_its_ratio(tmp_path: Path) -> None:
    faster = scenario(tmp_path).at_rate(30).load
    assert (faster.rate, faster.during_rate) == (30, 150)
    assert scenario(tmp_path, load="").at_rate(30).load.during_rate is None


def test_a_sequence_has_no_during_for_a_surge(tmp_path: Path) -> None:
    slow = {"fault": "latency", "target": "posts", "ms": 20}
    in_turn = scenario_text(slow, phases="before = 1, each = 1, after = 1")
    (tmp_path / "mine.toml").write_text(in_turn.replace("load = {", "load = { during_rate = 50,"))
    with pytest.raises(
        ScenarioError, match=r"load\.during_rate: .* with phases\.each there is none"
    ):
        Scenario.load_file(tmp_path / "mine.toml")


# ── The figures


def test_the_surge_lasts_as_long_as_during(tmp_path: Path) -> None:
    one = scenario(tmp_path, phases="before = 2, during = 1, after = 2")
    assert one.timeline().disturbance("sync-chain") == (2.5, 3.5)
    assert scenario(tmp_path, load="").timeline().disturbance("sync-chain") is None


def test_a_consumer_has_drained_when_its_lag_is_usual_again(
    tmp_path: Path,
) -> None:
    one = scenario(tmp_path, phases="before = 2, during = 1, after = 2")
    heads = {0.0: 0, 2.5: 10, 3.0: 40, 3.5: 70, 4.0: 75, 4.5: 80}
    offsets = {0.0: 0, 2.5: 10, 3.0: 20, 3.5: 40, 4.0: 60, 4.5: 80}
    sampler = LagSampler([], 0.0)
    sampler.readings = [
        LagReading(t, "async-bus", "query", heads[t], offsets[t], offsets[t], answered=True)
        for t in heads
    ]
    lag = sampler.figures(one.timeline(), "async-bus")["query"]
    assert (lag.max, lag.outage_seconds, lag.drained_seconds) == (30, 1.0, 1.0)
    assert lag.drain_rate == 40


def test_not_to_drain_after_a_surge_is_a_measurement(tmp_path: Path) -> None:
    lag = {"query": ConsumerLag(max=9, outage_seconds=1.0), "comments": ConsumerLag(max=9)}
    result = _result(VariantResult(name="v", arrangement="async-bus", lag=lag))
    assert lookup("v.lag.query.drained_seconds", result) == float("inf")
    assert lookup("v.lag.comments.drained_seconds", result) is None  # nothing had been published


def test_recovery_is_counted_from_the_end_of_the_surge(tmp_path: Path) -> None:
    # Slow until 1.9 s; the surge ended at 0.5 + 0.6 + 0.6.
    stretches = (("before", 0.5, 20, 2.0), ("during", 1.1, 60, 900.0), ("after", 1.7, 20, 900.0))
    samples = [
        Sample("sync-chain", phase, "read_feed", from_s + 0.01 * n, 0.1, latency_ms, 200, ok=True)
        for phase, from_s, count, latency_ms in (*stretches, ("after", 1.9, 40, 2.0))
        for n in range(count)
    ]
    surge, calm = (
        variant_result(one, "sync-chain", samples, None, [])
        for one in (scenario(tmp_path), scenario(tmp_path, load=""))
    )
    assert surge.recovery_seconds == pytest.approx(0.2)
    assert calm.recovery_seconds is None


def _result(variant: VariantResult) -> RunResult:
    return RunResult(scenario="s", seed=7, started="now", variants=[variant])


def test_a_path_leads_to_the_good_answers_a_second() -> None:
    feed = EndpointResult(sent=50, ok=30, failed=20)
    phases = {"during": PhaseResult(seconds=2.5, endpoints={"read_feed": feed})}
    result = _result(VariantResult(name="v", arrangement="sync-chain", phases=phases))
    check_figure_path("v.during.read_feed.rate", ["v"], ["during"], steady=False)
    assert lookup("v.during.read_feed.rate", result) == 12
    assert lookup("v.during.create_post.rate", result) is None


# ── Capacity of one consumer


def test_the_time_for_an_event_is_set_by_consumer(tmp_path: Path) -> None:
    arrangement = ARRANGEMENTS["async-bus"]
    ports = dict.fromkeys(arrangement.processes, 1)
    options = {"apply_ms": {"query": 25, "comments": 5}}
    told = {
        one.name: " ".join(one.argv)
        for one in build_programs("v", arrangement, options, ports, tmp_path, "token")
    }
    assert "--apply-ms 25" in told["v.query"]
    assert "--apply-ms 5" in told["v.comments"]
    assert not any("--apply-ms" in told[f"v.{name}"] for name in ("posts", "moderation"))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("{ qery = 25 }", r"apply_ms: no 'qery' here. Did you mean 'query'\?"),
        ("{ posts = 25 }", "apply_ms: no 'posts' here. Known: comments, moderation, query."),
        ("{ query = 0 }", "apply_ms.query: saw 0; expected a whole number, 1 to 1000"),
        ('"slow"', "apply_ms: saw 'slow'; expected a whole number, 1 to 1000"),
    ],
)
def test_a_table_of_unknown_consumers_is_refused(tmp_path: Path, table: str, sentence: str) -> None:
    text = scenario_text(variants=("async-bus",), expect="async-bus.data.lost == 0")
    head = "[variants.async-bus]\n"
    (tmp_path / "mine.toml").write_text(text.replace(head, f"{head}apply_ms = {table}\n"))
    with pytest.raises(ScenarioError, match=sentence):
        Scenario.load_file(tmp_path / "mine.toml")


def test_a_change_of_rate_changes_only_the_clock() -> None:
    at_s = [one.at_s for one in build_schedule(7, 20, SURGE, MIX)]
    gaps = [20 * min(at, 20) + 200 * max(0, min(at, 40) - 20) + 20 * max(0, at - 40) for at in at_s]
    alike = build_schedule(7, 1, [QUIET[0].model_copy(update={"seconds": 4_800})], MIX)
    assert gaps == pytest.approx([one.at_s for one in alike], abs=1e-3)
