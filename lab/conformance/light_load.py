"""The load of a check: it reads, posts and comments from before a fault until after it.

It sends a request at fixed intervals, whether the last one was answered or not, so a slow system
does not get fewer of them. A stretch is a number of requests and not a time: a busy machine makes
it longer, and does not change what is asked.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from lab.cluster.control_client import ControlResponse
from lab.cluster.errors import NotRunning
from lab.cluster.stack import Stack
from lab.conformance.clients import describe_failure, is_created
from lab.domain.model import FORBIDDEN_WORD
from lab.load.samples import WRITES, Sample, make_token

INTERVAL_S = 1 / 36
REQUEST_TIMEOUT_S = 2.0
BETWEEN = "between"
"""The phase of requests that belong to no stretch: around the begin and the end of a fault."""

_MIXED = (
    "read_feed",
    "create_comment",
    "read_feed",
    "create_post",
    "read_feed",
    "create_comment",
)
_WRITES_ONLY = ("create_comment",)
_WITHOUT_RESPONSE = {502: "reset", 503: "refused", 504: "timeout"}
_REJECTED_EVERY = 3
"""Every third comment is one that moderation should reject."""


@dataclass(slots=True)
class CheckSample(Sample):
    """A request and its outcome. `failure`: why it failed, in words. `waited_share`: how much of
    their time the services waited for a processor in this stretch; 0 if that is not known."""

    failure: str = ""
    waited_share: float = 0.0


# ── How long services waited for a processor
#
# A service on a quiet machine gets a processor as soon as it has work. On a busy one its requests
# fail for want of a processor, and say nothing about the service.


class ProcessorTime(NamedTuple):
    """How long a thread ran, and how long it waited to run, ns."""

    ran_ns: int
    waited_ns: int


ProcessorTimes = Mapping[tuple[int, int], ProcessorTime]
"""By process id and thread id: a process's sum would shrink whenever one of its threads ends."""


