"""The two ends of each figure, from requests whose latencies have two ends (`lateness.py`).

This is interval analysis (R. E. Moore, *Interval Analysis*, 1966) with order statistics of
interval-valued samples.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, fsum, inf

from lab.experiment.evaluate import broken_from, gone_after
from lab.experiment.lateness import BoundedSample
from lab.experiment.recovery import recoveries, slowest, usual_figures
from lab.load.plan import WARM_UP
from lab.load.samples import WRITES, Sample
from lab.results.paths import phase_key
from lab.results.result import VariantResult
from lab.results.timeline import Timeline

Bounds = tuple[float, float]


def variant_bounds(
    variant: VariantResult, samples: Sequence[BoundedSample], timeline: Timeline
) -> dict[str, tuple[float, float | None]]:
    """The two ends of each figure of one variant that has two, by its path without the variant.

    `samples`: of this variant, of one run. None stands for: no upper end.
    """
    bounds = pooled_bounds(variant, samples)
    gone_s = gone_after(timeline, variant.name, variant.faults)
    if gone_s is not None and not all(one.exact for one in samples):
        at_best = [one.at_low_end() for one in samples]
        at_worst = [one.sample if one.known else replace(one.sample, ok=False) for one in samples]
        usual = [one for one in samples if "before" in one.phases]
        begins_s = broken_from(timeline, variant.name)
        lows = recoveries(at_best, gone_s, usual_figures(map(_slowest, usual), inf))
        highs = recoveries(
            at_worst, gone_s, usual_figures((_quickest(one, begins_s) for one in usual), inf)
        )
        ends = {
            f"recovery.{kind}": (lows.get(kind), highs.get(kind)) for kind in lows.keys() | highs
        }
        ends["recovery_seconds"] = slowest(lows), slowest(highs)
        bounds |= {
            path: (low, high)
            for path, (low, high) in ends.items()
            if low is not None and low != high
        }
    return bounds


def _slowest(one: BoundedSample) -> Sample:
    """A request before the fault at its slowest: then more is as usual afterwards."""
    if one.known:
        return one.sample
    return replace(one.sample, ok=True, latency_ms=inf, visible_ms=inf)


def _quickest(one: BoundedSample, broken_from_s: float) -> Sample:
    """A request before the fault at its quickest. A write that was perhaps seen only in the fault
    does not count (`usual_figures`), which is less than any time."""
    low, seen_ms = one.at_low_end(), one.sample.visible_ms or 0.0
    if low.visible_ms is None or one.sample.intended_s + seen_ms / 1_000 <= broken_from_s:
        return low
    return replace(low, visible_ms=0.0)


def pooled_bounds(
    variant: VariantResult, samples: Sequence[BoundedSample]
) -> dict[str, tuple[float, float | None]]:
    """The ends of the figures that are computed from the samples of one run or of several."""
    found: dict[str, Bounds] = {}
    for name, phase in variant.phases.items():
        for endpoint in phase.endpoints:
            cell = [
                one for one in samples if one.sample.endpoint == endpoint and name in one.phases
            ]
            if not all(one.exact for one in cell):
                prefix = f"{phase_key(name)}.{endpoint}"
                ends = _Cell(cell).figures(phase.seconds, is_write=endpoint in WRITES)
                found |= {f"{prefix}.{figure}": end for figure, end in ends.items()}
    writes = [
        one for one in samples if one.sample.endpoint in WRITES and one.sample.phase != WARM_UP
    ]
    if not all(one.exact for one in writes):
        found |= {f"data.{figure}": end for figure, end in _Cell(writes).visible().items()}
    return {
        path: (low, None if high == inf else high)
        for path, (low, high) in found.items()
        if low != high
    }


ENOUGH_GOOD = 10
"""Where so many requests succeeded and none failed, one that was sent and succeeded in the next
phase would have succeeded, too."""

_PERCENTS = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}


class _Cell:
    """The requests of one kind in one phase: those that are known, and the number of the others."""

    def __init__(self, samples: Sequence[BoundedSample]) -> None:
        self._known = [one for one in samples if one.known]
        self._unknown = [one.sample for one in samples if not one.known]
        self._good = [one for one in self._known if one.sample.ok]
        self._failed = [one for one in self._known if not one.sample.ok]
        may_fail = [one for one in self._unknown if not one.ok]
        if self._failed or len(self._good) < ENOUGH_GOOD:
            may_fail = self._unknown
        self._may_fail = len(may_fail)

    def figures(self, seconds: float, *, is_write: bool) -> dict[str, Bounds]:
        """The ends of each figure, by the name that paths use."""
        unknown, good, failed = len(self._unknown), len(self._good), len(self._failed)
        sent = good + failed
        errors = Counter(one.sample.error for one in self._failed)
        kinds = errors.keys() | {one.error for one in self._unknown if one.error}
        ends: dict[str, Bounds] = {
            "sent": (sent, sent + unknown),
            "ok": (good, good + unknown),
            "failed": (failed, failed + self._may_fail),
            "rate": (good / seconds, (good + unknown) / seconds),
            "degraded": self._count(one.sample.degraded for one in self._good),
            "retried": (
                sum(one.sample.retried for one in self._known),
                sum(one.sample.retried for one in self._known)
                + sum(max(1, one.retried) for one in self._unknown),
            ),
            **{f"errors.{kind}": (errors[kind], errors[kind] + self._may_fail) for kind in kinds},
            "errors": (0, self._may_fail),
            **self._latencies(),
            **self._of_all("", [(one.low_ms, one.sample.latency_ms) for one in self._good]),
        }
        if total := sent + unknown:
            at_worst = sent + self._may_fail
            ends["success"] = (good / at_worst if at_worst else 0.0, (good + unknown) / total)
        if total := good + unknown:
            decided = sum(one.sample.decided for one in self._good)
            sure = sum(one.sample.stale for one in self._good if not one.in_stall)
            unsure = sum(one.in_stall for one in self._good)
            ends["decided"] = (decided / total, (decided + unknown) / total)
            ends["stale"] = (sure / total, (sure + unsure + unknown) / total)
        if is_write:
            ends |= self.visible()
            seen = [(one.visible_low_ms, one.sample.visible_ms) for one in self._good]
            ends |= self._of_all("visible_", seen)
            ends["never_visible"] = self._count(one.sample.visible_ms is None for one in self._good)
        return ends

    def visible(self) -> dict[str, Bounds]:
        """The ends of the times until the feed showed a write."""
        shown = [
            (one.visible_low_ms, one.sample.visible_ms)
            for one in self._good
            if one.visible_low_ms is not None and one.sample.visible_ms is not None
        ]
        return {
            f"visible_{name}": self._quantile(shown, percent)
            for name, percent in _PERCENTS.items()
            if name in ("p50", "p99", "max") and (shown or self._unknown)
        }

    def _latencies(self) -> dict[str, Bounds]:
        unknown = len(self._unknown)
        good, failed = (
            [
                (one.low_ms, one.sample.latency_ms)
                for one in own
                if one.low_ms is not None and one.sample.latency_ms is not None
            ]
            for own in (self._good, self._failed)
        )
        ends: dict[str, Bounds] = {}
        if good or unknown:
            ends |= {name: self._quantile(good, percent) for name, percent in _PERCENTS.items()}
            ends["mean"] = (
                fsum(low for low, _ in good) / (len(good) + unknown),
                inf if unknown else fsum(high for _, high in good) / len(good),
            )
        if failed or unknown:
            ends["failed_after_p50"] = self._quantile(failed, 50)
        return ends

    def _of_all(
        self, prefix: str, good: Sequence[tuple[float | None, float | None]]
    ) -> dict[str, Bounds]:
        """The ends of the latencies of all requests; what failed is longer than any other."""
        failed = sum(one.sample.error != "interrupted" for one in self._failed)
        values = [
            (inf, inf) if low is None or high is None else (low, high) for low, high in good
        ] + [(inf, inf)] * failed
        if not values and not self._unknown:
            return {}
        return {f"{prefix}all_p{of}": self._quantile(values, of) for of in (50, 95)}

    def _count(self, each: Iterable[bool]) -> Bounds:
        count = sum(each)
        return count, count + len(self._unknown)

    def _quantile(self, values: Sequence[Bounds], percent: float) -> Bounds:
        """The ends of a percentile. The unknown are below all others at one end, above at the
        other; the largest value is the only one that they cannot lower."""
        unknown = len(self._unknown)
        rank = max(1, ceil(percent / 100 * (len(values) + unknown)))
        lows = [0.0] * unknown + sorted(low for low, _ in values)
        highs = sorted(high for _, high in values) + [inf] * unknown
        return lows[rank - 1], highs[rank - 1]
