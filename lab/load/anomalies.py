"""Anomalies that readers see: writes that vanish from the feed, and stale reads.

*Vanishing writes* (a violation of monotonic reads): once the feed has shown a write, later feeds
must show it too. A feed that is right at the end can have been wrong in between (a stale copy, a
part left out during an outage). So each feed is compared with what earlier ones have shown.
*Earlier* means: that answer had arrived before this request was sent. Of two concurrent requests,
neither is the earlier one.

*Sessions*: the readers of the load have numbers, and the probe is one more reader. A write that
the same reader saw before and no longer sees breaks a guarantee of that reader's session (Terry et
al.: Session Guarantees for Weakly Consistent Replicated Data, PDIS 1994). Where each reader is
served by one replica, writes may vanish between readers, and never for one of them.

*Stale reads*: feeds that lack a write which was acknowledged before they were requested. Each
answer is searched for the ids of the acknowledged writes that no earlier answer has shown. A
comment that the feed shows as pending is there.

*Order of posts*: the lab's ids sort by age, ids of external services may not. There, a post is as
old as the moment when it was first met, in the answer to its author or in the feed. Two posts met
at about the same moment may be in the wrong order, so the check leaves a margin of MARGIN posts.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from lab.load.samples import Sample

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


PROBE_READER = 0
READERS = 8
"""The readers of the load have the numbers from 1 to READERS."""


class FeedRequest(NamedTuple):
    """A request for the feed: when it was sent (`perf_counter`), its parameters, and its reader."""

    at_s: float
    limit: int
    before: str | None = None
    reader: int = PROBE_READER


@dataclass(slots=True)
class _ShownWrite:
    """`seen_at_s`: when any reader first saw it; `reader_seen_at_s`: the same by reader."""

    sample: Sample
    seen_at_s: float
    reader_seen_at_s: dict[int, float]


class MonotonicReads:
    """The writes that the feed has shown, each with the time (`perf_counter`) when it was first
    seen.

    A post counts when it was in the feed, a comment when it was there and decided.
    """

    def __init__(self, order: PostOrder | None = None) -> None:
        self._order = order or PostOrder()
        self._post_ids: list[str] = []  # sort keys, oldest first
        self._posts: dict[str, _ShownWrite] = {}
        self._comments: dict[str, dict[str, _ShownWrite]] = {}

    def record_shown(self, sample: Sample, at_s: float) -> None:
        """Record that an answer received at `at_s` shows this write for the first time."""
        entry = _ShownWrite(sample, at_s, {})
        post_id = self._order.key(sample.post_id or sample.id)
        if post_id not in self._comments:
            self._comments[post_id] = {}
            insort(self._post_ids, post_id)
        if sample.post_id:
            self._comments[post_id][sample.id] = entry
        else:
            self._posts[post_id] = entry

    def record_reader(self, reader: int, feed: Mapping[str, AbstractSet[str]], at_s: float) -> None:
        """Record what an answer to this reader shows; `feed` as in `compare`."""
        for post_id, decided in feed.items():
            key = self._order.key(post_id)
            if (post := self._posts.get(key)) is not None:
                post.reader_seen_at_s.setdefault(reader, at_s)
            comments = self._comments.get(key, {})
            for comment_id in comments.keys() & decided:
                comments[comment_id].reader_seen_at_s.setdefault(reader, at_s)

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
        """Increment `went_back` of each write that this answer should show and does not, and
        `reader_went_back` if the same reader has seen it.

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
            for write in missing:
                write.sample.went_back += write.seen_at_s < request.at_s
                seen_at_s = write.reader_seen_at_s.get(request.reader, inf)
                write.sample.reader_went_back += seen_at_s < request.at_s


# ── Stale reads

_FORGOTTEN_DEPTH = 100
"""Writes to posts behind so many newer ones are no longer searched: no reader gets them."""


@dataclass(slots=True)
class _AcknowledgedWrite:
    post_id: str
    acknowledged_at_s: float
    seen_at_s: float = inf


class StaleReads:
    """The acknowledged writes that a feed may lack. Times are of `perf_counter`.

    `page_size`: number of posts that a reader requests. `timeout_s`: no answer comes later.
    """

    def __init__(self, page_size: int, timeout_s: float) -> None:
        self._page_size, self._timeout_s = page_size, timeout_s
        self._writes: dict[str, _AcknowledgedWrite] = {}
        self._seen: deque[tuple[float, str]] = deque()

    def record_acknowledged(self, sample: Sample, at_s: float) -> None:
        self._writes[sample.id] = _AcknowledgedWrite(sample.post_id, at_s)

    def record_shown(self, ids: AbstractSet[str], at_s: float) -> None:
        """Record that an answer received at `at_s` shows the posts and comments with these ids."""
        for write_id in self._writes.keys() & ids:
            write = self._writes[write_id]
            if write.seen_at_s == inf:
                write.seen_at_s = at_s
                self._seen.append((at_s, write_id))

    def is_stale(
        self, body: bytes, sent_at_s: float, depth_of: Callable[[str], int], degraded: bool
    ) -> bool:
        """Whether this answer lacks a write that was acknowledged before the request was sent.

        `depth_of`: how many posts are at least as new as this one. An answer that declares itself
        degraded lacks no comments: it says that it left them out.
        """
        while self._seen and self._seen[0][0] < sent_at_s - self._timeout_s:
            self._writes.pop(self._seen.popleft()[1], None)
        too_old = []
        stale = False
        # The newest first: in a backlog, they are those that are missing.
        for write_id, write in reversed(self._writes.items()):
            if write.acknowledged_at_s >= sent_at_s or write.seen_at_s <= sent_at_s:
                continue
            depth = depth_of(write.post_id or write_id)
            if depth > _FORGOTTEN_DEPTH:
                too_old.append(write_id)
            elif self._lacks(body, write_id, write, depth, degraded):
                stale = True
                break
        for write_id in too_old:
            del self._writes[write_id]
        return stale

    def _lacks(
        self, body: bytes, write_id: str, write: _AcknowledgedWrite, depth: int, degraded: bool
    ) -> bool:
        if _quoted(write_id) in body:
            return False
        if write.post_id:  # a comment is missing where its post is shown without it
            return not degraded and _quoted(write.post_id) in body
        # Requests under way may add newer posts: the end of the page is uncertain.
        return depth <= self._page_size - MARGIN


def _quoted(name: str) -> bytes:
    return json.dumps(name).encode()
