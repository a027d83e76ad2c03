"""Whether a variant was in its steady state when a fault began.

The scenario's `steady_state` looks at what was answered before the first fault. That is not all: a
bus answers as usual while its backlog grows, and what one fault leaves behind can reach into the
time of the next. In both cases the figures that depend on it are not measured.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from lab.experiment.lag import LagReading
from lab.experiment.lateness import BoundedSample
from lab.experiment.recovery import is_in_time
from lab.experiment.request_phases import disturbances
from lab.load.metrics import EndpointFigures, endpoint_figures
from lab.load.samples import WRITES, Sample
from lab.results.paths import VISIBILITY_FIGURES, phase_key
from lab.results.result import VariantResult
from lab.results.timeline import RECOVERING, ScenarioPhase, Timeline


def unsteady_figures(
    variant: VariantResult,
    bounded: Sequence[BoundedSample],
    readings: Sequence[LagReading],
    timeline: Timeline,
) -> dict[str, str]:
    """The figures of a variant that depend on a steady state that did not hold, each with the
    reason; by the beginning of their paths. `bounded`: its requests."""
    unsteady: dict[str, str] = {}
    before = timeline.phases[0]
    if timeline.disturbance(variant.name) is None or before.faults:
        return unsteady
    own_readings = [one for one in readings if one.variant == variant.name]
    if why := growing_backlog(own_readings, bounded, before):
        unsteady |= dict.fromkeys(_figures_of_freshness(variant), why)
    samples = [one.sample for one in bounded]
    for phase, why in left_behind(samples, timeline, variant):
        unsteady.setdefault(phase_key(phase), why)
    return unsteady


def _figures_of_freshness(variant: VariantResult) -> Iterator[str]:
    """What depends on a backlog: lag, freshness, and the time to recover."""
    yield from ("lag", "recovery", "recovery_seconds")
    yield from (f"data.{name}" for name in ("visible_p50", "visible_p99", "visible_max"))
    for phase, figures in variant.phases.items():
        for endpoint in figures.endpoints:
            names = VISIBILITY_FIGURES if endpoint in WRITES else ("stale",)
            yield from (f"{phase_key(phase)}.{endpoint}.{name}" for name in names)


# ── A backlog that grows

GROWN_EVENTS, GROWN_MS = 5, 100.0
"""A growth of less is none, whatever the factor."""
GROWN_TO = 2.0
"""The least at the end has to be so many times the most at the beginning."""
FEW_WRITES = 3


def growing_backlog(
    readings: Iterable[LagReading], samples: Iterable[BoundedSample], before: ScenarioPhase
) -> str:
    """Why a variant was not steady in the phase `before`: a sentence, or "".

    The first third of the phase is compared with the last: the lag of each consumer, and, for a bus
    without positions, how long readers waited for a write. All values of the last third have to be
    beyond all of the first, so a peak that passes is no growth.
    """
    begin_s = before.from_s + before.seconds / 3
    end_s = before.until_s - before.seconds / 3
    first_lags: dict[str, list[int]] = {}
    last_lags: dict[str, list[int]] = {}
    for one in readings:
        if before.from_s <= one.t < begin_s:
            first_lags.setdefault(one.service, []).append(one.lag)
        elif end_s <= one.t < before.until_s:
            last_lags.setdefault(one.service, []).append(one.lag)
    for service, first in first_lags.items():
        most, least = max(first), min(last_lags.get(service, [0]))
        if least >= max(most + GROWN_EVENTS, GROWN_TO * most):
            return (
                f"`{service}` fell behind before anything was broken: from {most} waiting events "
                f"to {least}."
            )
    seen = [
        (one.sample.intended_s, one.visible_low_ms, one.sample.visible_ms)
        for one in samples
        if one.sample.endpoint in WRITES and one.visible_low_ms is not None
    ]
    first_ms = [ms for at_s, _, ms in seen if before.from_s <= at_s < begin_s and ms is not None]
    last_ms = [low_ms for at_s, low_ms, _ in seen if end_s <= at_s < before.until_s]
    if min(len(first_ms), len(last_ms)) < FEW_WRITES:
        return ""
    longest, shortest = max(first_ms), min(last_ms)
    if shortest < max(longest + GROWN_MS, GROWN_TO * longest):
        return ""
    return (
        "readers waited longer and longer for a write before anything was broken: first "
        f"{longest:.0f} ms at most, then {shortest:.0f} ms at least."
    )


# ── What the fault before has left behind

STILL_WAITING = 0.25
"""From this share on of the requests due in a pause, the next fault begins too early."""


def left_behind(
    samples: Sequence[Sample], timeline: Timeline, variant: VariantResult
) -> Iterator[tuple[str, str]]:
    """The phases of later faults that began while requests still waited for an earlier one, each
    with the reason.

    A request of the pause waits if it has waited longer than is usual when the next fault begins.
    """
    usual = {
        endpoint: endpoint_figures(
            [one for one in samples if (one.phase, one.endpoint) == ("before", endpoint)]
        )
        for endpoint in {one.endpoint for one in samples}
    }
    found = disturbances(timeline, variant.name, variant.faults)
    for earlier, later in pairwise(found):
        if earlier.gone_s > later.from_s:
            yield later.phase, f"`{earlier.phase}` was not gone when `{later.phase}` began."
            continue
        pause = [
            one
            for one in samples
            if one.phase == RECOVERING and earlier.gone_s <= one.intended_s < later.from_s
        ]
        waiting = sum(_waits_at(later.from_s, one, usual[one.endpoint]) for one in pause)
        if waiting and waiting >= STILL_WAITING * len(pause):
            yield (
                later.phase,
                f"{waiting} of {len(pause)} requests still waited for what `{earlier.phase}` had "
                f"left behind when `{later.phase}` began. A longer pause (`between`) helps.",
            )


def _waits_at(at_s: float, sample: Sample, usual: EndpointFigures) -> bool:
    """Whether a request is under way at a moment, and has been for longer than usual."""
    waited_ms = 1_000 * (at_s - sample.intended_s)
    return (sample.latency_ms or 0.0) > waited_ms and not is_in_time(waited_ms, usual)
