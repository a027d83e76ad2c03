"""Statistics of the last 100 ms for one arrangement; nothing older is kept.

A load that runs for hours can't keep its samples. Only unfinished things outlast a report:
requests in progress, and acknowledged writes that are not visible yet. Both are counted, and
bounded.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from lab.load.metrics import percentile
from lab.load.samples import WRITES, Sample

MOST_CALLS = 12
"""Most calls that a report lists one by one, to be drawn; the others are counted."""
MOST_UNSEEN = 20_000
_LAGS_KEPT = 4_000


@dataclass
class Kind:
    """Reads or writes: the requests sent in this interval, and the answers that arrived in it."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    good_ms: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        counts = {"sent": self.sent, "ok": self.ok, "failed": self.failed}
        return {**counts, "errors": dict(self.errors)}


@dataclass
class Lately:
    """Statistics of one arrangement since its last report. Times are of `perf_counter`."""

    reads: Kind = field(default_factory=Kind)
    writes: Kind = field(default_factory=Kind)
    visible_ms: list[float] = field(default_factory=list)
    calls: list[tuple[str, str, float, float, bool]] = field(default_factory=list)
    calls_total: int = 0
    feed_ok: bool = True
    waiting: int = 0
    unsent: int = 0
    # The time of the 201 by id of the write, oldest first. An OrderedDict, because a dict finds
    # its first key slowly after many deletions at the front.
    _unseen: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def sent(self, sample: Sample) -> None:
        """Record a send; if `sample.dropped`, one that was not made: too many were in progress."""
        if sample.dropped:
            self.unsent += 1
            return
        self._kind(sample).sent += 1
        self.waiting += 1

    def answered(self, sample: Sample, service: str, what: str) -> None:
        """Record the outcome of a request to `service`. `what`: method and path, as `GET /feed`."""
        now_s = perf_counter()
        self.waiting -= 1
        took_ms = sample.latency_ms or 0.0
        kind = self._kind(sample)
        if sample.ok:
            kind.ok += 1
            kind.good_ms.append(took_ms)
            if kind is self.writes:
                self._unseen[sample.id] = now_s
                if len(self._unseen) > MOST_UNSEEN:
                    self._unseen.popitem(last=False)
        else:
            kind.failed += 1
            kind.errors[sample.error] += 1
        if kind is self.reads:
            self.feed_ok = sample.ok
        self.calls_total += 1
        # Failures are always added: viewers look for them.
        if len(self.calls) < MOST_CALLS or not sample.ok:
            self.calls.append((service, what, now_s - took_ms / 1_000, took_ms, sample.ok))

    def never_sent(self, sample: Sample) -> None:
        """Undo a recorded send: this machine had no socket for it."""
        self._kind(sample).sent -= 1
        self.waiting -= 1
        self.unsent += 1

    def visible(self, sample: Sample) -> None:
        """Record that the feed now shows this write (`visible_ms` is set)."""
        self._unseen.pop(sample.id, None)
        self.visible_ms.append(sample.visible_ms or 0.0)

    def lost_sight_of(self, write_id: str) -> None:
        """Abandon a write: the probe no longer looks for it."""
        self._unseen.pop(write_id, None)

    def told(self) -> dict[str, Any]:
        """The interval that ends now, ready for JSON; the next interval starts empty."""
        now_s = perf_counter()
        oldest_s = next(iter(self._unseen.values()), now_s)
        told = {
            "reads": self.reads.told(),
            "writes": self.writes.told(),
            "waiting": self.waiting,
            "unsent": self.unsent,
            "answered_ms": spread(self.writes.good_ms),
            "read_ms": spread(self.reads.good_ms),
            "visible_ms": spread(self.visible_ms),
            "unseen": len(self._unseen),
            "feed_age_ms": round((now_s - oldest_s) * 1_000),
            "feed_ok": self.feed_ok,
            "calls": [
                [service, what, round((at_s - now_s) * 1_000), round(took_ms, 1), ok]
                for service, what, at_s, took_ms, ok in _sampled(self.calls)
            ],
            "calls_total": self.calls_total,
        }
        self.reads, self.writes = Kind(), Kind()
        self.visible_ms, self.calls, self.calls_total, self.unsent = [], [], 0, 0
        return told

    def _kind(self, sample: Sample) -> Kind:
        return self.writes if sample.endpoint in WRITES else self.reads


def _sampled(
    calls: Sequence[tuple[str, str, float, float, bool]],
) -> Sequence[tuple[str, str, float, float, bool]]:
    failed = [call for call in calls if not call[4]][: MOST_CALLS // 2]
    good = [call for call in calls if call[4]]
    return [*failed, *good[: MOST_CALLS - len(failed)]]


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median and maximum, in ms; None for no values."""
    middle = percentile(values, 50)
    return None if middle is None else {"p50": round(middle, 2), "max": round(max(values), 2)}


class Lags:
    """How late the newest sends left: shows whether the load itself keeps up."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=_LAGS_KEPT)

    def add(self, lag_ms: float) -> None:
        self._newest.append(lag_ms)

    def p99(self) -> float | None:
        """99th percentile of the newest 4,000 sends, in ms; None before the first send."""
        found = percentile(self._newest, 99)
        return None if found is None else round(found, 2)
