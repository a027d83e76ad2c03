"""How long after its faults each kind of request is as usual again: answered, in time, and fresh.

Each kind is judged alone: among ten successful feeds, one comment that still fails is easily
missed. A write is fresh when readers see it about as soon as before, so a service whose copies are
still old has not recovered, although it answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lab.load.metrics import EndpointFigures, endpoint_figures
from lab.load.samples import WRITES, Sample

GOOD_IN_A_ROW, LEAST_IN_A_ROW = 10, 3
"""Where fewer than twice ten were sent, half of them are enough; or all, if they were so few."""

WELL_BEFORE = 0.95
"""A kind of which a smaller share succeeded before the fault has nothing to return to."""

USUAL_FACTOR = 2.0
SLACK_MS = 50.0
"""As usual: up to twice the earlier p99, and so much more. Any small delay is more than twice a p99
of 2 ms, the p99 of a few requests is chance, and the probe may look only every 50 ms."""

Recoveries = dict[str, float | None]
"""Seconds by kind of request; None: never while it was observed."""


def usual_figures(samples: Iterable[Sample], broken_from_s: float) -> dict[str, EndpointFigures]:
    """The figures of each kind of request before the first fault, from the samples of that phase.

    Writes that readers had not seen when the fault began say nothing about the time before it.
    """
    by_kind: dict[str, list[Sample]] = {}
    for sample in samples:
        seen_s = sample.intended_s + (sample.visible_ms or 0.0) / 1_000
        if seen_s > broken_from_s:
            sample = replace(sample, visible_ms=None)
        by_kind.setdefault(sample.endpoint, []).append(sample)
    return {kind: endpoint_figures(own, is_write=kind in WRITES) for kind, own in by_kind.items()}


def recoveries(
    samples: Iterable[Sample], gone_s: float, usual: Mapping[str, EndpointFigures]
) -> Recoveries:
    """For each kind of request, the seconds from `gone_s`, when the faults were known to be gone,
    to the first of ten good requests in a row. It is 0 where the very first one is good, whenever
    that was.

    `samples`: of one variant; `usual`: its figures before the faults. Times are intended send
    times, so the time to drain a queue counts. Left out: kinds of which none was sent afterwards,
    or too few succeeded before.
    """
    by_kind: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.intended_s):
        if sample.intended_s >= gone_s and not sample.dropped:
            by_kind.setdefault(sample.endpoint, []).append(sample)
    found: Recoveries = {}
    for kind, own in by_kind.items():
        before = usual.get(kind)
        success = before["success"] if before is not None else None
        if success is None or success >= WELL_BEFORE:
            first = _first_of_streak(own, before)
            at_once = first is own[0]
            found[kind] = 0.0 if at_once else None if first is None else first.intended_s - gone_s
    return found


def slowest(found: Recoveries) -> float | None:
    """The seconds until all kinds were as usual; None if one never was, or none was measured."""
    known = [seconds for seconds in found.values() if seconds is not None]
    return max(known) if known and len(known) == len(found) else None


def _first_of_streak(samples: Sequence[Sample], usual: EndpointFigures | None) -> Sample | None:
    enough = min(GOOD_IN_A_ROW, max(LEAST_IN_A_ROW, len(samples) // 2), len(samples))
    streak: list[Sample] = []
    for sample in samples:
        if not _is_as_usual(sample, usual):
            streak.clear()
            continue
        streak.append(sample)
        if len(streak) == enough:
            return streak[0]
    return None


def _is_as_usual(sample: Sample, usual: EndpointFigures | None) -> bool:
    if not sample.ok or sample.latency_ms is None:
        return False
    if usual is None:
        return True  # There is nothing to compare it with.
    if not is_in_time(sample.latency_ms, usual):
        return False
    visible_ms = usual["visible_ms"]["p99"] if "visible_ms" in usual else None
    if sample.endpoint not in WRITES or visible_ms is None:
        return True
    return sample.visible_ms is not None and not _is_longer(sample.visible_ms, visible_ms)


def is_in_time(latency_ms: float, usual: EndpointFigures) -> bool:
    """Whether an answer after this time is as usual."""
    return not _is_longer(latency_ms, usual["latency_ms"]["p99"])


def _is_longer(ms: float, usual_ms: float | None) -> bool:
    return usual_ms is not None and ms > USUAL_FACTOR * usual_ms + SLACK_MS
