"""A request counts in the phase of the fault that hurt it."""

import pytest

from lab.experiment.request_phases import phase_seconds, reassign_requests
from lab.faults.kinds import DownFault
from lab.load.samples import Sample
from lab.results.result import FaultEvidence
from lab.results.timeline import FaultWindow, ScenarioPhase, Timeline

FAULT_BEGINS_S = 1.6
DOWN = FaultWindow(
    DownFault(target="posts"), from_s=FAULT_BEGINS_S, seconds=1.0, variants=("sync-chain",)
)
TIMELINE = Timeline(
    (
        ScenarioPhase("before", 0.5, 1.0),
        ScenarioPhase("during", 1.5, 2.0, (DOWN,)),
        ScenarioPhase("after", 3.5, 1.0),
    )
)


def window(target: str, from_s: float) -> FaultWindow:
    return FaultWindow(DownFault(target=target), from_s, 1.0, ("sync-chain",))


SEQUENCE = Timeline(
    (
        ScenarioPhase("before", 0.5, 1.0),
        ScenarioPhase("posts down", 1.5, 1.0, (window("posts", 1.5),)),
        ScenarioPhase("recovering", 2.5, 0.5),
        ScenarioPhase("query down", 3.0, 1.0, (window("query", 3.0),)),
        ScenarioPhase("after", 4.0, 1.0),
    )
)


def sample(
    due_s: float,
    latency_ms: float | None,
    phase: str = "before",
    variant: str = "sync-chain",
    ok: bool = False,
) -> Sample:
    return Sample(variant, phase, "read_feed", due_s, 0.0, latency_ms, ok=ok)


def test_what_was_under_way_counts_in_the_first_fault() -> None:
    answered = sample(FAULT_BEGINS_S - 0.11, 10)
    caught = sample(FAULT_BEGINS_S - 0.01, 500)
    never_sent = sample(FAULT_BEGINS_S - 0.01, None)
    assert reassign_requests([answered, caught, never_sent], TIMELINE) == 1
    assert [one.phase for one in (answered, caught, never_sent)] == ["before", "during", "before"]


def test_a_request_without_the_fault_keeps_its_phase() -> None:
    unaffected = sample(FAULT_BEGINS_S - 0.01, 500, variant="async-bus")
    warm_up = sample(FAULT_BEGINS_S - 0.01, 5_000, phase="warm_up")
    later = sample(FAULT_BEGINS_S + 0.5, 500, phase="during")
    assert reassign_requests([unaffected, warm_up, later], TIMELINE) == 0
    assert [one.phase for one in (unaffected, warm_up, later)] == ["before", "warm_up", "during"]


def test_what_one_fault_left_behind_is_not_the_next_ones() -> None:
    queued = sample(2.6, 2_000, phase="recovering")
    assert reassign_requests([queued], SEQUENCE) == 0
    assert queued.phase == "recovering"


def test_until_a_fault_is_gone_requests_count_in_its_phase() -> None:
    gone = FaultEvidence(
        kind="down", target="posts", acted=True, phase="posts down", from_s=1.5, gone_s=2.8
    )
    starting, started = sample(2.7, 1, "recovering"), sample(2.9, 1, "recovering", ok=True)
    assert reassign_requests([starting, started], SEQUENCE, {"sync-chain": [gone]}) == 1
    assert [starting.phase, started.phase] == ["posts down", "recovering"]


def test_a_success_before_the_fault_acted_counts_before() -> None:
    late = FaultEvidence(
        kind="down", target="posts", acted=True, phase="posts down", from_s=1.6, gone_s=2.5
    )
    unhurt, reset = sample(1.52, 5, "posts down", ok=True), sample(1.53, 5, "posts down")
    answered = sample(1.62, 5, "posts down", ok=True)
    assert reassign_requests([unhurt, reset, answered], SEQUENCE, {"sync-chain": [late]}) == 1
    assert [one.phase for one in (unhurt, reset, answered)] == [
        "before",
        "posts down",
        "posts down",
    ]


def test_the_length_of_a_phase_is_that_of_its_requests() -> None:
    evidence = FaultEvidence(
        kind="down", target="posts", acted=True, phase="posts down", from_s=1.6, gone_s=2.8
    )
    assert phase_seconds(SEQUENCE, "async-bus")["posts down"] == 1.0
    seconds = phase_seconds(SEQUENCE, "sync-chain", [evidence])
    assert {name: round(length, 3) for name, length in seconds.items()} == {
        **{"before": 1.1, "posts down": 1.2, "query down": 1.0, "after": 1.0}
    }


def test_a_phase_that_a_fault_has_covered_still_has_a_length() -> None:
    gone = FaultEvidence(
        kind="down", target="query", acted=True, phase="query down", from_s=3.0, gone_s=99.0
    )
    lengths = phase_seconds(SEQUENCE, "sync-chain", [gone])
    assert 0 < lengths["after"] < 0.1
    assert lengths["query down"] + lengths["after"] == pytest.approx(2.0)


def test_a_success_after_a_slow_restart_says_nothing_of_the_fault() -> None:
    restarted_s = 3.5 + 0.6
    evidence = FaultEvidence(
        kind="down", target="posts", acted=True, phase="during", from_s=1.6, gone_s=restarted_s
    )
    during = Timeline(
        (
            ScenarioPhase("before", 0.5, 1.1),
            ScenarioPhase(
                "during", 1.6, 1.9, (FaultWindow(DOWN.fault, 1.6, 1.9, ("sync-chain",)),)
            ),
            ScenarioPhase("after", 3.5, 1.0),
        )
    )
    unhurt = sample(3.6, 10, "after", ok=True)
    waited = sample(3.9, 300, "after", ok=True)
    failed = sample(3.9, 300, "after")
    reassign_requests([unhurt, waited, failed], during, {"sync-chain": [evidence]})
    assert [one.phase for one in (unhurt, waited, failed)] == ["during", "after", "during"]
