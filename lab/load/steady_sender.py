"""A sender and a watcher that keep nothing but what is not over yet: for a load without an end.

They send and look exactly as those of a run do. What they add is that each thing is noted the
moment it happens (`lab/load/lately.py`), and that what is long over is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify
from typing import Any

from lab.load.lately import Lags, Lately
from lab.load.samples import Sample
from lab.load.sender import ENDPOINTS, Sender
from lab.load.watcher import Watcher

KEPT_POSTS = 2_000
"""The newest so many posts are remembered: whether they were seen, and what is missing of them."""


class SteadyWatcher(Watcher):
    """Says what becomes visible. A write of a post that is older than the newest 2,000 is given up:
    on a bus that loses events some are never seen, and can't all be looked for until the end."""

    lately: Lately

    def _settle(self, waiting: dict[str, Sample], ids: Iterable[str], at_s: float) -> None:
        ids = list(ids)
        found = [waiting[one] for one in ids if one in waiting]
        super()._settle(waiting, ids, at_s)
        for sample in found:
            self.lately.visible(sample)

    def forget(self) -> None:
        if len(self._known) <= KEPT_POSTS:
            return
        self._known = self._known[-KEPT_POSTS:]
        oldest = self._known[0]
        self._shown = {one for one in self._shown if one >= oldest}
        for waiting in (self._posts, self._comments):
            for one, sample in list(waiting.items()):
                if (sample.post_id or sample.id) < oldest:
                    del waiting[one]
                    self.lately.lost_sight_of(one)
        self._oldest = [pair for pair in self._oldest if pair[0] >= oldest]
        heapify(self._oldest)
        self._seen.forget(oldest)
        while self._ripening and self._ripening[0][1] < oldest:
            self._ripening.popleft()


class SteadySender(Sender):
    """Notes what is sent, and what came of it."""

    watcher: SteadyWatcher
    lately: Lately
    lags: Lags

    def forget(self) -> None:
        self.watcher.forget()

    def _send(self, sample: Sample, *rest: Any) -> None:
        super()._send(sample, *rest)
        self.samples.clear()
        self.lately.sent(sample)
        if not sample.dropped:
            self.lags.add(sample.lag_ms)

    def _answered(self, sample: Sample, *rest: Any) -> None:
        super()._answered(sample, *rest)
        if sample.dropped:
            self.lately.never_sent(sample)
            return
        endpoint = ENDPOINTS[sample.endpoint]
        what = f"{endpoint.method} {endpoint.path.partition('?')[0]}"
        self.lately.answered(sample, endpoint.service, what)
