"""When a write becomes *visible*: the second latency of every write.

A 201 says that one service has the write. A reader cares about when the feed shows it. So one
probe per variant reads the feed as long as an acknowledged write is not visible. A post is visible
when it is in the feed, a comment when it is there and decided (approved or rejected).

The resolution is the pause between two requests of the probe: 1 ms after a new write, doubling to
50 ms. The probe sends only after its last request has ended, so it can't become the overload that
it measures. Its requests are load all the same; the summary reports how many there were.

The same answers say which posts a reader could comment on (those the feed has shown for a while),
whether the feed still shows what it has shown before (`lab/load/anomalies.py`), and whether it
shows what was written (`lab/load/content.py`).
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from itertools import chain
from time import perf_counter
from urllib.parse import quote

from lab.load.anomalies import MARGIN, FeedRequest, MonotonicReads, PostOrder, StaleReads
from lab.load.content import ShownContent
from lab.load.samples import Sample
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult

MIN_PAUSE_S = 0.001
MAX_PAUSE_S = 0.050

_PAGE_SIZE = 20  # posts that a reader requests
_MAX_PAGE_SIZE = 100
_COMMENTED_POSTS = 10  # how many posts get comments
_OBSERVE_EVERY_S = 0.1
_DECIDED = ("approved", "rejected")


class VisibilityProbe:
    """Reads one variant's feed until it shows every acknowledged write. Times are of
    `perf_counter`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: HttpClient,
        origin: HttpOrigin,
        seed_posts: Iterable[str],
        started_at_s: float,
        reader_delay_s: float = 2.0,
        timeout_s: float = 2.0,
        order: PostOrder | None = None,
    ) -> None:
        self.probes = 0
        self._loop, self._client, self._origin = loop, client, origin
        self._started_at_s, self._reader_delay_s = started_at_s, reader_delay_s
        self._timeout_s = timeout_s
        self._pending_posts: dict[str, Sample] = {}
        self._pending_comments: dict[str, Sample] = {}
        self._pending_heap: list[tuple[str, str]] = []  # a heap: (key of the post, id of the write)
        self._order = order or PostOrder()
        self._monotonic_reads = MonotonicReads(self._order)
        self._stale_reads = StaleReads(_PAGE_SIZE, timeout_s)
        self._shown_content = ShownContent()
        self._seed_posts = sorted(seed_posts, key=self._order.key)
        self._known_keys = [
            self._order.key(post_id) for post_id in self._seed_posts
        ]  # oldest first
        self._shown_posts: set[str] = set(self._seed_posts)
        self._not_yet_eligible: deque[tuple[float, str]] = deque()
        self._eligible: list[str] = []
        self._observed_at_s = 0.0
        self._pause_s = MIN_PAUSE_S
        self._timer: asyncio.TimerHandle | None = None
        self._probing = self._probe_again = False
        self._paging_back = False
        self._cursor: str | None = None
        self._last_request = FeedRequest(started_at_s, _PAGE_SIZE)

    @property
    def pending(self) -> int:
        """How many acknowledged writes the feed does not show yet."""
        return len(self._pending_posts) + len(self._pending_comments)

    def track_write(self, sample: Sample) -> None:
        """Start to look for a write that has its 201 (`sample.id` is set); the first look is at
        once."""
        self._stale_reads.record_acknowledged(sample, perf_counter())
        self._shown_content.record_acknowledged(sample)
        if sample.endpoint == "create_post":
            self._pending_posts[sample.id] = sample
            self._register_post(sample.id)
        else:
            self._pending_comments[sample.id] = sample
        heappush(self._pending_heap, (self._order.key(sample.post_id or sample.id), sample.id))
        self._pause_s = MIN_PAUSE_S
        if self._probing:
            self._probe_again = True  # the request in progress may have left before the write
        else:
            self._schedule_probe(0.0)

    def observe(
        self, body: bytes, at_s: float, sent_at_s: float, degraded: bool = False, reader: int = 1
    ) -> None:
        """Observe a feed that the load requested anyway: at most ten a second, as parsing takes
        time. `reader`: the number of the reader, from 1."""
        if at_s - self._observed_at_s >= _OBSERVE_EVERY_S:
            request = FeedRequest(sent_at_s, _PAGE_SIZE, reader=reader)
            self._process_feed(body, at_s, request, degraded)

    def is_stale(self, body: bytes, sent_at_s: float, degraded: bool = False) -> bool:
        """Whether this feed lacks a write that was acknowledged before it was requested."""
        return self._stale_reads.is_stale(body, sent_at_s, self._depth_of, degraded)

    def _depth_of(self, post_id: str) -> int:
        """How many of the known posts are at least as new as this one."""
        return len(self._known_keys) - bisect_left(self._known_keys, self._order.key(post_id))

    def pick_post(self, rank: int) -> str:
        """The id of the post that gets the comment with this rank.

        One of the newest ten that the feed has shown for `reader_delay_s` seconds (readers comment
        only on what they have read), or one of the seed posts as long as there is none.
        """
        shown_before_s = perf_counter() - self._reader_delay_s
        while self._not_yet_eligible and self._not_yet_eligible[0][0] <= shown_before_s:
            insort(self._eligible, self._not_yet_eligible.popleft()[1], key=self._order.key)
        del self._eligible[:-_COMMENTED_POSTS]
        posts = self._eligible or self._seed_posts
        return posts[rank % len(posts)]

    def stop(self) -> None:
        """Stop probing."""
        self._cancel_timer()
        self._client.close()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _schedule_probe(self, wait_s: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(wait_s, self._probe)

    def _probe(self) -> None:
        if not self.pending:
            return
        limit, before = self._next_page()
        path = f"/feed?limit={limit}" + (f"&before={quote(before)}" if before else "")
        self._last_request = FeedRequest(perf_counter(), limit, before)
        give_up_at_s = self._last_request.at_s + self._timeout_s
        self._probing = self._client.send(
            "GET", self._origin, path, b"", give_up_at_s, self._on_response
        )
        if self._probing:
            self.probes += 1
        else:
            self._schedule_probe(MAX_PAUSE_S)

    def _on_response(self, outcome: HttpResult) -> None:
        self._probing = False
        if outcome.status == 200:
            self._advance_cursor(
                self._process_feed(outcome.body, outcome.at_s, self._last_request, outcome.degraded)
            )
        if not self.pending:
            return
        if self._probe_again:
            self._probe_again = False
            self._probe()
        else:
            self._schedule_probe(self._pause_s)
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    def _next_page(self) -> tuple[int, str | None]:
        """The `limit` and `before` of the next request.

        The newest page, large enough to contain the oldest post with a pending write. If a page
        can't be that large, every other request goes one page further back, until that post is
        passed.
        """
        # In a long outage tens of thousands are pending: too many to search for each request.
        while (
            self._pending_heap[0][1] not in self._pending_posts
            and self._pending_heap[0][1] not in self._pending_comments
        ):
            heappop(self._pending_heap)
        oldest = self._pending_heap[0][0]
        depth = len(self._known_keys) - bisect_left(self._known_keys, oldest) + MARGIN
        passed_oldest = self._cursor is not None and self._order.key(self._cursor) <= oldest
        if depth <= _MAX_PAGE_SIZE or passed_oldest:
            self._cursor = None
        self._paging_back = not self._paging_back and self._cursor is not None
        if self._paging_back:
            return _MAX_PAGE_SIZE, self._cursor
        return min(_MAX_PAGE_SIZE, max(_PAGE_SIZE, depth)), None

    def _advance_cursor(self, post_ids: list[str]) -> None:
        if self._paging_back or self._cursor is None:
            self._cursor = (
                post_ids[-1] if len(post_ids) == _MAX_PAGE_SIZE else None
            )  # short: the last page

    def _process_feed(
        self, body: bytes, at_s: float, request: FeedRequest, degraded: bool
    ) -> list[str]:
        """Process a feed; returns the ids of its posts, [] for an answer that is not a feed."""
        self._observed_at_s = at_s
        try:
            feed = json.loads(body)
            post_ids = [str(post["id"]) for post in feed]
            decided = {
                str(post["id"]): {
                    str(comment["id"])
                    for comment in post["comments"]
                    if comment["status"] in _DECIDED
                }
                for post in feed
            }
        except (ValueError, TypeError, KeyError):
            return []
        self._order.observe(post_ids)
        for post_id in post_ids:
            if post_id not in self._shown_posts:
                self._shown_posts.add(post_id)
                self._not_yet_eligible.append((at_s, post_id))
                self._register_post(post_id)
        self._shown_content.compare(feed, request.at_s, at_s, degraded)
        comment_ids = {str(comment["id"]) for post in feed for comment in post["comments"]}
        self._stale_reads.record_shown(comment_ids.union(post_ids), at_s)
        if not degraded:  # a feed that declares itself incomplete withdraws nothing
            self._monotonic_reads.compare(request, decided, len(post_ids))
        self._mark_visible(self._pending_posts, post_ids, at_s)
        self._mark_visible(self._pending_comments, chain.from_iterable(decided.values()), at_s)
        self._monotonic_reads.record_reader(request.reader, decided, at_s)
        return post_ids

    def _mark_visible(self, pending: dict[str, Sample], ids: Iterable[str], at_s: float) -> None:
        for write_id in ids:
            if (sample := pending.pop(write_id, None)) is not None:
                sample.visible_ms = (at_s - self._started_at_s - sample.intended_s) * 1000
                self._monotonic_reads.record_shown(sample, at_s)

    def _register_post(self, post_id: str) -> None:
        key = self._order.key(post_id)
        position = bisect_left(self._known_keys, key)
        if position == len(self._known_keys) or self._known_keys[position] != key:
            self._known_keys.insert(position, key)