def processor_times_of(stack: Stack) -> ProcessorTimes:
    """The times of all threads of the services; {} where the system does not count them."""
    pids = set[int]()
    for process in stack.arrangement.processes:
        with suppress(NotRunning):
            pids.update(stack.supervisor.descendant_pids(stack.program_name(process)))
    times = {}
    for pid in pids:
        with suppress(OSError, ValueError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                ran, waited, _ = (thread / "schedstat").read_text().split()
                times[pid, int(thread.name)] = ProcessorTime(int(ran), int(waited))
    return times


def waited_share(before: ProcessorTimes, after: ProcessorTimes) -> float:
    """Of the time in which the threads had work, the share in which they waited; 0 for none.

    It covers the processes that were there all the time, and their threads that still run.
    """
    pids = {pid for pid, _ in before}
    ran_ns = waited_ns = 0
    for thread, time in after.items():
        if thread[0] in pids:
            then = before.get(thread, ProcessorTime(0, 0))
            ran_ns += time.ran_ns - then.ran_ns
            waited_ns += time.waited_ns - then.waited_ns
    return waited_ns / (ran_ns + waited_ns) if waited_ns > 0 else 0.0


def longest_wait_s(stack: Stack) -> float:
    """For how long one thread of the services, the one that had to wait most, has waited for a
    processor; 0 where the system does not count that."""
    return max((time.waited_ns for time in processor_times_of(stack).values()), default=0) / 1e9


# ── The load


class LightLoad:
    """Sends requests to a stack's HTTP adapters, as the load does; keeps each in `samples`.

    `forbidden`: the word that moderation rejects.
    """

    def __init__(self, stack: Stack, forbidden: str = FORBIDDEN_WORD) -> None:
        self._stack, self._forbidden = stack, forbidden
        self._started_s = perf_counter()
        self._number = self._left_in_stretch = 0
        self._phase = BETWEEN
        self._actions = cycle(_MIXED)
        self._requests: dict[asyncio.Task[CheckSample], str] = {}
        self._stretch_sent = asyncio.Event()
        self.samples: list[CheckSample] = []

    @property
    def writes(self) -> list[CheckSample]:
        return [sample for sample in self.samples if sample.endpoint in WRITES]

    async def read(self, phase: str = BETWEEN) -> CheckSample:
        """Read the feed."""
        return await self._send("read_feed", phase, "GET", "query", "/feed?limit=100")

    async def post(self, phase: str = BETWEEN) -> CheckSample:
        """Write a post."""
        token = self._next_token()
        body = {"title": f"post {token}"}
        return await self._send("create_post", phase, "POST", "posts", "/posts", body, token)

    async def comment(self, post_id: str, phase: str = BETWEEN) -> CheckSample:
        """Write a comment."""
        token = self._next_token()
        rejected_word = f" {self._forbidden}" if self._number % _REJECTED_EVERY == 0 else ""
        path, body = f"/posts/{post_id}/comments", {"content": f"comment {token}{rejected_word}"}
        return await self._send("create_comment", phase, "POST", "comments", path, body, token)

    @asynccontextmanager
    async def traffic(self, post_id: str) -> AsyncIterator[None]:
        """Send requests inside the block; all comments are on one post. After the block, all are
        answered."""
        sending = asyncio.create_task(self._send_until_cancelled(post_id))
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.gather(sending, *self._requests, return_exceptions=True)

    async def stretch(self, phase: str, count: int) -> list[CheckSample]:
        """Send `count` requests of the usual mix; return them when all are answered.

        Meanwhile and afterwards the traffic goes on.
        """
        self._actions, self._phase, self._left_in_stretch = cycle(_MIXED), phase, count
        self._stretch_sent.clear()
        times = self._processor_times()
        await self._stretch_sent.wait()
        requests = [task for task, of_phase in self._requests.items() if of_phase == phase]
        await asyncio.gather(*requests)
        share = waited_share(times, self._processor_times())
        samples = [sample for sample in self.samples if sample.phase == phase]
        for sample in samples:
            sample.waited_share = share
        return samples

    async def first_post(self) -> CheckSample:
        """Write a post, and see how long the services waited for a processor meanwhile."""
        times = self._processor_times()
        sample = await self.post("before")
        sample.waited_share = waited_share(times, self._processor_times())
        return sample

    def _processor_times(self) -> ProcessorTimes:
        return processor_times_of(self._stack)

    def write_only(self) -> None:
        """From now until the next stretch, send comments only."""
        self._actions = cycle(_WRITES_ONLY)

    async def _send_until_cancelled(self, post_id: str) -> None:
        due_s = perf_counter()
        while True:
            now_s = perf_counter()
            if now_s < due_s:
                await asyncio.sleep(due_s - now_s)
            action = next(self._actions)
            if action == "read_feed":
                request = self.read(self._phase)
            elif action == "create_post":
                request = self.post(self._phase)
            else:
                request = self.comment(post_id, self._phase)
            task = asyncio.create_task(self._at(due_s, request))
            self._requests[task] = self._phase
            task.add_done_callback(lambda done: self._requests.pop(done, None))
            self._count_sent()
            due_s = max(due_s + INTERVAL_S, perf_counter() - 1.0)  # after a suspension, no burst
            await asyncio.sleep(0)

    async def _at(self, due_s: float, request: Any) -> CheckSample:
        lag_ms = (perf_counter() - due_s) * 1_000
        sample: CheckSample = await request
        sample.lag_ms = lag_ms
        return sample

    def _count_sent(self) -> None:
        if self._phase == BETWEEN:
            return
        self._left_in_stretch -= 1
        if not self._left_in_stretch:
            self._phase = BETWEEN
            self._stretch_sent.set()

    def _next_token(self) -> str:
        self._number += 1
        return make_token(0, self._number)

    async def _send(
        self,
        endpoint: str,
        phase: str,
        method: str,
        service: str,
        path: str,
        body: Any = None,
        token: str = "",
    ) -> CheckSample:
        begun_s = perf_counter()
        sample = CheckSample(
            self._stack.name, phase, endpoint, begun_s - self._started_s, 0.0, token=token
        )
        self.samples.append(sample)
        answer = await self._stack.call(
            method, self._stack.entry_urls[service], path, body, REQUEST_TIMEOUT_S
        )
        sample.latency_ms = (perf_counter() - begun_s) * 1_000
        sample.ok, sample.status = is_created(answer), answer.status
        data = answer.data if isinstance(answer.data, dict) else {}
        if sample.ok:
            sample.id = str(data.get("id", ""))
        else:
            sample.error = answer.error or _error_of(answer)
            sample.definite = answer.error == "refused" or data.get("definite") is True
            sample.failure = describe_failure(answer)
        return sample


def _error_of(answer: ControlResponse) -> str:
    """What the service did: an HTTP adapter also reports a missing response by a status."""
    data = answer.data if isinstance(answer.data, dict) else {}
    without_response = {} if data.get("answered") else _WITHOUT_RESPONSE
    return without_response.get(answer.status, f"http_{answer.status}")
