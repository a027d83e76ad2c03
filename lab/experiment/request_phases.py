"""The phase that a request counts in: that of the fault that hurt it.

The load generator writes down the phase in which a request was due. Near the edges of a fault, that
may be the wrong one:

- A request that is under way when the first fault begins is hurt by it, and counts there. Counted
  in the phase before, it would make a healthy service look faulty.
- A request that is under way when a later fault begins may have waited for what an earlier one left
  behind. If it was due in the pause between them, it stays there; pauses are not reported.
- A request that is due after the declared end of a fault, but before the fault was known to be gone
  (a killed process has to start again), counts in the phase of the fault.
- A request that succeeded before the fault was known to act counts in the phase before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.load.samples import Sample
from lab.results.result import FaultEvidence
from lab.results.timeline import ScenarioPhase, Timeline


@dataclass(frozen=True)
class Disturbance:
    """The faults of one phase in one variant; seconds from the start of the run.

    `from_s` to `until_s`: as declared; `on_s` and `gone_s`: when they were known to act, and to be
    gone. `previous`: the phase before, if it has no fault and they begin with their phase.
    """

    phase: str
    from_s: float
    until_s: float
    on_s: float
    gone_s: float
    previous: str | None


def disturbances(
    timeline: Timeline, variant: str, faults: Sequence[FaultEvidence] = ()
) -> list[Disturbance]:
    """The disturbances of a variant, in order. Without evidence, they acted as declared."""
    return list(_disturbances(timeline, variant, faults))


def _disturbances(
    timeline: Timeline, variant: str, faults: Sequence[FaultEvidence]
) -> Iterator[Disturbance]:
    previous: ScenarioPhase | None = None
    for phase in timeline.phases:
        windows = [window for window in phase.faults if variant in window.variants]
        if windows:
            own = [fault for fault in faults if fault.phase == phase.name]
            from_s = min(window.from_s for window in windows)
            until_s = max(window.until_s for window in windows)
            on = [fault.from_s for fault in own if fault.from_s is not None]
            gone = [fault.gone_s for fault in own if fault.gone_s is not None]
            with_phase = from_s <= phase.from_s and previous is not None and not previous.faults
            yield Disturbance(
                phase=phase.name,
                from_s=from_s,
                until_s=until_s,
                on_s=max(from_s, min(on, default=from_s)),
                gone_s=max(until_s, max(gone, default=until_s)),
                previous=previous.name if with_phase and previous is not None else None,
            )
        previous = phase


def phase_seconds(
    timeline: Timeline, variant: str, faults: Sequence[FaultEvidence] = ()
) -> dict[str, float]:
    """The length of each phase in a variant: of the time whose requests count in it. A name that
    comes several times has the length of its last phase."""
    seconds = {phase.name: phase.seconds for phase in timeline.phases}
    following = {
        phase.name: later.name
        for phase, later in pairwise(timeline.phases)
        if phase.faults and not later.faults
    }
    until_s = {phase.name: phase.until_s for phase in timeline.phases}
    for one in disturbances(timeline, variant, faults):
        longer_s = max(0.0, one.gone_s - until_s[one.phase])
        if later := following.get(one.phase):
            longer_s = min(longer_s, seconds[later])
            seconds[one.phase] += longer_s
            seconds[later] -= longer_s
        if one.previous:
            late_s = min(one.on_s - one.from_s, seconds[one.phase])
            seconds[one.phase] -= late_s
            seconds[one.previous] += late_s
    return seconds


def reassign_requests(
    samples: Sequence[Sample],
    timeline: Timeline,
    faults: Mapping[str, Sequence[FaultEvidence]] | None = None,
) -> int:
    """Move each sample to the phase of the fault that hurt it. `faults`: the evidence, by variant.

    Changes `phase` of the samples in place; returns how many it changed.
    """
    healthy = {phase.name for phase in timeline.phases if not phase.faults}
    moved = 0
    for variant in {sample.variant for sample in samples}:
        found = disturbances(timeline, variant, (faults or {}).get(variant, ()))
        for sample in samples:
            if sample.variant == variant and found:
                phase = _phase_of(sample, found, healthy)
                moved += phase != sample.phase
                sample.phase = phase
    return moved


def _phase_of(sample: Sample, found: Sequence[Disturbance], healthy: set[str]) -> str:
    due_s, end_s = sample.intended_s, _end_s(sample)
    if sample.phase in healthy:
        if due_s < found[0].from_s < end_s:
            return found[0].phase
        for one in found:
            if one.until_s <= due_s < one.gone_s:
                return one.phase
    for one in found:
        if sample.phase == one.phase and one.previous and sample.ok and end_s < one.on_s:
            return one.previous
    return sample.phase


def _end_s(sample: Sample) -> float:
    """Seconds from the start of the run to the answer or failure; the intended send time if there
    was neither."""
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000
