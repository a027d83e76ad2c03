"""Hedge: when an answer is long in coming, ask a second time, and take whichever comes first.

One slow server in a hundred makes one reader in a hundred wait; where a page needs a hundred
answers, it makes nearly all of them wait. A second question, sent only when the first takes longer
than nearly all do, costs a few per cent more load and cuts off that tail (Dean and Barroso 2013,
"The Tail at Scale"). Only for GET: whatever may be asked twice changes nothing.

The one that lost is not called back; it goes on and holds a worker over there to its end.
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
"""Far more than there are workers, for those that lost sit in them as well."""


class Hedge:
    """`after_s`: how long the first question has alone."""

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
