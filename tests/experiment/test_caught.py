"""A request that was in flight when the fault began counts as one during the fault."""

from lab.experiment.evaluate import reassign_interrupted
from lab.faults.kinds import DownFault
from lab.load.samples import Sample
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


def sample(
    due_s: float, latency_ms: float | None, phase: str = "before", variant: str = "sync-chain"
) -> Sample:
    return Sample(variant, phase, "read_feed", due_s, 0.0, latency_ms)


def test_only_what_was_under_way_is_moved() -> None:
    answered = sample(FAULT_BEGINS_S - 0.11, 10)
    caught = sample(FAULT_BEGINS_S - 0.01, 500)
    never_sent = sample(FAULT_BEGINS_S - 0.01, None)
    assert reassign_interrupted([answered, caught, never_sent], TIMELINE) == 1
    assert [one.phase for one in (answered, caught, never_sent)] == ["before", "during", "before"]


def test_a_request_without_the_fault_keeps_its_phase() -> None:
    unaffected = sample(FAULT_BEGINS_S - 0.01, 500, variant="async-bus")
    warm_up = sample(FAULT_BEGINS_S - 0.01, 5_000, phase="warm_up")
    later = sample(FAULT_BEGINS_S + 0.5, 500, phase="during")
    assert reassign_interrupted([unaffected, warm_up, later], TIMELINE) == 0
    assert [one.phase for one in (unaffected, warm_up, later)] == ["before", "warm_up", "during"]
