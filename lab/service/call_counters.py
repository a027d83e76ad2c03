"""What became of a service's questions, counted by whom it asked: the proof that a switch acts.

    asked             questions that handlers had
    attempts          times one of them was really sent: more than `asked` is what retries cost
    timed_out         of these, how many were not answered in time
    retried           attempts that repeated one that had failed
    budget_denied     repetitions that the retry budget did not allow
    opened            times a circuit breaker opened
    broken            questions that an open circuit breaker refused
    bulkhead_refused  questions for which the bulkhead had no place left
    hedged            second questions, sent because the first one took long
    hedge_won         of these, how many were answered first
    fell_back         questions that failed, and were passed over with less than an answer

Counted since the process began: one that was killed takes its counts with it.
"""

import threading
from collections.abc import Mapping

KINDS = (
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


class Tally:
    """Counts of one service, from all its workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_whom: dict[str, dict[str, int]] = {}

    def add(self, whom: str, kind: str) -> None:
        """One more of a kind (of KINDS)."""
        with self._lock:
            counts = self._by_whom.get(whom)
            if counts is None:
                counts = self._by_whom[whom] = dict.fromkeys(KINDS, 0)
            counts[kind] += 1

    def told(self) -> Mapping[str, Mapping[str, int]]:
        """The counts by whom was asked; nobody who was never asked is in it."""
        with self._lock:
            return {whom: dict(counts) for whom, counts in self._by_whom.items()}
