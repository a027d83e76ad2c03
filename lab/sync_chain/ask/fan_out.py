"""Fan-out: splits one request into several that run in parallel, and waits for the slowest.

A search engine queries its shards in this way. The posts of a feed are dealt out to shares, and
each share becomes one request. A share without posts is requested too, as a shard without matches
is queried too. All shares go to the same process here, which shows the effect as well: each
request draws its random delay anew. Source: Dean and Barroso 2013, "The Tail at Scale".
"""

import contextvars
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel

from lab.service import http
from lab.sync_chain.ask.http import Transport


class FanOut:
    """Splits each request that has `post_ids`. `width`: number of requests it becomes; `workers`:
    how many such requests can be split at the same time."""

    def __init__(self, inner: Transport, width: int, workers: int) -> None:
        self._inner = inner
        self._width = width
        self._threads = ThreadPoolExecutor(width * workers, thread_name_prefix="side-by-side")

    def __call__(
        self, callee: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        if "post_ids" not in query:
            return self._inner(callee, method, path, body, query)
        ids = query["post_ids"].split(",")
        shares = [
            {**query, "post_ids": ",".join(ids[n :: self._width])} for n in range(self._width)
        ]
        contexts = [contextvars.copy_context() for _ in shares]
        answers = [
            self._threads.submit(context.run, self._inner, callee, method, path, body, share)
            for context, share in zip(contexts, shares, strict=True)
        ]
        rows = [row for answer in answers for row in answer.result()]
        # A fallback marks the response in the context of its share; the whole lacks that share.
        for context in contexts:
            if missing := context.run(http.degraded_by):
                http.mark_degraded(missing)
        return rows
