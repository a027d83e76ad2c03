"""The blog as its readers see it now: asked of the services as any reader would ask.

Two hundred lookers-on must not become the load that they watch: who asks within half a second of
another one gets the same answer.
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
    """A page of the feed that somebody asked for, or asks for just now."""

    asked_s: float
    answer: "asyncio.Task[dict[str, Any]]"


class Blog:
    """The blogs of both halves."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pages: dict[tuple[int, str, str], Page] = {}

    async def feed(self, half: str, newest: str = "") -> dict[str, Any]:
        """The newest posts with their comments, from the post `newest` on where one is named; or
        the error page; or that there is no answer."""
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
    if newest:  # ids are in the order of time, and `~` comes behind all that they are made of
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
        # A reset in between closes the stack, and what is asked of it is then forgotten.
        async with asyncio.timeout(within_s + 1):
            return await stack.call(method, stack.urls[service], path, body, within_s)
    except TimeoutError:
        return Answer(0, "timeout", None)


def _told(answer: Answer) -> dict[str, Any]:
    """The answer of a service as its reader gets it."""
    if answer.error:
        return {"status": 0, "error": answer.error}
    name = "body" if answer.ok else "problem"
    return {"status": answer.status, name: answer.data}
