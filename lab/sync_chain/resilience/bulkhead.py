"""Bulkhead: at most so many questions to one service at once, so that it can't sink the whole ship.

A worker that waits for a slow service is a worker less for everybody else; with all of them
waiting, also those are turned away who need nothing from the slow one. So each dependency gets
a share of the workers and no more. This is the *semaphore* form (Hystrix, resilience4j): the
question is asked by the worker that has it, and when all places are taken it is refused at once.
(The other form gives each dependency a pool of threads of its own, where questions queue up.)
"""

import threading
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import NotAsked
from lab.domain.services import HOPS, SERVICES
from lab.service.call_counters import Tally
from lab.sync_chain.ask.http import Carrier


class Bulkhead:
    """`places`: how many questions to each service may be under way at once."""

    def __init__(self, inner: Carrier, tally: Tally, places: int) -> None:
        self._inner = inner
        self._tally = tally
        self._places = {name: threading.BoundedSemaphore(places) for name in (*SERVICES, *HOPS)}

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        places = self._places[whom]
        if not places.acquire(blocking=False):
            self._tally.add(whom, "bulkhead_refused")
            raise NotAsked(f"The bulkhead for {whom} is full: too many wait for it already.")
        try:
            return self._inner(whom, method, path, body, query)
        finally:
            places.release()
