"""Circuit breaker: who has failed five times in a row is left alone for a second.

*Closed*, it lets every question through and counts failures. *Open*, it refuses them at once:
the asker keeps its workers, the one in trouble gets a pause. After a second it is *half-open*: one
question goes through as a trial and decides. (Nygard, Release It!; `pybreaker` keeps the states.)

Only a failure of the service counts. "There is no such post" is an answer.
"""

import threading
from collections.abc import Mapping
from typing import Any

from pybreaker import (
    STATE_CLOSED,
    STATE_OPEN,
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerListener,
    CircuitBreakerState,
)
from pydantic import BaseModel

from lab.domain.errors import DependencyFailed, NotAsked
from lab.domain.services import HOPS, SERVICES
from lab.service.call_counters import Tally
from lab.sync_chain.ask.http import Carrier

FAILURES = 5
OPEN_S = 1.0


class Breaker:
    """A circuit for each service that is asked. `open_s`: how long before one more is tried."""

    def __init__(
        self, inner: Carrier, tally: Tally, failures: int = FAILURES, open_s: float = OPEN_S
    ) -> None:
        self._inner = inner
        self._tally = tally
        self._circuits = {
            name: CircuitBreaker(
                failures,
                open_s,
                exclude=[lambda error: not isinstance(error, DependencyFailed)],
                listeners=[_Openings(tally)],
                name=name,
                throw_new_error_on_trip=False,
            )
            for name in (*SERVICES, *HOPS)
        }
        self._trials = {name: threading.Lock() for name in (*SERVICES, *HOPS)}

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        trial = self._trials[whom]
        is_trial = self._circuits[whom].current_state != STATE_CLOSED
        # Half-open, pybreaker would let through whoever comes until the first of them is back.
        if not is_trial or trial.acquire(blocking=False):
            try:
                # Not `call`: it holds its lock until the answer is there, and eight workers
                # that ask through one circuit would stand in a queue of one.
                with self._circuits[whom].calling():
                    return self._inner(whom, method, path, body, query)
            except CircuitBreakerError:
                pass  # not time for a trial yet
            finally:
                if is_trial:
                    trial.release()
        self._tally.add(whom, "broken")
        raise NotAsked(f"The circuit breaker for {whom} is open: it has failed too often.")


class _Openings(CircuitBreakerListener):
    """Counts how often a circuit opens."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def state_change(
        self,
        cb: CircuitBreaker,
        old_state: CircuitBreakerState | None,
        new_state: CircuitBreakerState,
    ) -> None:
        # Who was under way when it opened may fail yet, and opens it anew.
        if new_state.name == STATE_OPEN and (old_state is None or old_state.name != STATE_OPEN):
            self._tally.add(str(cb.name), "opened")
