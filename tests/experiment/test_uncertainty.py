"""A busy machine makes figures uncertain. It never makes a verdict wrong.

Each run is made twice from the same services: once under a load generator that keeps its schedule,
which says what is true, and once under one that does not.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from lab.experiment.differences import compare_medians
from lab.experiment.evaluate import (
    judge_expectations,
    validity_problems,
)
from lab.experiment.lateness import bounded_samples
from lab.experiment.predictions import judge_predictions
from lab.load.metrics import LATE_AFTER_MS
from lab.load.samples import Sample
from lab.results.expressions import evaluate
from lab.results.paths import lookup, lookup_bounds
from lab.results.result import Difference, LatencySummary, NoiseFloor, RunResult
from lab.scenarios.scenario import Scenario
from tests.support.busy_generator import (
    END_S,
    ENDPOINTS,
    FAULTS,
    FROM_S,
    TIMEOUT_S,
    VARIANTS,
    Generator,
    World,
    frozen,
    late,
    slow,
)

RUNS = 67  # with each defect: 201 in all
RUNS_FIGURE_BY_FIGURE = 9  # of these
TOLERANCE_MS = 1.5 * LATE_AFTER_MS  # a send and an answer, each a little late
DEFECTS = (frozen, late, slow)
PHASES = ("before", "during", "after")
COUNTS = ("success", "ok", "sent", "failed", "errors.timeout", "errors.refused", "rate")
LATENCIES = ("p50", "p90", "p99", "max", "mean", "failed_after_p50", "all_p50", "all_p95")
VISIBLE = ("visible_p50", "visible_p99", "visible_max", "visible_all_p50", "visible_all_p95")
CLAIMS = {
    "latency": (
        "sync-chain.during.read_feed.p50 >= sync-chain.before.read_feed.p50 + 250",
        "async-bus.during.read_feed.p50 <= async-bus.before.read_feed.p50 + 50",
        "async-bus.during.create_comment.visible_p50 >= async-bus.during.create_comment.p50 + 300",
        "min(sync-chain.during.read_feed.success, async-bus.during.read_feed.success) >= 0.99",
        "sync-chain.during.read_feed.p99 <= 100 or async-bus.during.read_feed.p50 >= 100",
    ),
    "down": (
        "sync-chain.during.read_feed.success <= 0.2",
        "sync-chain.during.read_feed.failed_after_p50 <= 250",
        "async-bus.during.read_feed.success >= 0.9",
        "sync-chain.recovery_seconds <= 3 and async-bus.recovery_seconds <= 3",
        "async-bus.during.create_comment.success >= 0.5",
    ),
    "hang": (
        "sync-chain.during.read_feed.success <= 0.6",
        "sync-chain.during.read_feed.failed_after_p50 >= 900",
        "async-bus.during.read_feed.p50 <= async-bus.before.read_feed.p50 + 50",
        "async-bus.during.create_comment.errors.timeout >= 5",
        "sync-chain.during.create_post.success <= 0.5",
    ),
}
"""As scenarios have them; the last one of each fault is not true."""


def busy_runs(
    defect: Callable[[Random], Generator],
) -> Iterator[tuple[World, RunResult, RunResult]]:
    """Each world, the result under a generator in time, and under one with the defect."""
    for seed in range(RUNS):
        world = World(seed, list(FAULTS)[seed % len(FAULTS)])
        yield (
            world,
            world.result(Generator()),
            world.result(defect(Random(seed))),
        )


def all_paths() -> Iterator[tuple[str, float]]:
    """Each path, and how near to a figure nothing is claimed: sends may be a little late."""
    for variant in VARIANTS:
        yield f"{variant}.recovery_seconds", TOLERANCE_MS / 1_000
        yield f"{variant}.data.visible_p50", TOLERANCE_MS
        for phase in PHASES:
            for endpoint in ENDPOINTS:
                start = f"{variant}.{phase}.{endpoint}"
                yield from ((f"{start}.{name}", 0.0) for name in COUNTS)
                yield from ((f"{start}.{name}", TOLERANCE_MS) for name in LATENCIES)
                if endpoint != "read_feed":
                    yield from ((f"{start}.{name}", TOLERANCE_MS) for name in VISIBLE)
                    yield f"{start}.never_visible", 0.0


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda of: of.__name__)
def test_a_busy_machine_never_makes_a_verdict_wrong(
    defect: Callable[[Random], Generator],
) -> None:
    verdicts: Counter[str] = Counter()
    for world, true, busy in busy_runs(defect):
        assert not any(variant.bounds for variant in true.variants)
        for path, tolerance in all_paths() if world.seed < RUNS_FIGURE_BY_FIGURE else ():
            if (truth := lookup(path, true)) is not None:
                low, high = lookup_bounds(path, busy) or (1.0, 0.0)
                case = (world, path, truth, low, high)
                assert low - tolerance <= truth <= high + tolerance + 1e-9, case
        for claim in CLAIMS[world.fault]:
            truth, found = evaluate(claim, true).holds, evaluate(claim, busy)
            assert found.holds in (truth, None), (world, claim, found)
            assert bool(found.reason) is (found.holds is None)
            verdicts["judged" if found.holds is not None else "not measured"] += 1
        assert evaluate(CLAIMS[world.fault][-1], true).holds is False
    assert verdicts["judged"] >= 0.4 * verdicts.total(), verdicts


def differences_of(world: World, generator: Generator) -> dict[tuple[str, str, str], Difference]:
    bounded = bounded_samples(
        world.measure(generator), world.timeline, 1_000 * TIMEOUT_S, noted=generator.stalls
    )
    found = compare_medians([bounded], VARIANTS, PHASES, NoiseFloor())
    return {(one.figure, one.phase, one.endpoint): one for one in found}


def test_a_large_difference_stands_although_five_requests_were_late() -> None:
    world = World(3, "latency")
    result = world.result(Generator(freezes=[(3.0, 3.08)]))
    assert result.load.late >= 5
    assert validity_problems(scenario(CLAIMS["latency"]), result, []) == []
    verdicts = [one.verdict for one in judge_expectations(scenario(CLAIMS["latency"]), result)]
    assert verdicts == ["holds"] * 4 + ["fails"]
    found = differences_of(world, Generator(freezes=[(3.0, 3.08)]))
    assert found["latency", "during", "read_feed"].verdict == "faster"


def test_no_difference_is_shown_that_a_busy_machine_may_have_made() -> None:
    wrong, shown = [], 0
    for seed in range(6):
        world = World(seed, list(FAULTS)[seed % len(FAULTS)])
        true = differences_of(world, Generator())
        for cell, one in differences_of(world, frozen(Random(seed))).items():
            if one.verdict != "no difference shown":
                shown += 1
                slower = true[cell].ratio > 1
                wrong += [(seed, cell)] if slower is not (one.verdict == "slower") else []
    assert not wrong
    assert shown >= 6


def test_a_run_without_a_verdict_is_no_result_and_says_why() -> None:
    world = World(1, "latency")
    result = world.result(Generator(freezes=[(0.2, END_S - 0.2)]))
    one = scenario(CLAIMS["latency"])
    (problem,) = validity_problems(one, result, [])
    assert problem.startswith("Nothing can be judged: the load sent ")
    judged = judge_expectations(one, result)
    assert {of.verdict for of in judged} == {"not measured"}
    assert all("Requests were sent late" in of.reason for of in judged)
    nothing_expected = scenario(())
    assert len(validity_problems(nothing_expected, result, [])) == 1


def test_late_requests_do_not_count_as_none_before_the_fault() -> None:
    world = World(2, "down")
    steady = ("read_feed.success >= 0.99", "create_post.p50 <= 100")
    one = scenario(CLAIMS["down"], steady)
    late_before = world.result(Generator(freezes=[(0.4, FROM_S + 0.1)]))
    assert validity_problems(one, late_before, []) == []
    never = late_before.model_copy(deep=True)
    never.variants[0].bounds = {}
    for endpoint in never.variants[0].phases["before"].endpoints.values():
        endpoint.sent, endpoint.success, endpoint.latency_ms = 0, None, LatencySummary()
    problems = validity_problems(one, never, [])
    assert len(problems) == 2
    assert all("nothing of the kind was due in that time" in problem for problem in problems)


def test_a_prediction_is_judged_only_if_both_ends_agree() -> None:
    world = World(0, "latency")
    spec = {
        "says": "The feed waits.",
        "predicted": "chain_ms(sync-chain.before.read_feed.p50, 300)",
        "measured": "sync-chain.during.read_feed.p50",
        "because": "",
        "within": 0.1,
    }
    one = cast(Scenario, SimpleNamespace(predict=[SimpleNamespace(**spec)]))
    for freezes, agrees in (((), True), ([(3.0, 3.04)], True), ([(2.2, 4.2)], None)):
        (found,) = judge_predictions(one, world.result(Generator(freezes)))
        assert found.agrees is agrees
        assert bool(found.reason) is (agrees is None)
        assert found.measured is not None


@pytest.mark.parametrize("is_down", [True, False])
def test_a_short_stall_takes_only_itself_from_a_long_wait(is_down: bool) -> None:
    feeds = [
        Sample("one", "during", "read_feed", at_s, 0.0, 60.0 + 30 * (place % 3), 200, ok=ok)
        for place, at_s in enumerate(number / 10 for number in range(90))
        for ok in [not is_down or not 3 < at_s < 7]
    ]
    write = Sample("one", "during", "create_post", 4.0, 0.0, 5.0, 201, ok=True, visible_ms=3_100.0)
    stalls = [(4.5, 4.52), (5.0, 5.02)]
    timeline = World(0, "down").timeline
    *_, found = bounded_samples([*feeds, write], timeline, 1_000 * TIMEOUT_S, noted=stalls)
    assert found.visible_low_ms == pytest.approx(3_060.0)


def scenario(claims: Sequence[str], steady: Sequence[str] = ()) -> Scenario:
    expect = [SimpleNamespace(says=claim, claim=None, that=claim) for claim in claims]
    return cast(
        Scenario,
        SimpleNamespace(
            expect=expect,
            steady_state=steady,
            variants=dict.fromkeys(VARIANTS, SimpleNamespace(is_own=True)),
            load=SimpleNamespace(mix={"create_post": 1}),
        ),
    )
