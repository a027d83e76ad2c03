"""Retries: ask again when it failed, and three ways to make that less dangerous.

As naive code does it, everything is asked again that failed: also a POST of which nobody knows
whether it was done. (Moderation keeps a record of every verdict: look for the doubled ones.) And
it is asked again at once: a service that is overloaded gets three times the load for it, and in
a chain the attempts multiply. What helps:

- *backoff*: wait before each attempt, twice as long each time;
- *jitter*: and not all the same time, or all come back together (Brooker 2015, "Exponential
  Backoff And Jitter");
- a *retry budget*: retries may be at most a share of all questions. When one in a hundred fails,
  each is asked again; when all fail, hardly any is (Google's SRE book, chapter 22; Finagle).

`stamina` runs the loop. What our own breaker or bulkhead refused is not asked again.
"""

import threading
from collections.abc import Mapping
from typing import Any

import stamina
from pydantic import BaseModel
from stamina.instrumentation import set_on_retry_hooks

from lab.domain.errors import DependencyFailed, NotAsked
from lab.service import deadline
from lab.service.call_counters import Tally
from lab.sync_chain.ask.http import Carrier

BACKOFFS: dict[str, dict[str, float]] = {
    "none": {"wait_initial": 0, "wait_jitter": 0},
    "exponential": {"wait_initial": 0.05, "wait_jitter": 0},
    "jitter": {"wait_initial": 0.05, "wait_jitter": 0.1},
}
"""Seconds: the first wait (the next ones are twice as long, each), and what chance adds at most."""

LONGEST_WAIT_S = 1.0


class Budget:
    """A token bucket: each question puts a share of a token in, each retry takes a whole one out.

    It begins empty, so there are never more retries than that share of the questions. It holds
    ten tokens: a quiet hour does not save up for a storm.
    """

    def __init__(self, share: float, tokens: int = 10) -> None:
        # In thousandths: ten times 0.1 is a little less than 1.
        self._earned = round(share * 1_000)
        self._most = tokens * 1_000
        self._held = 0
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._held = min(self._most, self._held + self._earned)

    def spend(self) -> bool:
        """Take a token out; False when there is none."""
        with self._lock:
            if self._held < 1_000:
                return False
            self._held -= 1_000
            return True


class Retries:
    """Up to `retries` more attempts. The budget is for all questions of the service together."""

    def __init__(
        self, inner: Carrier, tally: Tally, retries: int, backoff: str, budget: Budget | None
    ) -> None:
        self._inner = inner
        self._tally = tally
        self._retries = retries
        self._waits = BACKOFFS[backoff]
        self._budget = budget
        set_on_retry_hooks([])  # or each retry would be a line in the log

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        if self._budget:
            self._budget.earn()
        left = self._retries

        def again(error: Exception) -> bool:
            nonlocal left
            # Counted here and not by stamina, which asks also when no attempt is left.
            if not left or not _may_go_better(error):
                return False
            if self._budget and not self._budget.spend():
                self._tally.add(whom, "budget_denied")
                return False
            left -= 1
            self._tally.add(whom, "retried")
            return True

        for attempt in stamina.retry_context(
            on=again, attempts=None, timeout=None, wait_max=LONGEST_WAIT_S, **self._waits
        ):
            with attempt:
                return self._inner(whom, method, path, body, query)
        raise AssertionError("the last attempt either returns or raises")


def _may_go_better(error: Exception) -> bool:
    failed = isinstance(error, DependencyFailed) and not isinstance(error, NotAsked)
    return failed and not deadline.is_over()
