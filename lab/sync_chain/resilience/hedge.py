"""Hedge: sends a second request when the first one is slow; the first answer wins.

If one answer in a hundred is slow, one reader in a hundred waits; of the pages that need a hundred
answers, most are slow. A second request, sent only when the first takes longer than nearly all
requests do, adds a few per cent of load and cuts off that tail (Dean and Barroso 2013, "The Tail
at Scale"). Only GET is hedged, because repeating it changes nothing.

The losing request is not cancelled: it occupies a worker of the callee until it ends.
"""

import contextvars
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from pydantic import BaseModel

from lab.domain.errors import DependencyFailed
from lab.service.counters import CallCounters
from lab.sync_chain.ask.http import Transport

MAX_THREADS = 256
"""Far more than there are workers, because losing requests occupy threads too."""


class Hedge:
    """`after_s`: seconds to wait for the first answer before the second request is sent."""

    def __init__(self, inner: Transport, tally: CallCounters, after_s: float) -> None:
        self._inner = inner
        self._tally = tally
        self._after_s = after_s
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="hedge")

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        if method != "GET":
            return self._inner(callee, method, path, body, query)
        first = self._send(callee, method, path, body, query)
        try:
            return first.result(self._after_s)
        except TimeoutError:
            self._tally.add(callee, "hedged")
        second = self._send(callee, method, path, body, query)
        for answer in as_completed((first, second)):
            if not isinstance(answer.exception(), DependencyFailed):
                if answer is second:
                    self._tally.add(callee, "hedge_won")
                return answer.result()
        return first.result()

    def _send(self, *request: Any) -> Future[Any]:
        run_in_context = contextvars.copy_context().run
        return self._threads.submit(run_in_context, self._inner, *request)
