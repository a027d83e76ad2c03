"""What the feed has shown, and so must go on showing: no reader may see a write come and go.

A feed that was right a moment ago and is right in the end can still have been wrong in between (a
stale copy, a part left out while somebody is away). Nobody finds that out by looking once, at the
end. So each answer of the feed is held against what earlier answers have shown. *Earlier* means:
that answer was in before this question was sent; of two that were under way at once, neither is
late.

Stale reads: feeds that came without something that had been acknowledged before they were asked.

Nothing in such an answer says so. It is found out afterwards, from the moments of the others: a
write is acknowledged at one moment and first seen at a later one, and a feed that was asked for and
answered in between can't have shown it. So it is known as exactly as *visible* is, to within the
pause between two looks of the watcher.

Which post is older: the lab's own ids say so, those of other people's blogs say nothing.

Where ids say nothing, a post is as old as the moment it was first met, in the answer to its author
or in the feed. Two that were met at about the same moment may have been written the other way
round, so what hangs on their order is not looked at closer than MARGIN posts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from math import inf
from typing import NamedTuple

from lab.load.samples import WRITES, Sample

# ── Which post is older: the lab's own ids say so, those of other people's blogs say nothing.

MARGIN = 10


class Order:
    """Keys by which posts sort, the oldest first. `by_id`: the ids themselves do."""

    def __init__(self, by_id: bool = True) -> None:
        self.by_id = by_id
        self._keys: dict[str, str] = {}

    def key(self, post_id: str) -> str:
        """The key of a post, which is met now if it never was."""
        if self.by_id:
            return post_id
        if (key := self._keys.get(post_id)) is None:
            key = self._keys[post_id] = f"{len(self._keys):012d}"
        return key

    def meet(self, newest_first: Sequence[str]) -> None:
        """Meet the posts of a page."""
        if not self.by_id:
            for post_id in reversed(newest_first):
                self.key(post_id)

    def reaches_back_to(self, newest_first: Sequence[str]) -> str:
        """The key from which on a page must have every post that there is."""
        keys = [self.key(one) for one in newest_first]
        return min(keys) if self.by_id else max(keys[-MARGIN:])


# ── What the feed has shown, and so must go on showing: no reader may see a write come and go.


class Asked(NamedTuple):
    """A question for the feed: the moment it was sent (perf_counter), and what it asked for."""

    at_s: float
    limit: int
    before: str | None = None


class Shown:
    """The writes that were seen in the feed, with the moment (perf_counter) they were seen first.

    A post was seen; a comment was seen decided.
    """

    def __init__(self, order: Order | None = None) -> None:
        self._order = order or Order()
        self._post_ids: list[str] = []  # in their order: keys
        self._posts: dict[str, tuple[Sample, float]] = {}
        self._comments: dict[str, dict[str, tuple[Sample, float]]] = {}

    def note(self, sample: Sample, at_s: float) -> None:
        """An answer that was in at `at_s` shows this write."""
        seen = (sample, at_s)
        post_id = self._order.key(sample.post_id or sample.id)
        if post_id not in self._comments:
            self._comments[post_id] = {}
            insort(self._post_ids, post_id)
        if sample.post_id:
            self._comments[post_id][sample.id] = seen
        else:
            self._posts[post_id] = seen

    def forget(self, older_than: str) -> None:
        """Hold no answer any more against what was seen of posts older than this id."""
        gone = bisect_left(self._post_ids, self._order.key(older_than))
        for post_id in self._post_ids[:gone]:
            del self._comments[post_id]
            self._posts.pop(post_id, None)
        del self._post_ids[:gone]

    def compare(self, asked: Asked, feed: Mapping[str, AbstractSet[str]], rows: int) -> None:
        """Count `went_back` for each write that this answer should show, and doesn't.

        `feed`: the ids of the decided comments by the id of their post; `rows`: how many posts the
        answer has. A full page reaches back to its oldest post, any other to the very first.
        """
        order = self._order
        if asked.before is not None and not order.by_id:
            return  # where that page begins, nobody knows closely enough
        full = feed and rows >= asked.limit
        reaches_back_to = order.reaches_back_to(list(feed)) if full else ""
        feed = {order.key(post_id): comments for post_id, comments in feed.items()}
        first = bisect_left(self._post_ids, reaches_back_to)
        last = len(self._post_ids)
        if asked.before is not None:
            last = bisect_left(self._post_ids, asked.before)
        nothing: AbstractSet[str] = frozenset()
        for post_id in self._post_ids[first:last]:
            missing = [
                self._comments[post_id][one]
                for one in self._comments[post_id].keys() - feed.get(post_id, nothing)
            ]
            if post_id in self._posts and post_id not in feed:
                missing.append(self._posts[post_id])
            for sample, seen_at_s in missing:
                sample.went_back += seen_at_s < asked.at_s


# ── Stale reads: feeds that came without something that had been acknowledged before they were
# asked.


def mark_stale(samples: Sequence[Sample]) -> None:
    """Mark the feeds among one variant's samples that were stale. All samples of a run, no more."""
    unseen = sorted(
        (_answered_s(one), one.intended_s + one.visible_ms / 1_000 if one.visible_ms else inf)
        for one in samples
        if one.ok and one.endpoint in WRITES
    )
    acknowledged_s = [begin_s for begin_s, _ in unseen]
    seen_s = list(accumulate((end_s for _, end_s in unseen), max))
    for one in samples:
        if one.ok and one.endpoint == "read_feed":
            before = bisect_right(acknowledged_s, one.intended_s + one.lag_ms / 1_000)
            one.stale = before > 0 and seen_s[before - 1] > _answered_s(one)


def _answered_s(sample: Sample) -> float:
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000
