"""To which phase a request belongs that was under way when the fault came: to the fault's.

It was due in the phase before, and counted there it would make a healthy service look ill: with ten
requests in a hundred milliseconds one of them is caught in every other run. What the fault met, it
met.
"""

from collections.abc import Sequence

from lab.load.samples import Sample
from lab.scenarios.timeline import WARM_UP, Phase


def count_with_the_fault(samples: Sequence[Sample], timeline: Sequence[Phase]) -> int:
    """Give each sample that a fault caught in a phase without faults the phase of that fault;
    how many they were. Fills in `phase` of the samples, in place."""
    moved = 0
    begins_s = WARM_UP.seconds
    healthy = {phase.name for phase in timeline if not phase.faults}
    for phase in timeline:
        if phase.faults:
            first_s = begins_s + min(window.at_s for window in phase.faults)
            hurt = {name for window in phase.faults for name in window.variants}
            for sample in samples:
                if (
                    sample.variant in hurt
                    and sample.phase in healthy
                    and sample.intended_s < first_s < _over_s(sample)
                ):
                    sample.phase = phase.name
                    moved += 1
        begins_s += phase.seconds
    return moved


def _over_s(sample: Sample) -> float:
    """When its answer, or its failure, was there; a write that was never sent was over at once."""
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000
