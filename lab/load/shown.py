"""What the feed has shown, and so must go on showing: no reader may see a write come and go.

A feed that was right a moment ago and is right in the end can still have been wrong in between (a
stale copy, a part left out while somebody is away). Nobody finds that out by looking once, at the
end. So each answer of the feed is held against what earlier answers have shown. *Earlier* means:
that answer was in before this question was sent; of two that were under way at once, neither is
late.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from lab.load.order import Order
from lab.load.samples import Sample


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
