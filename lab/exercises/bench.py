"""What a check works with: a running stack, one of whose programs is the student's.

Whatever comes from that program is taken for what it may be: nothing, nonsense, or without an end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError

from lab.cluster.caller import ANSWER_WITHIN_S, Answer, Caller
from lab.cluster.errors import LabCannotRun
from lab.cluster.injector import Injection, broken
from lab.cluster.stack import Stack
from lab.domain.model import Comment, FeedEntry, Post
from lab.exercises.exercise import Exercise, Step

LARGEST_ANSWER = 4 * 1024 * 1024
KNOWN_WITHIN_S = 3.0
LOOK_EVERY_S = 0.03
SEED = 7

_FEED = TypeAdapter(list[FeedEntry])


@dataclass(frozen=True)
class Seen:
    """An answer. `status` is 0 when there was none, and `words` say what there was instead."""

    status: int
    body: bytes
    took_ms: float
    words: str = ""

    def __str__(self) -> str:
        return f"{self.words or self.status} after {self.took_ms:.0f} ms"

    def feed(self) -> list[FeedEntry] | None:
        """The feed that it is; None when it is something else."""
        if self.status != 200:
            return None
        try:
            return _FEED.validate_json(self.body)
        except ValidationError:
            return None

    def shown(self) -> str:
        """What there is to see in it, in a few words."""
        entries = self.feed()
        if entries is None:
            return f"{self}, with no feed" if self.status == 200 else str(self)
        comments = [comment for entry in entries for comment in entry.comments]
        return f"a feed with {len(entries)} posts and {len(comments)} comments"


class TwoKeys(Caller):
    """The lab's own requests: the student's program has a token that opens no other door."""

    def __init__(self, token: str, student: str, token_there: str) -> None:
        super().__init__(token)
        self._student, self._there = student, Caller(token_there)

    async def __call__(
        self, method: str, url: str, path: str, body: Any = None, within_s: float = ANSWER_WITHIN_S
    ) -> Answer:
        if url == self._student:
            return await self._there(method, url, path, body, within_s)
        return await super().__call__(method, url, path, body, within_s)

    def close(self) -> None:
        self._there.close()
        super().close()


class Bench:
    """Acts as a client, breaks things, and notes what was seen."""

    def __init__(self, exercise: Exercise, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.exercise = exercise
        self.stack = stack
        self.steps: dict[str, Step] = {}
        self._criteria = {one.key: one for one in exercise.criteria}
        self._session = session

    def note(self, key: str, passed: bool, seen: object) -> bool:
        """Note what was seen of a criterion; whether it is as wanted."""
        self.steps[key] = Step(self._criteria[key], passed, str(seen))
        return passed

    async def ask(
        self, method: str, target: str, path: str, body: Any = None, within_s: float = 3.0
    ) -> Seen:
        """One request of a client. Never raises: no answer is an answer."""
        began_s = perf_counter()

        def seen(status: int, content: bytes, words: str = "") -> Seen:
            return Seen(status, content, (perf_counter() - began_s) * 1_000, words)

        try:
            async with self._session.request(
                method,
                self.stack.urls[target] + path,
                json=body,
                timeout=aiohttp.ClientTimeout(total=within_s),
            ) as response:
                content = await response.content.read(LARGEST_ANSWER)
                while not response.content.at_eof() and len(content) < LARGEST_ANSWER:
                    content += await response.content.read(LARGEST_ANSWER - len(content))
                return seen(response.status, content)
        except TimeoutError:
            return seen(0, b"", "no answer")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return seen(0, b"", f"no answer ({type(error).__name__})")

    async def feed(self, within_s: float = 3.0) -> Seen:
        return await self.ask("GET", "query", "/feed?limit=100", within_s=within_s)

    async def feed_when(
        self, right: Callable[[list[FeedEntry]], bool], within_s: float = KNOWN_WITHIN_S
    ) -> tuple[bool, Seen]:
        """Look at the feed until it is right, or the time is up; whether it is, and the last."""
        give_up_at_s = perf_counter() + within_s
        while True:
            look = await self.feed(max(0.1, give_up_at_s - perf_counter()))
            entries = look.feed()
            if entries is not None and right(entries):
                return True, look
            if perf_counter() >= give_up_at_s:
                return False, look
            await asyncio.sleep(LOOK_EVERY_S)

    async def feeds(self, count: int, every_s: float, within_s: float) -> list[Seen]:
        """So many readers, one every so many seconds, whether the last has an answer or not."""
        readers = []
        for _ in range(count):
            readers.append(asyncio.create_task(self.feed(within_s)))
            await asyncio.sleep(every_s)
        return list(await asyncio.gather(*readers))

    async def post(self, title: str) -> str:
        """Write a post; its id. Only where posts is not the student's: raises LabCannotRun."""
        answer = await self.ask("POST", "posts", "/posts", {"title": title})
        if answer.status != 201:
            raise LabCannotRun(f"posts would not take a post: {answer}.")
        return Post.model_validate_json(answer.body).id

    async def comment(self, post_id: str, content: str) -> str:
        """Write a comment as soon as the post is known there; its id, "" when it never was."""
        give_up_at_s = perf_counter() + KNOWN_WITHIN_S
        while True:
            path = f"/posts/{post_id}/comments"
            answer = await self.ask("POST", "comments", path, {"content": content})
            if answer.status == 201:
                return Comment.model_validate_json(answer.body).id
            if perf_counter() >= give_up_at_s:
                return ""
            await asyncio.sleep(LOOK_EVERY_S)

    def broken(
        self, kind: str, target: str, **options: Any
    ) -> AbstractAsyncContextManager[Injection]:
        """A fault that acts inside the block; behind it the injection has its evidence."""
        return broken(self.stack, kind, target, SEED, **options)


def median_and_max(looks: Sequence[Seen]) -> str:
    """How long answers took, in words."""
    took = sorted(look.took_ms for look in looks)
    return f"half within {took[len(took) // 2]:.0f} ms, the slowest {took[-1]:.0f} ms"


Check = Callable[[Bench], Awaitable[None]]
