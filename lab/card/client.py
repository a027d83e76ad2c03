"""A client of somebody else's system: through the faces of its sidecars, and past them.

At a face the answer is in the lab's shape, or a sentence about why it is not. Past it is what the
service itself said, as its own clients see it.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import aiohttp

from lab.card.visitors import why
from lab.cluster.caller import Answer
from lab.cluster.topology import url
from lab.foreign.made_of import part_of
from lab.foreign.mapping import Action
from lab.foreign.stack import ForeignStack

SHOWN_WITHIN_S = 3.0
ANSWER_WITHIN_S = 3.0
MOST_BYTES = 8 * 1024 * 1024
_LOOK_EVERY_S = 0.03

Feed = list[dict[str, Any]]


class Client:
    """Never raises: no answer is an answer."""

    def __init__(self, stack: ForeignStack) -> None:
        self._stack = stack

    async def post(self, title: str) -> Answer:
        return await self._stack.call(
            "POST", self._stack.asked_at["posts"], "/posts", {"title": title}
        )

    async def comment(self, post_id: str, content: str) -> Answer:
        path = f"/posts/{post_id}/comments"
        return await self._stack.call(
            "POST", self._stack.asked_at["comments"], path, {"content": content}
        )

    async def feed_when(self, right: Callable[[Feed], bool]) -> tuple[Feed, str]:
        """Look at the feed until it is right or the time is up: the last one, and why it is not as
        it should be, "" where it is."""
        give_up_at_s = perf_counter() + SHOWN_WITHIN_S
        while True:
            answer = await self._stack.call("GET", self._stack.asked_at["query"], "/feed?limit=100")
            feed: Feed = answer.data if answer.ok else []
            if answer.ok and right(feed):
                return feed, ""
            if perf_counter() >= give_up_at_s:
                late = f"not so after {SHOWN_WITHIN_S:g} s"
                return feed, late if answer.ok else why(answer)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def ask_itself(
        self, action: Action, values: dict[str, str], body: bytes | None = None
    ) -> str:
        """What the service itself says to an action, with another body if one is given."""
        asked = action.asked(**values)
        content = asked.body if body is None else body
        status, _ = await self.at_itself(action.service, asked.method, asked.path, content)
        return status

    async def at_itself(
        self, service: str, method: str, path: str, body: bytes = b""
    ) -> tuple[str, bytes]:
        """What a service itself says: its status, or what there was instead, and the body."""
        at = url(self._stack.places[part_of(self._stack.target, service)].public)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S), trust_env=False
                ) as session,
                session.request(
                    method, at + path, data=body or None, headers=headers, allow_redirects=False
                ) as response,
            ):
                content = await response.content.read(MOST_BYTES)
                while not response.content.at_eof() and len(content) < MOST_BYTES:
                    content += await response.content.read(MOST_BYTES - len(content))
                return str(response.status), content
        except TimeoutError:
            return "no answer", b""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"no answer ({type(error).__name__})", b""


def statuses(feed: Feed, post_id: str) -> dict[str, str]:
    """The comments of a post by their ids, and what became of each."""
    return {
        one["id"]: one["status"]
        for entry in feed
        if entry["id"] == post_id
        for one in entry["comments"]
    }


def texts(feed: Feed) -> set[tuple[str, str]]:
    """All that is in it: ids with their texts."""
    posts = {(entry["id"], entry["title"]) for entry in feed}
    return posts | {(one["id"], one["content"]) for entry in feed for one in entry["comments"]}
