"""Fan-out: one question asked as many, side by side, and answered when the last answer is there.

So a search asks all its shards. The posts that a feed shows are shared out, each share is a
question of its own, and shares without a post are asked too, as a shard is that has nothing to
say. All shares ask the same process here: what is slow by chance is so for each question anew,
whoever answers it. (Dean and Barroso 2013, "The Tail at Scale".)
"""

import contextvars
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel

from lab.sync_chain.ask.http import Carrier


class SideBySide:
    """`width`: how many questions one about many posts becomes; `workers`: how many such questions
    there may be at once."""

    def __init__(self, inner: Carrier, width: int, workers: int) -> None:
        self._inner = inner
        self._width = width
        self._threads = ThreadPoolExecutor(width * workers, thread_name_prefix="side-by-side")

    def __call__(
        self, whom: str, method: str, path: str, body: BaseModel | None, query: Mapping[str, Any]
    ) -> Any:
        if "post_ids" not in query:
            return self._inner(whom, method, path, body, query)
        ids = query["post_ids"].split(",")
        shares = [
            {**query, "post_ids": ",".join(ids[n :: self._width])} for n in range(self._width)
        ]
        answers = [
            self._threads.submit(
                contextvars.copy_context().run, self._inner, whom, method, path, body, share
            )
            for share in shares
        ]
        return [row for answer in answers for row in answer.result()]
