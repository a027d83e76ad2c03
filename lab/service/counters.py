"""What a service counts of its calls, by callee.

The counters of calls are the evidence that a resilience switch acts:

    asked             calls that handlers made
    attempts          requests that were sent; more than `asked` is the cost of retries and hedges
    timed_out         of these, requests that were not answered in time
    retried           repetitions of a failed request
    budget_denied     repetitions that the retry budget did not allow
    opened            times a circuit breaker opened
    broken            requests that an open circuit breaker refused
    bulkhead_refused  requests that a full bulkhead refused
    hedged            second requests, sent because the first one took long
    hedge_won         of these, requests that were answered first
    fell_back         failed calls that the fallback answered

Counting starts with the process; a process that is killed loses its counts.
"""

import threading
from collections.abc import Mapping

COUNTERS = (
    "asked",
    "attempts",
    "timed_out",
    "retried",
    "budget_denied",
    "opened",
    "broken",
    "bulkhead_refused",
    "hedged",
    "hedge_won",
    "fell_back",
)


class CallCounters:
    """Counters of one service, shared by its worker threads.

    `breakers`: by callee, the state of its circuit breaker once that has changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_callee: dict[str, dict[str, int]] = {}
        self.breakers: dict[str, str] = {}

    def add(self, callee: str, counter: str) -> None:
        """Add one to the counter `counter` (one of COUNTERS) of `callee`."""
        with self._lock:
            counts = self._by_callee.get(callee)
            if counts is None:
                counts = self._by_callee[callee] = dict.fromkeys(COUNTERS, 0)
            counts[counter] += 1

    def snapshot(self) -> Mapping[str, Mapping[str, int]]:
        """A copy of the counters, by callee; a service that was never called is missing."""
        with self._lock:
            return {callee: dict(counts) for callee, counts in self._by_callee.items()}
