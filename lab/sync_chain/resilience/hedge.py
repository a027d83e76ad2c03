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
from lab.service.call_counters import Tally
from lab.sync_chain.ask.http import Carrier

MOST_THREADS = 256
"""Far more than there are workers, because losing requests occupy threads too."""


class Hedge:
    """`after_s`: seconds to wait for the first answer before the second request is sent."""

    def __init__(self, inner: Carrier, tally: Tally, after_s: float) -> None:
        self._inner = inner
        self._tally = tally
        self._after_s = after_s
        self._threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="hedge")

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        if method != "GET":
            return self._inner(whom, method, path, body, query)
        first = self._send(whom, method, path, body, query)
        try:
            return first.result(self._after_s)
        except TimeoutError:
            self._tally.add(whom, "hedged")
        second = self._send(whom, method, path, body, query)
        for one in as_completed((first, second)):
            if not isinstance(one.exception(), DependencyFailed):
                if one is second:
                    self._tally.add(whom, "hedge_won")
                return one.result()
        return first.result()

    def _send(self, *question: Any) -> Future[Any]:
        in_this_story = contextvars.copy_context().run
        return self._threads.submit(in_this_story, self._inner, *question)
