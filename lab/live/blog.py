"""The blog as its readers see it now, requested from the services over their public API.

Two hundred spectators must not become load themselves: requests for the same page within half a
second share one response.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import quote

from lab.cluster.control_client import Answer
from lab.cluster.stack import Stack
from lab.domain.errors import Invalid
from lab.live.session import Session

READER_PATIENCE_S = 1.0
WRITER_PATIENCE_S = 5.0
FRESH_S = 0.5
SHOWN = 10


@dataclass
class Page:
    """A requested page of the feed: the task gives the response, perhaps not yet."""

    asked_s: float
    answer: "asyncio.Task[dict[str, Any]]"


class Blog:
    """The blogs of both panes. Every method raises Conflict while the stacks are starting, and
    Invalid for an unknown pane."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pages: dict[tuple[int, str, str], Page] = {}

    async def feed(self, half: str, newest: str = "") -> dict[str, Any]:
        """The newest posts with their comments; with `newest`, that post and older ones.

        Returns `status` and `feed`; or `status` and `problem`; or status 0 and `error` if there was
        no response."""
        stack = self._stack(half)
        key, now_s = (self._session.show.epoch, half, newest), perf_counter()
        self._pages = {k: p for k, p in self._pages.items() if now_s - p.asked_s < FRESH_S}
        page = self._pages.get(key)
        if page is None:
            page = self._pages[key] = Page(now_s, asyncio.create_task(_feed(stack, newest)))
        return await asyncio.shield(page.answer)

    async def post(self, half: str, title: str) -> dict[str, Any]:
        stack = self._stack(half)
        body = {"title": title}
        return _told(await _asked(stack, "POST", "posts", "/posts", body))

    async def comment(self, half: str, post_id: str, content: str) -> dict[str, Any]:
        stack = self._stack(half)
        path, body = f"/posts/{quote(post_id, safe='')}/comments", {"content": content}
        return _told(await _asked(stack, "POST", "comments", path, body))

    def _stack(self, half: str) -> Stack:
        self._session.require_up()
        stacks = self._session.stacks
        if half not in stacks:
            raise Invalid(f"There is no half {half!r}. Known: {', '.join(stacks)}.", field="half")
        return stacks[half]


async def _feed(stack: Stack, newest: str) -> dict[str, Any]:
    path = f"/feed?limit={SHOWN}"
    if newest:  # ids sort by time, and `~` sorts after all characters of an id
        path += f"&before={quote(newest, safe='')}~"
    answer = await _asked(stack, "GET", "query", path)
    if answer.status == 200:
        return {"status": 200, "feed": answer.data}
    return _told(answer)


async def _asked(
    stack: Stack, method: str, service: str, path: str, body: dict[str, str] | None = None
) -> Answer:
    within_s = READER_PATIENCE_S if body is None else WRITER_PATIENCE_S
    try:
        # A reset closes the stack, and a call in progress may then never return.
        async with asyncio.timeout(within_s + 1):
            return await stack.call(method, stack.urls[service], path, body, within_s)
    except TimeoutError:
        return Answer(0, "timeout", None)


def _told(answer: Answer) -> dict[str, Any]:
    """The response of a service as the page gets it: status with body, problem or error."""
    if answer.error:
        return {"status": 0, "error": answer.error}
    name = "body" if answer.ok else "problem"
    return {"status": answer.status, name: answer.data}
