"""The phase that a request counts in: that of the fault that hurt it.

The load generator writes down the phase in which a request was due. Near the edges of a fault, that
may be the wrong one:

- A request that is under way when the first fault begins is hurt by it, and counts there. Counted
  in the phase before, it would make a healthy service look faulty.
- A request that is under way when a later fault begins may have waited for what an earlier one left
  behind. If it was due in the pause between them, it stays there; pauses are not reported.
- A request that is due after the declared end of a fault, but before the fault was known to be gone
  (a killed process has to start again), counts in the phase of the fault. If it succeeded after the
  fault was known to be gone, it stays where it was due.
- A request that succeeded before the fault was known to act counts in the phase before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.load.samples import Sample
from lab.results.result import FaultEvidence
from lab.results.timeline import RECOVERING, ScenarioPhase, Timeline


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


SHORTEST_S = 0.01
"""A phase that a fault has covered to its end still has a length: rates are divided by it."""


def phase_seconds(
    timeline: Timeline, variant: str, faults: Sequence[FaultEvidence] = ()
) -> dict[str, float]:
    """The length of each phase in a variant: of the time whose requests count in it. Without the
    pauses between faults."""
    seconds = {phase.name: phase.seconds for phase in timeline.phases if phase.name != RECOVERING}
    following = {phase.name: later for phase, later in pairwise(timeline.phases)}
    for one in disturbances(timeline, variant, faults):
        later = following.get(one.phase)
        if later is not None and not later.faults:
            _move(seconds, later.name, one.phase, min(one.gone_s - later.from_s, later.seconds))
        if one.previous:
            _move(seconds, one.phase, one.previous, one.on_s - one.from_s)
    return seconds


def _move(seconds: dict[str, float], out_of: str, into: str, length_s: float) -> None:
    if length_s <= 0:
        return
    if out_of in seconds:
        length_s = min(length_s, seconds[out_of] - SHORTEST_S)
        seconds[out_of] -= length_s
    if into in seconds:
        seconds[into] += length_s


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
            succeeded_later = sample.ok and end_s >= one.gone_s
            if one.until_s <= due_s < one.gone_s and not succeeded_later:
                return one.phase
    for one in found:
        if sample.phase == one.phase and one.previous and sample.ok and end_s < one.on_s:
            return one.previous
    return sample.phase


def _end_s(sample: Sample) -> float:
    """Seconds from the start of the run to the answer or failure; the intended send time if there
    was neither."""
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000
