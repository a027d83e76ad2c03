"""Circuit breaker: after five failures in a row, a service gets no requests for one second.

*Closed*: each request passes, and failures are counted. *Open*: each request is refused at once,
so the caller keeps its workers and the callee gets a pause. After one second, *half-open*: one
trial request passes, and its outcome closes or reopens the circuit. (Nygard, Release It!;
`pybreaker` keeps the states.)

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
from lab.service.counters import CallCounters
from lab.sync_chain.ask.http import Transport

FAILURES = 5
OPEN_S = 1.0


class Breaker:
    """One circuit for each callee. Raises NotAsked when it is open.

    `failures`: how many in a row open the circuit; `open_s`: seconds until the trial request.
    """

    def __init__(
        self,
        inner: Transport,
        tally: CallCounters,
        failures: int = FAILURES,
        open_s: float = OPEN_S,
    ) -> None:
        self._inner = inner
        self._tally = tally
        self._circuits = {
            name: CircuitBreaker(
                failures,
                open_s,
                exclude=[lambda error: not isinstance(error, DependencyFailed)],
                listeners=[_OpeningCounter(tally)],
                name=name,
                throw_new_error_on_trip=False,
            )
            for name in (*SERVICES, *HOPS)
        }
        self._trials = {name: threading.Lock() for name in (*SERVICES, *HOPS)}

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        trial = self._trials[callee]
        is_trial = self._circuits[callee].current_state != STATE_CLOSED
        # In half-open state, pybreaker admits every request until the first one has returned.
        if not is_trial or trial.acquire(blocking=False):
            try:
                # Not `call`: it holds its lock until the answer arrives, so the workers would
                # make their requests one after the other.
                with self._circuits[callee].calling():
                    return self._inner(callee, method, path, body, query)
            except CircuitBreakerError:
                pass  # not time for a trial yet
            finally:
                if is_trial:
                    trial.release()
        self._tally.add(callee, "broken")
        raise NotAsked(f"The circuit breaker for {callee} is open: it has failed too often.")


class _OpeningCounter(CircuitBreakerListener):
    """Counts how often a circuit opens, and notes its state."""

    def __init__(self, tally: CallCounters) -> None:
        self._tally = tally

    def state_change(
        self,
        cb: CircuitBreaker,
        old_state: CircuitBreakerState | None,
        new_state: CircuitBreakerState,
    ) -> None:
        self._tally.breakers[str(cb.name)] = new_state.name
        # A request in progress at the opening may fail later and open it again: not counted.
        if new_state.name == STATE_OPEN and (old_state is None or old_state.name != STATE_OPEN):
            self._tally.add(str(cb.name), "opened")
