"""Bulkhead: limits how many requests to one service may be in progress at once.

A worker that waits for a slow service can't serve other requests. When all workers wait, the
service also rejects requests that do not need the slow service. So each dependency gets a share of
the workers and no more. This is the *semaphore* form (Hystrix, resilience4j): the worker itself
makes the request, and when all places are taken the request is refused at once. (The other form
gives each dependency a separate thread pool, where requests queue up.)
"""

import threading
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import NotAsked
from lab.domain.services import HOPS, SERVICES
from lab.service.counters import CallCounters
from lab.sync_chain.ask.http import Transport


class Bulkhead:
    """`places`: most requests in progress to each service. Raises NotAsked when all are taken."""

    def __init__(self, inner: Transport, tally: CallCounters, permits: int) -> None:
        self._inner = inner
        self._tally = tally
        self._permits = {name: threading.BoundedSemaphore(permits) for name in (*SERVICES, *HOPS)}

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        permits = self._permits[callee]
        if not permits.acquire(blocking=False):
            self._tally.add(callee, "bulkhead_refused")
            raise NotAsked(f"The bulkhead for {callee} is full: too many wait for it already.")
        try:
            return self._inner(callee, method, path, body, query)
        finally:
            permits.release()
