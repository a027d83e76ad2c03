"""The testbed of a check: a running stack in which one program is the student's.

An exercise with several submissions has a stack and a testbed for each. No answer of the student's
program is trusted: it may be missing, malformed or endless.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError

from lab.cluster.errors import LabCannotRun
from lab.cluster.injector import Injection, fault_active
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.domain.events import Envelope, Event
from lab.domain.model import Comment, FeedEntry, Post
from lab.domain.services import BUS
from lab.exercises.exercise import CriterionResult, GradedCriterion

MAX_ANSWER_BYTES = 4 * 1024 * 1024
KNOWN_WITHIN_S = 3.0
POLL_S = 0.03
SEED = 7
SOURCE = "/exercise"

_FEED = TypeAdapter(list[FeedEntry])
_FEED_PATH = "/feed?limit=100"


@dataclass(frozen=True)
class ObservedResponse:
    """An answer. `status` is 0 if there was none; `problem` then says what happened."""

    status: int
    body: bytes
    took_ms: float
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.problem or self.status} after {self.took_ms:.0f} ms"

    @property
    def data(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def feed(self) -> list[FeedEntry] | None:
        """The body as a feed; None if it is not one."""
        if self.status != 200:
            return None
        try:
            return _FEED.validate_json(self.body)
        except ValidationError:
            return None

    def summary(self) -> str:
        """A summary of the answer in a few words."""
        entries = self.feed()
        if entries is None:
            return f"{self}, with no feed" if self.status == 200 else str(self)
        comments = [comment for entry in entries for comment in entry.comments]
        return f"a feed with {len(entries)} posts and {len(comments)} comments"


class ResultRecorder:
    """The outcome of each criterion so far."""

    def __init__(self, criteria: Sequence[GradedCriterion]) -> None:
        self._criteria = {criterion.key: criterion for criterion in criteria}
        self._results: dict[str, CriterionResult] = {}

    def record(self, key: str, passed: bool, observed: object) -> bool:
        """Record the outcome of a criterion; returns `passed`."""
        self._results[key] = CriterionResult(self._criteria[key], passed, str(observed))
        return passed

    def results(self) -> tuple[CriterionResult, ...]:
        """All criteria, including those that were never tested."""
        not_tested = "not looked at, for what comes before it failed"
        return tuple(
            self._results.get(key, CriterionResult(criterion, False, not_tested, tested=False))
            for key, criterion in self._criteria.items()
        )


class ExerciseTestbed:
    """Acts as a client, injects faults, and records outcomes. `student`: the student's program."""

    def __init__(
        self,
        stack: Stack,
        student: Program,
        session: aiohttp.ClientSession,
        recorder: ResultRecorder,
        ready_within_s: float,
    ) -> None:
        self.stack = stack
        self.student = student
        self.record = recorder.record
        self._session = session
        self._ready_within_s = ready_within_s

    def is_guest(self, program: Program) -> bool:
        """Whether the program is the student's and runs as a guest."""
        guests = map(self.stack.program_name, self.stack.arrangement.guests)
        return program is self.student and program.name in guests

    async def start_student(self) -> None:
        """Start the student's program and wait until it is ready. Raises StartFailed, NotReady."""
        await self.stack.supervisor.start(self.student, ready_within_s=self._ready_within_s)

    async def ask(
        self, method: str, target: str, path: str, body: Any = None, within_s: float = 3.0
    ) -> ObservedResponse:
        """Send one request as a client. Never raises: without an answer the status is 0."""
        began_s = perf_counter()

        def response_of(status: int, content: bytes, problem: str = "") -> ObservedResponse:
            return ObservedResponse(status, content, (perf_counter() - began_s) * 1_000, problem)

        try:
            async with self._session.request(
                method,
                self.stack.urls[target] + path,
                json=body,
                timeout=aiohttp.ClientTimeout(total=within_s),
            ) as response:
                content = await response.content.read(MAX_ANSWER_BYTES)
                while not response.content.at_eof() and len(content) < MAX_ANSWER_BYTES:
                    content += await response.content.read(MAX_ANSWER_BYTES - len(content))
                return response_of(response.status, content)
        except TimeoutError:
            return response_of(0, b"", "no answer")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return response_of(0, b"", f"no answer ({type(error).__name__})")

    async def feed(self, within_s: float = 3.0) -> ObservedResponse:
        return await self.ask("GET", "query", _FEED_PATH, within_s=within_s)

    async def ask_until(
        self,
        method: str,
        target: str,
        path: str,
        accept: Callable[[ObservedResponse], bool],
        body: Any = None,
        *,
        within_s: float = KNOWN_WITHIN_S,
        every_s: float = POLL_S,
    ) -> tuple[bool, ObservedResponse]:
        """Repeat a request until the answer is right or the time is up; (is right, last answer)."""
        give_up_at_s = perf_counter() + within_s
        while True:
            left_s = max(0.1, give_up_at_s - perf_counter())
            answer = await self.ask(method, target, path, body, left_s)
            if accept(answer) or perf_counter() >= give_up_at_s:
                return accept(answer), answer
            await asyncio.sleep(every_s)

    async def feed_until(
        self, accept: Callable[[list[FeedEntry]], bool], within_s: float = KNOWN_WITHIN_S
    ) -> tuple[bool, ObservedResponse]:
        """Read the feed until it is right or the time is up; (is it right, last answer)."""

        def accept_response(response: ObservedResponse) -> bool:
            entries = response.feed()
            return entries is not None and accept(entries)

        return await self.ask_until("GET", "query", _FEED_PATH, accept_response, within_s=within_s)

    async def feeds(self, count: int, every_s: float, within_s: float) -> list[ObservedResponse]:
        """Read the feed `count` times, every `every_s` seconds, without waiting for the answers."""
        tasks = []
        for _ in range(count):
            tasks.append(asyncio.create_task(self.feed(within_s)))
            await asyncio.sleep(every_s)
        return list(await asyncio.gather(*tasks))

    async def post(self, title: str) -> str:
        """Write a post; its id. Raises LabCannotRun: use it only if `posts` is the lab's."""
        answer = await self.ask("POST", "posts", "/posts", {"title": title})
        if answer.status != 201:
            raise LabCannotRun(f"posts would not take a post: {answer}.")
        return Post.model_validate_json(answer.body).id

    async def comment(self, post_id: str, content: str) -> str:
        """Write a comment once `comments` knows the post; its id, "" if it is never accepted."""
        path = f"/posts/{post_id}/comments"
        accepted, answer = await self.ask_until(
            "POST", "comments", path, _is_created, {"content": content}
        )
        return Comment.model_validate_json(answer.body).id if accepted else ""

    async def publish(self, *events: Event) -> None:
        """Publish events directly on the bus, as no service has done. Raises LabCannotRun."""
        envelopes = [Envelope.around(event, source=SOURCE).model_dump() for event in events]
        answer = await self.stack.call("POST", self.stack.urls[BUS], "/events", envelopes)
        if not answer.ok:
            raise LabCannotRun(f"The bus would not take events: {answer.error or answer.data}.")

    def fault_active(
        self, kind: str, target: str, **options: Any
    ) -> AbstractAsyncContextManager[Injection]:
        """A fault that is active inside the block; after it the injection has its evidence."""
        return fault_active(self.stack, kind, target, SEED, **options)


def _is_created(answer: ObservedResponse) -> bool:
    return answer.status == 201


def median_and_max(responses: Sequence[ObservedResponse]) -> str:
    """Median and maximum of the latencies, in words."""
    took = sorted(response.took_ms for response in responses)
    return f"half within {took[len(took) // 2]:.0f} ms, the slowest {took[-1]:.0f} ms"
