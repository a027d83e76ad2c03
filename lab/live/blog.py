"""The blog as its readers see it now, requested from the services over their public API.

Two hundred spectators must not become load themselves: requests for the same page within half a
second share one response.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import quote

from lab.cluster.control_client import ControlResponse
from lab.cluster.stack import Stack
from lab.domain.errors import Invalid
from lab.live.session import Session

READER_PATIENCE_S = 1.0
WRITER_PATIENCE_S = 5.0
CACHE_S = 0.5
FEED_LIMIT = 10


@dataclass
class CachedFeed:
    """A requested page of the feed: the task gives the response, perhaps not yet."""

    requested_s: float
    response: "asyncio.Task[dict[str, Any]]"


class BlogClient:
    """The blogs of both panes. Every method raises Conflict while the stacks are starting, and
    Invalid for an unknown pane."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._feeds: dict[tuple[int, str, str, tuple[float, ...]], CachedFeed] = {}

    async def feed(self, pane: str, newest: str = "") -> dict[str, Any]:
        """The newest posts with their comments; with `newest`, that post and older ones.

        Returns `status` and `feed`; or `status` and `problem`; or status 0 and `error` if there was
        no response."""
        stack = self._find_stack(pane)
        broadcast, now_s = self._session.broadcast, perf_counter()
        # A response from before a fault or a heal says nothing about now.
        changes = tuple(fault["since_t"] for fault in broadcast.current_state["faults"])
        key = (broadcast.epoch, pane, newest, changes)
        self._feeds = {k: p for k, p in self._feeds.items() if now_s - p.requested_s < CACHE_S}
        cached = self._feeds.get(key)
        if cached is None:
            cached = self._feeds[key] = CachedFeed(
                now_s, asyncio.create_task(_request_feed(stack, newest))
            )
        return await asyncio.shield(cached.response)

    async def post(self, pane: str, title: str) -> dict[str, Any]:
        stack = self._find_stack(pane)
        body = {"title": title}
        return _to_json(await _call_service(stack, "POST", "posts", "/posts", body))

    async def comment(self, pane: str, post_id: str, content: str) -> dict[str, Any]:
        stack = self._find_stack(pane)
        path, body = f"/posts/{quote(post_id, safe='')}/comments", {"content": content}
        return _to_json(await _call_service(stack, "POST", "comments", path, body))

    def _find_stack(self, pane: str) -> Stack:
        self._session.require_up()
        stacks = self._session.stacks
        if pane not in stacks:
            raise Invalid(f"There is no half {pane!r}. Known: {', '.join(stacks)}.", field="half")
        return stacks[pane]


async def _request_feed(stack: Stack, newest: str) -> dict[str, Any]:
    path = f"/feed?limit={FEED_LIMIT}"
    if newest:  # ids sort by time, and `~` sorts after all characters of an id
        path += f"&before={quote(newest, safe='')}~"
    response = await _call_service(stack, "GET", "query", path)
    if response.status == 200:
        return {"status": 200, "feed": response.data}
    return _to_json(response)


async def _call_service(
    stack: Stack, method: str, service: str, path: str, body: dict[str, str] | None = None
) -> ControlResponse:
    within_s = READER_PATIENCE_S if body is None else WRITER_PATIENCE_S
    try:
        # A reset closes the stack, and a call in progress may then never return.
        async with asyncio.timeout(within_s + 1):
            return await stack.call(method, stack.urls[service], path, body, within_s)
    except TimeoutError:
        return ControlResponse(0, "timeout", None)


def _to_json(response: ControlResponse) -> dict[str, Any]:
    """The response of a service as the page gets it: status with body, problem or error."""
    if response.error:
        return {"status": 0, "error": response.error}
    name = "body" if response.ok else "problem"
    return {"status": response.status, name: response.data}
