"""Those who use somebody else's system while it is looked at: they read, post and comment.

They come whether the last of them has an answer or not, so a slow system can't make them fewer.
"""

import asyncio
from itertools import cycle, islice
from time import perf_counter
from typing import Any

from lab.cluster.caller import Answer
from lab.cluster.stack import Stack
from lab.load.samples import Sample, token

EVERY_S = 0.05
ANSWER_WITHIN_S = 2.0
_IN_TURN = (
    "read_feed",
    "create_comment",
    "read_feed",
    "create_post",
    "read_feed",
    "create_comment",
)
_ORANGE = 3
"""Every so many comments one is for moderation to reject."""


class Visitors:
    """Ask a stack as the load does, at its faces. What each was told is a sample."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._began_s = perf_counter()
        self._number = 0
        self.said = ""
        """What the latest answer that was none said of itself."""

    async def read(self, phase: str = "calm") -> Sample:
        """Read the feed."""
        return await self._ask("read_feed", phase, "GET", "query", "/feed?limit=100")

    async def post(self, phase: str = "calm") -> Sample:
        """Write a post."""
        text = self._token()
        body = {"title": f"post {text}"}
        return await self._ask("create_post", phase, "POST", "posts", "/posts", body, text)

    async def comment(self, post_id: str, phase: str = "calm") -> Sample:
        """Write a comment."""
        text = self._token()
        orange = " orange" if self._number % _ORANGE == 0 else ""
        path, body = f"/posts/{post_id}/comments", {"content": f"comment {text}{orange}"}
        return await self._ask("create_comment", phase, "POST", "comments", path, body, text)

    async def come(self, seconds: float, post_id: str, phase: str) -> list[Sample]:
        """One after the other for so long; the comments are all on one post."""
        asking = []
        for action in islice(cycle(_IN_TURN), round(seconds / EVERY_S)):
            if action == "read_feed":
                asked = self.read(phase)
            elif action == "create_post":
                asked = self.post(phase)
            else:
                asked = self.comment(post_id, phase)
            asking.append(asyncio.create_task(asked))
            await asyncio.sleep(EVERY_S)
        return list(await asyncio.gather(*asking))

    def _token(self) -> str:
        self._number += 1
        return token(0, self._number)

    async def _ask(
        self,
        endpoint: str,
        phase: str,
        method: str,
        service: str,
        path: str,
        body: Any = None,
        text: str = "",
    ) -> Sample:
        begun_s = perf_counter()
        sample = Sample(self._stack.name, phase, endpoint, begun_s - self._began_s, 0.0, token=text)
        answer = await self._stack.call(
            method, self._stack.asked_at[service], path, body, ANSWER_WITHIN_S
        )
        sample.latency_ms = (perf_counter() - begun_s) * 1_000
        sample.ok, sample.status = answer.ok, answer.status
        told = answer.data if isinstance(answer.data, dict) else {}
        if answer.ok:
            sample.id = str(told.get("id", ""))
        else:
            sample.error = answer.error or f"http_{answer.status}"
            sample.definite = answer.error == "refused" or told.get("definite") is True
            self.said = why(answer)
        return sample


def why(answer: Answer) -> str:
    """What an answer that was none says of itself, in a sentence."""
    told = answer.data if isinstance(answer.data, dict) else {}
    words = {"timeout": "no answer in time", "refused": "nobody listens", "reset": "a closed door"}
    said = told.get("detail") or words.get(answer.error, answer.error) or f"status {answer.status}"
    return str(said).rstrip(".")
