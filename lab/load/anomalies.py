"""Anomalies that readers see: writes that vanish from the feed, and stale reads.

*Vanishing writes* (a violation of monotonic reads): once the feed has shown a write, later feeds
must show it too. A feed that is right at the end can have been wrong in between (a stale copy, a
part left out during an outage). So each feed is compared with what earlier ones have shown.
*Earlier* means: that answer had arrived before this request was sent. Of two concurrent requests,
neither is the earlier one.

*Stale reads*: feeds that lack a write which was acknowledged before they were requested. The
answer does not say so; it is computed afterwards. A write is acknowledged at one moment and first
seen at a later one; a feed that was requested and answered in between can't have shown it. The
resolution is that of *visible*: the pause between two requests of the probe.

*Order of posts*: the lab's ids sort by age, ids of external services may not. There, a post is as
old as the moment when it was first met, in the answer to its author or in the feed. Two posts met
at about the same moment may be in the wrong order, so the check leaves a margin of MARGIN posts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from math import inf
from typing import NamedTuple

from lab.load.samples import WRITES, Sample

# ── Order of posts

MARGIN = 10


class PostOrder:
    """Sort keys of posts, oldest first. `by_id`: the ids themselves sort by age."""

    def __init__(self, by_id: bool = True) -> None:
        self.by_id = by_id
        self._keys: dict[str, str] = {}

    def key(self, post_id: str) -> str:
        """The sort key of a post. Without `by_id`, an unknown post becomes the newest one."""
        if self.by_id:
            return post_id
        if (key := self._keys.get(post_id)) is None:
            key = self._keys[post_id] = f"{len(self._keys):012d}"
        return key

    def observe(self, newest_first: Sequence[str]) -> None:
        """Register the posts of a page that are not known yet."""
        if not self.by_id:
            for post_id in reversed(newest_first):
                self.key(post_id)

    def oldest_complete_key(self, newest_first: Sequence[str]) -> str:
        """The sort key from which on this page must have every post."""
        keys = [self.key(post_id) for post_id in newest_first]
        return min(keys) if self.by_id else max(keys[-MARGIN:])


# ── Vanishing writes


class FeedRequest(NamedTuple):
    """A request for the feed: when it was sent (`perf_counter`), and its parameters."""

    at_s: float
    limit: int
    before: str | None = None


class MonotonicReads:
    """The writes that the feed has shown, each with the time (`perf_counter`) when it was first
    seen.

    A post counts when it was in the feed, a comment when it was there and decided.
    """

    def __init__(self, order: PostOrder | None = None) -> None:
        self._order = order or PostOrder()
        self._post_ids: list[str] = []  # sort keys, oldest first
        self._posts: dict[str, tuple[Sample, float]] = {}
        self._comments: dict[str, dict[str, tuple[Sample, float]]] = {}

    def record_shown(self, sample: Sample, at_s: float) -> None:
        """Record that an answer received at `at_s` shows this write."""
        entry = (sample, at_s)
        post_id = self._order.key(sample.post_id or sample.id)
        if post_id not in self._comments:
            self._comments[post_id] = {}
            insort(self._post_ids, post_id)
        if sample.post_id:
            self._comments[post_id][sample.id] = entry
        else:
            self._posts[post_id] = entry

    def prune(self, older_than: str) -> None:
        """Drop what was seen of posts older than this id; they are no longer compared."""
        pruned = bisect_left(self._post_ids, self._order.key(older_than))
        for post_id in self._post_ids[:pruned]:
            del self._comments[post_id]
            self._posts.pop(post_id, None)
        del self._post_ids[:pruned]

    def compare(
        self, request: FeedRequest, feed: Mapping[str, AbstractSet[str]], post_count: int
    ) -> None:
        """Increment `went_back` of each write that this answer should show and does not.

        `feed`: the ids of the decided comments by the id of their post; `rows`: number of posts in
        the answer. A full page reaches back to its oldest post, a shorter one to the very first
        post.
        """
        order = self._order
        if request.before is not None and not order.by_id:
            return  # it is not known exactly enough where that page begins
        full = feed and post_count >= request.limit
        oldest_key = order.oldest_complete_key(list(feed)) if full else ""
        feed = {order.key(post_id): comments for post_id, comments in feed.items()}
        first = bisect_left(self._post_ids, oldest_key)
        last = len(self._post_ids)
        if request.before is not None:
            last = bisect_left(self._post_ids, request.before)
        nothing: AbstractSet[str] = frozenset()
        for post_id in self._post_ids[first:last]:
            missing = [
                self._comments[post_id][comment_id]
                for comment_id in self._comments[post_id].keys() - feed.get(post_id, nothing)
            ]
            if post_id in self._posts and post_id not in feed:
                missing.append(self._posts[post_id])
            for sample, seen_at_s in missing:
                sample.went_back += seen_at_s < request.at_s


# ── Stale reads


def mark_stale(samples: Sequence[Sample]) -> None:
    """Set `stale` of each stale feed. `samples`: all samples of one variant in one run."""
    unseen_intervals = sorted(
        (
            _answered_at_s(write),
            write.intended_s + write.visible_ms / 1_000 if write.visible_ms else inf,
        )
        for write in samples
        if write.ok and write.endpoint in WRITES
    )
    acknowledged_s = [begin_s for begin_s, _ in unseen_intervals]
    seen_s = list(accumulate((end_s for _, end_s in unseen_intervals), max))
    for feed in samples:
        if feed.ok and feed.endpoint == "read_feed":
            before = bisect_right(acknowledged_s, feed.intended_s + feed.lag_ms / 1_000)
            feed.stale = before > 0 and seen_s[before - 1] > _answered_at_s(feed)


def _answered_at_s(sample: Sample) -> float:
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000
