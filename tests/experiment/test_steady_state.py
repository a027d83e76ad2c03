"""A fault is measured from a steady state: no growing backlog, nothing left of the fault before."""

from dataclasses import replace

import pytest

from lab.experiment.lag import LagReading
from lab.experiment.lateness import in_time
from lab.experiment.steady_state import growing_backlog, left_behind, unsteady_figures
from lab.faults.kinds import HangFault
from lab.load.samples import Sample
from lab.results.paths import unproved_reason
from lab.results.result import (
    EndpointResult,
    FaultEvidence,
    PhaseResult,
    RunResult,
    VariantResult,
)
from lab.results.timeline import FaultWindow, ScenarioPhase, Timeline

BEFORE = ScenarioPhase("before", 0.5, 3.0)


def window(target: str, from_s: float) -> FaultWindow:
    return FaultWindow(HangFault(target=target), from_s, 1.0, ("bus",))


TIMELINE = Timeline(
    (
        BEFORE,
        ScenarioPhase("posts hang", 3.5, 1.0, (window("posts", 3.5),)),
        ScenarioPhase("recovering", 4.5, 0.5),
        ScenarioPhase("query hang", 5.0, 1.0, (window("query", 5.0),)),
        ScenarioPhase("after", 6.0, 1.0),
    )
)
FEED = Sample("bus", "before", "read_feed", 1.0, 0.1, 5.0, 200, ok=True)
POST = replace(FEED, endpoint="create_post", visible_ms=20.0)


def lags(*each: int) -> list[LagReading]:
    """Readings of `query`, evenly over the phase."""
    step_s = BEFORE.seconds / len(each)
    return [
        LagReading(BEFORE.from_s + number * step_s, "bus", "query", lag, 0, 0, answered=True)
        for number, lag in enumerate(each)
    ]


@pytest.mark.parametrize(
    ("each", "grows"),
    [
        ((1, 3, 2, 5, 9, 12, 15, 22, 28), True),
        ((0, 0, 0, 2, 3, 4, 5, 5, 6), True),
        ((1, 3, 2, 40, 90, 40, 1, 0, 2), False),  # a peak that has passed
        ((1, 3, 2, 5, 9, 12, 15, 22, 1), False),  # drained at its end
        ((20, 21, 22, 23, 24, 25, 26, 27, 28), False),
        ((0, 0, 0, 1, 1, 1, 2, 2, 2), False),
    ],
)
def test_a_lag_that_only_grows_is_no_steady_state(each: tuple[int, ...], grows: bool) -> None:
    why = growing_backlog(lags(*each), [], BEFORE)
    assert ("`query` fell behind" in why) is grows


def seen_after(*visible_ms: float | None) -> list[Sample]:
    step_s = BEFORE.seconds / len(visible_ms)
    return [
        replace(POST, intended_s=BEFORE.from_s + number * step_s, visible_ms=ms)
        for number, ms in enumerate(visible_ms)
    ]


@pytest.mark.parametrize(
    ("visible_ms", "grows"),
    [
        ((115, 120, 130, 300, 400, 500, 600, 700, 748), True),
        ((115, 120, 130, 300, 400, 500, 600, 700, 200), False),
        ((115, 120, 130, 300, 400, 500, 600, None, None), False),  # too few to say so
        ((10, 12, 14, 20, 20, 20, 60, 70, 80), False),
    ],
)
def test_on_a_bus_without_positions_readers_wait_longer(
    visible_ms: tuple[float | None, ...], grows: bool
) -> None:
    why = growing_backlog([], [in_time(one) for one in seen_after(*visible_ms)], BEFORE)
    assert ("waited longer and longer" in why) is grows


def test_only_what_depends_on_the_backlog_is_not_measured() -> None:
    sent = EndpointResult(sent=9, ok=9, failed=0)
    phases = {
        name: PhaseResult(seconds=3, endpoints={"read_feed": sent, "create_post": sent})
        for name in ("before", "posts hang")
    }
    bus = VariantResult(name="bus", arrangement="async-bus", phases=phases)
    bus.unproved = unsteady_figures(bus, [], lags(1, 1, 1, 9, 9, 9, 20, 20, 20), TIMELINE)
    result = RunResult(scenario="s", seed=7, started="now", variants=[bus])
    reasons = {
        path: unproved_reason(f"bus.{path}", result)
        for path in (
            *("posts_hang.create_post.visible_p50", "lag.query.max", "recovery.read_feed"),
            *("posts_hang.create_post.p50", "posts_hang.read_feed.success", "data.lost"),
        )
    }
    assert [bool(why) for why in reasons.values()] == [True, True, True, False, False, False]


def pause(*latencies_ms: float) -> list[Sample]:
    """Requests of the pause between the faults, from 4.6 s on; the second fault begins at 5 s."""
    return [
        replace(FEED, phase="recovering", intended_s=4.6 + number / 100, latency_ms=latency_ms)
        for number, latency_ms in enumerate(latencies_ms)
    ]


@pytest.mark.parametrize(
    ("latencies_ms", "left"),
    [
        ((5, 5, 5, 5, 5, 5, 5, 5), 0),
        ((900, 900, 5, 5, 5, 5, 5, 5), 2),
        ((900, 5, 5, 5, 5, 5, 5, 5), 0),
        ((200, 300, 200, 300), 0),  # slow, and answered before
    ],
)
def test_a_fault_that_begins_too_early_is_not_measured(
    latencies_ms: tuple[float, ...], left: int
) -> None:
    bus = VariantResult(name="bus", arrangement="async-bus")
    found = list(left_behind([FEED, *pause(*latencies_ms)], TIMELINE, bus))
    assert [(phase, why.split(" of ")[0]) for phase, why in found] == (
        [("query hang", str(left))] if left else []
    )


def test_a_fault_that_meets_the_one_before_it_is_not_measured() -> None:
    slow_to_go = FaultEvidence(
        kind="hang", target="posts", acted=True, phase="posts hang", from_s=3.5, gone_s=5.2
    )
    bus = VariantResult(name="bus", arrangement="async-bus", faults=[slow_to_go])
    ((phase, why),) = left_behind([FEED], TIMELINE, bus)
    assert (phase, why) == ("query hang", "`posts hang` was not gone when `query hang` began.")
