"""Figures from raw samples: pure functions, exact percentiles, nothing left out silently.

Latencies are those of *good* answers only: otherwise a refusal after 1 ms would make a broken
service look fast. Read them together with `success`, and with `failed_after_ms`, the time until a
request failed. To compare two services of which one fails more, take the latency *of all*: there a
request that failed counts as longer than any answer, because a service that gives up on its slow
requests is not fast. Warm-up samples are never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, fsum, inf
from typing import Any, TypedDict

from lab.load.plan import WARM_UP
from lab.load.samples import WRITES, Sample

LATE_AFTER_MS = 10.0
BEHIND_MS = 2.0
"""In a run with a late request, the generator was behind when it was late by more than this."""

_ALWAYS_REPORTED = ("timeout", "refused", "reset", "http_503")


class LatencyFigures(TypedDict):
    """Milliseconds; each is None when there was no good answer."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None
    mean: float | None


class Spread(TypedDict):
    """Milliseconds; each is None when there was nothing to measure."""

    p50: float | None
    p99: float | None
    max: float | None


class OfAll(TypedDict):
    """Milliseconds; None is *never*: too many requests failed (or none was sent)."""

    p50: float | None
    p95: float | None


class _Figures(TypedDict):
    sent: int
    ok: int
    failed: int
    late: int
    dropped: int
    success: float | None
    errors: dict[str, int]
    latency_ms: LatencyFigures
    failed_after_ms: dict[str, float | None]
    of_all_ms: OfAll
    degraded: int
    decided: int
    retried: int
    stale: int


class EndpointFigures(_Figures, total=False):
    """One endpoint in one phase.

    - `sent` = `ok` + `failed`; it includes `late` requests, but not `dropped` ones (never sent).
    - `success` = ok / sent; None when nothing was sent.
    - `of_all_ms`: the latency of all requests, those that failed as the longest.
    - `degraded`: good answers with a part left out.
    - `decided`: good answers in which no comment is pending.
    - `stale`: feeds that lack a write acknowledged before they were requested.
    - `retried`: number of client retries.
    - Writes also have `visible_ms` (of those that the feed showed in the end), `visible_of_all_ms`
      (those that it never showed as the longest) and `never_visible` (acknowledged, but never
      shown).
    """

    visible_ms: Spread
    visible_of_all_ms: OfAll
    never_visible: int


class PhaseFigures(TypedDict):
    """One phase: its length in seconds and its endpoints by name."""

    seconds: float
    endpoints: dict[str, EndpointFigures]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile: the smallest value with `percent` % of all at or below it.

    Always a measured value, never an interpolation. `values`: in any order; None when there are
    none.
    """
    if not values:
        return None
    return sorted(values)[max(1, ceil(percent / 100 * len(values))) - 1]


def spread(values: Sequence[float]) -> Spread:
    """p50, p99 and max of `values`."""
    return {
        "p50": percentile(values, 50),
        "p99": percentile(values, 99),
        "max": max(values, default=None),
    }


def phase_figures(
    samples: Iterable[Sample], seconds: Mapping[str, float], late_after_ms: float = LATE_AFTER_MS
) -> dict[str, PhaseFigures]:
    """The `phases` of one variant's result, from that variant's samples.

    `seconds`: the length of each phase to report, in order. Each endpoint that the run used
    appears in every phase, so a phase without samples shows `sent: 0`.
    """
    counted = [sample for sample in samples if sample.phase != WARM_UP]
    endpoints = sorted({sample.endpoint for sample in counted})
    return {
        phase: {
            "seconds": length_s,
            "endpoints": {
                endpoint: endpoint_figures(
                    [s for s in counted if s.phase == phase and s.endpoint == endpoint],
                    late_after_ms,
                    is_write=endpoint in WRITES,
                )
                for endpoint in endpoints
            },
        }
        for phase, length_s in seconds.items()
        if phase != WARM_UP
    }


def endpoint_figures(
    samples: Sequence[Sample], late_after_ms: float = LATE_AFTER_MS, *, is_write: bool = False
) -> EndpointFigures:
    """The figures of one endpoint in one phase, from its samples."""
    sent = [sample for sample in samples if not sample.dropped]
    good = [sample for sample in sent if sample.ok]
    failed = [sample for sample in sent if not sample.ok]
    # What the end of the load interrupted might have succeeded.
    judged = [sample for sample in sent if sample.error != "interrupted"]
    waited_ms = [s.latency_ms for s in failed if s.latency_ms is not None]
    figures: EndpointFigures = {
        "sent": len(sent),
        "ok": len(good),
        "failed": len(failed),
        "late": sum(sample.lag_ms > late_after_ms for sample in sent),
        "dropped": len(samples) - len(sent),
        "success": len(good) / len(sent) if sent else None,
        "errors": dict.fromkeys(_ALWAYS_REPORTED, 0) | Counter(sample.error for sample in failed),
        "latency_ms": _latency_figures([s.latency_ms for s in good if s.latency_ms is not None]),
        "failed_after_ms": {"p50": percentile(waited_ms, 50)},
        "of_all_ms": _of_all(s.latency_ms if s.ok else None for s in judged),
        "degraded": sum(sample.degraded for sample in good),
        "decided": sum(sample.decided for sample in good),
        "retried": sum(sample.retried for sample in sent),
        "stale": sum(sample.stale for sample in good),
    }
    if is_write:
        figures["visible_ms"] = visibility_spread(good)
        figures["visible_of_all_ms"] = _of_all(s.visible_ms if s.ok else None for s in judged)
        figures["never_visible"] = sum(sample.visible_ms is None for sample in good)
    return figures


def visibility_spread(samples: Iterable[Sample]) -> Spread:
    """How long writes took to become visible; writes that never did are not included."""
    return spread(
        [s.visible_ms for s in samples if s.visible_ms is not None and s.phase != WARM_UP]
    )


def lag_figures(samples: Iterable[Sample], late_after_ms: float = LATE_AFTER_MS) -> dict[str, Any]:
    """How well the generator kept its schedule: `{lag_ms{p50,p99,max}, sent, late, dropped}`."""
    counted = [sample for sample in samples if sample.phase != WARM_UP]
    lags_ms = [sample.lag_ms for sample in counted if not sample.dropped]
    return {
        "lag_ms": spread(lags_ms),
        "sent": len(lags_ms),
        "late": sum(lag_ms > late_after_ms for lag_ms in lags_ms),
        "dropped": len(counted) - len(lags_ms),
    }


def _of_all(values_ms: Iterable[float | None]) -> OfAll:
    """The percentiles of all values; None is longer than any other."""
    ordered = [inf if value is None else value for value in values_ms]
    p50, p95 = percentile(ordered, 50), percentile(ordered, 95)
    return {"p50": None if p50 == inf else p50, "p95": None if p95 == inf else p95}


def _latency_figures(values_ms: Sequence[float]) -> LatencyFigures:
    ordered = sorted(values_ms)
    return {
        "p50": percentile(ordered, 50),
        "p90": percentile(ordered, 90),
        "p95": percentile(ordered, 95),
        "p99": percentile(ordered, 99),
        "max": max(ordered, default=None),
        "mean": fsum(ordered) / len(ordered) if ordered else None,
    }
