"""Statistics of the last 100 ms for one arrangement; nothing older is kept.

A load that runs for hours can't keep its samples. Only unfinished things outlast a report:
requests in progress, and acknowledged writes that are not visible yet. Both are counted, and
bounded.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from time import perf_counter
from typing import Any

from lab.load.metrics import percentile
from lab.load.samples import WRITES, Sample, number_of

MAX_CALLS = 12
"""Most calls that a report lists one by one, to be drawn; the others are counted."""
MAX_UNSEEN = 20_000
AGES_S = 60
_LAG_WINDOW = 400  # sends: some seconds, so that one stall is soon over


_Call = tuple[str, str, float, float, bool, str]
"""Service, request line, start (`perf_counter`), duration (ms), whether it succeeded, its trace."""


@dataclass
class RequestStats:
    """Reads, posts or comments: the requests sent in this interval, and the answers that arrived
    in it."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    good_ms: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        counts = {"sent": self.sent, "ok": self.ok, "failed": self.failed}
        return {**counts, "errors": dict(self.errors)}

    def __add__(self, other: RequestStats) -> RequestStats:
        return RequestStats(
            self.sent + other.sent,
            self.ok + other.ok,
            self.failed + other.failed,
            self.errors + other.errors,
            self.good_ms + other.good_ms,
        )


@dataclass
class RecentStats:
    """Statistics of one arrangement since its last report. Times are of `perf_counter`."""

    reads: RequestStats = field(default_factory=RequestStats)
    posts: RequestStats = field(default_factory=RequestStats)
    comments: RequestStats = field(default_factory=RequestStats)
    visible_ms: list[float] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    calls_total: int = 0
    feed_ok: bool = True
    in_flight: int = 0
    unsent: int = 0
    # The time of the 201, and the write, by its id, oldest first. An OrderedDict, because a dict
    # finds its first key slowly after many deletions at the front.
    _unseen: OrderedDict[str, tuple[float, Sample]] = field(default_factory=OrderedDict)

    def record_sent(self, sample: Sample) -> None:
        """Record a send; if `sample.dropped`, one that was not made: too many were in progress."""
        if sample.dropped:
            self.unsent += 1
            return
        self._stats_of(sample).sent += 1
        self.in_flight += 1

    def record_outcome(self, sample: Sample, service: str, request_line: str) -> None:
        """Record the outcome of a request to `service`; `request_line` is as `GET /feed`."""
        now_s = perf_counter()
        self.in_flight -= 1
        took_ms = sample.latency_ms or 0.0
        stats = self._stats_of(sample)
        if sample.ok:
            stats.ok += 1
            stats.good_ms.append(took_ms)
            if stats is not self.reads:
                self._unseen[sample.id] = now_s, sample
                if len(self._unseen) > MAX_UNSEEN:
                    self._unseen.popitem(last=False)
        else:
            stats.failed += 1
            stats.errors[sample.error] += 1
        if stats is self.reads:
            self.feed_ok = sample.ok
        self.calls_total += 1
        # Failures are always added: viewers look for them.
        if len(self.calls) < MAX_CALLS or not sample.ok:
            began_s = now_s - took_ms / 1_000
            self.calls.append((service, request_line, began_s, took_ms, sample.ok, sample.trace))

    def undo_sent(self, sample: Sample) -> None:
        """Undo a recorded send: this machine had no socket for it."""
        self._stats_of(sample).sent -= 1
        self.in_flight -= 1
        self.unsent += 1

    def record_visible(self, sample: Sample) -> None:
        """Record that the feed now shows this write (`visible_ms` is set)."""
        self._unseen.pop(sample.id, None)
        self.visible_ms.append(sample.visible_ms or 0.0)

    def abandon(self, write_id: str) -> None:
        """Abandon a write: the probe no longer looks for it."""
        self._unseen.pop(write_id, None)

    def take_snapshot(self) -> dict[str, Any]:
        """The interval that ends now, ready for JSON; the next interval starts empty."""
        now_s = perf_counter()
        oldest = next(iter(self._unseen.values()), None)
        oldest_s = oldest[0] if oldest else now_s
        writes = self.posts + self.comments
        snapshot = {
            "reads": self.reads.to_json(),
            "writes": writes.to_json(),
            "posts": self.posts.to_json(),
            "comments": self.comments.to_json(),
            "waiting": self.in_flight,
            "unsent": self.unsent,
            "answered_ms": median_and_max(writes.good_ms),
            "read_ms": median_and_max(self.reads.good_ms),
            "visible_ms": median_and_max(self.visible_ms),
            "unseen": len(self._unseen),
            "unseen_by_age": self._count_unseen_by_age(now_s),
            "oldest_unseen": _describe_write(*oldest) if oldest else None,
            "feed_age_ms": round((now_s - oldest_s) * 1_000),
            "feed_ok": self.feed_ok,
            "calls": [
                [service, what, round((at_s - now_s) * 1_000, 1), round(took_ms, 1), ok, trace]
                for service, what, at_s, took_ms, ok, trace in _sample_calls(self.calls)
            ],
            "calls_total": self.calls_total,
        }
        self.reads, self.posts, self.comments = RequestStats(), RequestStats(), RequestStats()
        self.visible_ms, self.calls, self.calls_total, self.unsent = [], [], 0, 0
        return snapshot

    def _stats_of(self, sample: Sample) -> RequestStats:
        if sample.endpoint not in WRITES:
            return self.reads
        return self.posts if sample.endpoint == "create_post" else self.comments

    def _count_unseen_by_age(self, now_s: float) -> list[int]:
        """How many unseen writes were acknowledged at least 0, 1, ..., AGES_S - 1 seconds ago."""
        younger = [0] * AGES_S
        for at_s, _ in reversed(self._unseen.values()):  # the newest first
            if (age_s := int(now_s - at_s)) >= AGES_S - 1:
                break
            younger[age_s + 1] += 1
        return [len(self._unseen) - count for count in accumulate(younger)]


def _describe_write(acknowledged_s: float, write: Sample) -> dict[str, Any]:
    """A write that readers do not see. `acknowledged_s`: a time of `perf_counter`."""
    return {
        "id": write.id,
        "endpoint": write.endpoint,
        "number": number_of(write.token),
        "trace": write.trace,
        "acknowledged_s": acknowledged_s,
        "took_ms": write.latency_ms,
    }


def _sample_calls(
    calls: Sequence[_Call],
) -> Sequence[_Call]:
    failed = [call for call in calls if not call[4]][: MAX_CALLS // 2]
    good = [call for call in calls if call[4]]
    return [*failed, *good[: MAX_CALLS - len(failed)]]


def median_and_max(values: Sequence[float]) -> dict[str, float] | None:
    """Median and maximum, in ms; None for no values."""
    median = percentile(values, 50)
    return None if median is None else {"p50": round(median, 2), "max": round(max(values), 2)}


class Lags:
    """How late the newest sends left: shows whether the load itself keeps up."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=_LAG_WINDOW)

    def add(self, lag_ms: float) -> None:
        self._newest.append(lag_ms)

    def p99(self) -> float | None:
        """99th percentile of the newest 400 sends, in ms; None before the first send."""
        lag_ms = percentile(self._newest, 99)
        return None if lag_ms is None else round(lag_ms, 2)
