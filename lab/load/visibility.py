"""When a write becomes *visible*: the second latency of every write.

A 201 says that one service has the write. A reader cares about when the feed shows it. So one
probe per variant reads the feed as long as an acknowledged write is not visible. A post is visible
when it is in the feed, a comment when it is there and decided (approved or rejected).

The resolution is the pause between two requests of the probe: 1 ms after a new write, doubling to
50 ms. The probe sends only after its last request has ended, so it can't become the overload that
it measures. Its requests are load all the same; the summary reports how many there were.

The same answers say which posts a reader could comment on (those the feed has shown for a while),
and whether the feed still shows what it has shown before (`lab/load/anomalies.py`).
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from time import perf_counter
from urllib.parse import quote

from lab.load.anomalies import MARGIN, Asked, Order, Shown
from lab.load.samples import Sample
from lab.support.http_client import Client, Origin, Outcome

FIRST_WAIT_S = 0.001
LONGEST_WAIT_S = 0.050

_PAGE = 20  # posts that a reader requests
_LARGEST_PAGE = 100
_NEWEST = 10  # how many posts get comments
_GLANCE_EVERY_S = 0.1
_DECIDED = ("approved", "rejected")


class Watcher:
    """Reads one variant's feed until it shows every acknowledged write. Times are of
    `perf_counter`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: Client,
        feed: Origin,
        seed_posts: Iterable[str],
        started_at_s: float,
        reader_delay_s: float = 2.0,
        timeout_s: float = 2.0,
        order: Order | None = None,
    ) -> None:
        self.probes = 0
        self._loop, self._client, self._feed = loop, client, feed
        self._started_at_s, self._reader_delay_s = started_at_s, reader_delay_s
        self._timeout_s = timeout_s
        self._posts: dict[str, Sample] = {}
        self._comments: dict[str, Sample] = {}
        self._oldest: list[tuple[str, str]] = []  # a heap: (key of the post, id of the write)
        self._order = order or Order()
        self._seen = Shown(self._order)
        self._seed_posts = sorted(seed_posts, key=self._order.key)
        self._known = [self._order.key(one) for one in self._seed_posts]  # oldest first
        self._shown: set[str] = set(self._seed_posts)
        self._ripening: deque[tuple[float, str]] = deque()
        self._eligible: list[str] = []
        self._glanced_at_s = 0.0
        self._wait_s = FIRST_WAIT_S
        self._timer: asyncio.TimerHandle | None = None
        self._looking = self._look_at_once = False
        self._page_is_deep = False
        self._before: str | None = None
        self._asked = Asked(started_at_s, _PAGE)

    @property
    def pending(self) -> int:
        """How many acknowledged writes the feed does not show yet."""
        return len(self._posts) + len(self._comments)

    def acknowledged(self, sample: Sample) -> None:
        """Start to look for a write that has its 201 (`sample.id` is set); the first look is at
        once."""
        if sample.endpoint == "create_post":
            self._posts[sample.id] = sample
            self._learn(sample.id)
        else:
            self._comments[sample.id] = sample
        heappush(self._oldest, (self._order.key(sample.post_id or sample.id), sample.id))
        self._wait_s = FIRST_WAIT_S
        if self._looking:
            self._look_at_once = True  # the request in progress may have left before the write
        else:
            self._schedule(0.0)

    def glance(self, body: bytes, at_s: float, sent_at_s: float, degraded: bool = False) -> None:
        """Observe a feed that the load requested anyway: at most ten a second, as parsing takes
        time."""
        if at_s - self._glanced_at_s >= _GLANCE_EVERY_S:
            self._read(body, at_s, Asked(sent_at_s, _PAGE), degraded)

    def target(self, rank: int) -> str:
        """The id of the post that gets the comment with this rank.

        One of the newest ten that the feed has shown for `reader_delay_s` seconds (readers comment
        only on what they have read), or one of the seed posts as long as there is none.
        """
        ripe_at_s = perf_counter() - self._reader_delay_s
        while self._ripening and self._ripening[0][0] <= ripe_at_s:
            insort(self._eligible, self._ripening.popleft()[1], key=self._order.key)
        del self._eligible[:-_NEWEST]
        posts = self._eligible or self._seed_posts
        return posts[rank % len(posts)]

    def stop(self) -> None:
        """Stop probing."""
        self._put_off()
        self._client.close()

    def _put_off(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, wait_s: float) -> None:
        self._put_off()
        self._timer = self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        if not self.pending:
            return
        limit, before = self._next_page()
        path = f"/feed?limit={limit}" + (f"&before={quote(before)}" if before else "")
        self._asked = Asked(perf_counter(), limit, before)
        give_up_at_s = self._asked.at_s + self._timeout_s
        self._looking = self._client.send("GET", self._feed, path, b"", give_up_at_s, self._looked)
        if self._looking:
            self.probes += 1
        else:
            self._schedule(LONGEST_WAIT_S)

    def _looked(self, outcome: Outcome) -> None:
        self._looking = False
        if outcome.status == 200:
            self._go_deeper(self._read(outcome.body, outcome.at_s, self._asked, outcome.degraded))
        if not self.pending:
            return
        if self._look_at_once:
            self._look_at_once = False
            self._look()
        else:
            self._schedule(self._wait_s)
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def _next_page(self) -> tuple[int, str | None]:
        """The `limit` and `before` of the next request.

        The newest page, large enough to contain the oldest post with a pending write. If a page
        can't be that large, every other request goes one page further back, until that post is
        passed.
        """
        # In a long outage tens of thousands are pending: too many to search for each request.
        while self._oldest[0][1] not in self._posts and self._oldest[0][1] not in self._comments:
            heappop(self._oldest)
        oldest = self._oldest[0][0]
        depth = len(self._known) - bisect_left(self._known, oldest) + MARGIN
        behind = self._before is not None and self._order.key(self._before) <= oldest
        if depth <= _LARGEST_PAGE or behind:
            self._before = None
        self._page_is_deep = not self._page_is_deep and self._before is not None
        if self._page_is_deep:
            return _LARGEST_PAGE, self._before
        return min(_LARGEST_PAGE, max(_PAGE, depth)), None

    def _go_deeper(self, shown: list[str]) -> None:
        if self._page_is_deep or self._before is None:
            self._before = (
                shown[-1] if len(shown) == _LARGEST_PAGE else None
            )  # short: the last page

    def _read(self, body: bytes, at_s: float, asked: Asked, degraded: bool) -> list[str]:
        """Process a feed; returns the ids of its posts, [] for an answer that is not a feed."""
        self._glanced_at_s = at_s
        try:
            feed = json.loads(body)
            shown = [str(post["id"]) for post in feed]
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
        self._order.meet(shown)
        for post_id in shown:
            if post_id not in self._shown:
                self._shown.add(post_id)
                self._ripening.append((at_s, post_id))
                self._learn(post_id)
        if not degraded:  # a feed that declares itself incomplete withdraws nothing
            self._seen.compare(asked, decided, len(shown))
        self._settle(self._posts, shown, at_s)
        self._settle(self._comments, (one for ids in decided.values() for one in ids), at_s)
        return shown

    def _settle(self, waiting: dict[str, Sample], ids: Iterable[str], at_s: float) -> None:
        for one in ids:
            if (sample := waiting.pop(one, None)) is not None:
                sample.visible_ms = (at_s - self._started_at_s - sample.intended_s) * 1000
                self._seen.note(sample, at_s)

    def _learn(self, post_id: str) -> None:
        key = self._order.key(post_id)
        place = bisect_left(self._known, key)
        if place == len(self._known) or self._known[place] != key:
            self._known.insert(place, key)
