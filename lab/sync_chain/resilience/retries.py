"""Retries: repeats failed requests, with three ways to make that less dangerous.

Naive code retries every failure, even a POST whose outcome is unknown, which may then be done
twice. (`moderation` records every verdict: look for duplicates.) It also retries at once: with two
retries, an overloaded service gets three times the load, and in a chain the attempts multiply.
Three things help:

- *backoff*: wait before each retry, twice as long each time;
- *jitter*: vary the wait at random, or all callers come back together (Brooker 2015, "Exponential
  Backoff And Jitter");
- *retry budget*: retries may be at most a share of all requests. When one request in a hundred
  fails, each failure is retried; when all fail, hardly any is (Google's SRE book, chapter 22;
  Finagle).

`stamina` runs the loop. Requests that the service's own breaker or bulkhead refused are not
retried.
"""

import threading
from collections.abc import Mapping
from typing import Any

import stamina
from pydantic import BaseModel
from stamina.instrumentation import set_on_retry_hooks

from lab.domain.errors import DependencyFailed, NotAsked
from lab.service import deadline
from lab.service.counters import CallCounters
from lab.sync_chain.ask.http import Transport

BACKOFFS: dict[str, dict[str, float]] = {
    "none": {"wait_initial": 0, "wait_jitter": 0},
    "exponential": {"wait_initial": 0.05, "wait_jitter": 0},
    "jitter": {"wait_initial": 0.05, "wait_jitter": 0.1},
}
"""In seconds: the first wait, which doubles each time, and the largest random addition."""

LONGEST_WAIT_S = 1.0


class RetryBudget:
    """A token bucket: each request adds a share of a token, each retry takes one whole token.

    The bucket starts empty, so retries never exceed that share of the requests. It holds at most
    `tokens`: a quiet hour does not save up tokens for a retry storm.
    """

    def __init__(self, share: float, capacity: int = 10) -> None:
        # Whole thousandths of a token: ten floats of 0.1 add up to a little less than 1.
        self._earned_per_request = round(share * 1_000)
        self._capacity = capacity * 1_000
        self._tokens = 0
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._tokens = min(self._capacity, self._tokens + self._earned_per_request)

    def spend(self) -> bool:
        """Take one token; False when there is none."""
        with self._lock:
            if self._tokens < 1_000:
                return False
            self._tokens -= 1_000
            return True


class Retries:
    """Makes up to `retries` more attempts. One budget covers all requests of the service."""

    def __init__(
        self,
        inner: Transport,
        tally: CallCounters,
        retries: int,
        backoff: str,
        budget: RetryBudget | None,
    ) -> None:
        self._inner = inner
        self._tally = tally
        self._retries = retries
        self._backoff = BACKOFFS[backoff]
        self._budget = budget
        set_on_retry_hooks([])  # else stamina logs each retry

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        if self._budget:
            self._budget.earn()
        left = self._retries

        def should_retry(error: Exception) -> bool:
            nonlocal left
            # Counted here, because stamina calls this even when no attempt is left.
            if not left or not _is_retryable(error):
                return False
            if self._budget and not self._budget.spend():
                self._tally.add(callee, "budget_denied")
                return False
            left -= 1
            self._tally.add(callee, "retried")
            return True

        for attempt in stamina.retry_context(
            on=should_retry, attempts=None, timeout=None, wait_max=LONGEST_WAIT_S, **self._backoff
        ):
            with attempt:
                return self._inner(callee, method, path, body, query)
        raise AssertionError("the last attempt either returns or raises")


def _is_retryable(error: Exception) -> bool:
    failed = isinstance(error, DependencyFailed) and not isinstance(error, NotAsked)
    return failed and not deadline.expired()
