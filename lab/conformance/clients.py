"""Clients of an external system: through the HTTP adapters of its sidecars, and directly.

Through an adapter the response has the lab's format, or says why it has not. A direct call returns
what the service itself responds, as its own clients see it.

`LightLoad` reads, posts and comments during a check. It sends a request at fixed intervals, whether
the last one was answered or not, so a slow system does not get fewer of them.
"""

import asyncio
from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import aiohttp

from lab.cluster.arrangements import url
from lab.cluster.control_client import ControlResponse
from lab.cluster.stack import Stack
from lab.external.arrangement import lab_name
from lab.external.mapping import ActionMapping
from lab.external.stack import ExternalStack
from lab.load.samples import Sample, make_token

# ── Light load

INTERVAL_S = 0.05
REQUEST_TIMEOUT_S = 2.0
_ACTION_CYCLE = (
    "read_feed",
    "create_comment",
    "read_feed",
    "create_post",
    "read_feed",
    "create_comment",
)
_REJECTED_EVERY = 3
"""Every third comment is one that moderation should reject."""


class LightLoad:
    """Sends requests to a stack's HTTP adapters, as the load does. Each one gives a `Sample`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._started_s = perf_counter()
        self._number = 0
        self.last_failure = ""
        """Why the latest failed request failed, in words."""

    async def read(self, phase: str = "calm") -> Sample:
        """Read the feed."""
        return await self._send("read_feed", phase, "GET", "query", "/feed?limit=100")

    async def post(self, phase: str = "calm") -> Sample:
        """Write a post."""
        text = self._next_token()
        body = {"title": f"post {text}"}
        return await self._send("create_post", phase, "POST", "posts", "/posts", body, text)

    async def comment(self, post_id: str, phase: str = "calm") -> Sample:
        """Write a comment."""
        text = self._next_token()
        rejected_word = " orange" if self._number % _REJECTED_EVERY == 0 else ""
        path, body = f"/posts/{post_id}/comments", {"content": f"comment {text}{rejected_word}"}
        return await self._send("create_comment", phase, "POST", "comments", path, body, text)

    async def run(self, seconds: float, post_id: str, phase: str) -> list[Sample]:
        """Send a request every INTERVAL_S for `seconds`; all comments are on one post."""
        tasks = []
        for action in islice(cycle(_ACTION_CYCLE), round(seconds / INTERVAL_S)):
            if action == "read_feed":
                request = self.read(phase)
            elif action == "create_post":
                request = self.post(phase)
            else:
                request = self.comment(post_id, phase)
            tasks.append(asyncio.create_task(request))
            await asyncio.sleep(INTERVAL_S)
        return list(await asyncio.gather(*tasks))

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
        text: str = "",
    ) -> Sample:
        begun_s = perf_counter()
        sample = Sample(
            self._stack.name, phase, endpoint, begun_s - self._started_s, 0.0, token=text
        )
        answer = await self._stack.call(
            method, self._stack.entry_urls[service], path, body, REQUEST_TIMEOUT_S
        )
        sample.latency_ms = (perf_counter() - begun_s) * 1_000
        sample.ok, sample.status = answer.ok, answer.status
        data = answer.data if isinstance(answer.data, dict) else {}
        if answer.ok:
            sample.id = str(data.get("id", ""))
        else:
            sample.error = answer.error or f"http_{answer.status}"
            sample.definite = answer.error == "refused" or data.get("definite") is True
            self.last_failure = describe_failure(answer)
        return sample


def describe_failure(answer: ControlResponse) -> str:
    """Why a request failed, in words."""
    data = answer.data if isinstance(answer.data, dict) else {}
    phrases = {
        "timeout": "no answer in time",
        "refused": "nothing listens on its port",
        "reset": "the connection was closed",
    }
    detail = (
        data.get("detail") or phrases.get(answer.error, answer.error) or f"status {answer.status}"
    )
    return str(detail).rstrip(".")


# ── Single requests

SHOWN_WITHIN_S = 3.0
ANSWER_WITHIN_S = 3.0
MAX_BYTES = 8 * 1024 * 1024
_POLL_S = 0.03

Feed = list[dict[str, Any]]


class SystemClient:
    """Never raises: the result reports a failure."""

    def __init__(self, stack: ExternalStack) -> None:
        self._stack = stack

    async def post(self, title: str) -> ControlResponse:
        return await self._stack.call(
            "POST", self._stack.entry_urls["posts"], "/posts", {"title": title}
        )

    async def comment(self, post_id: str, content: str) -> ControlResponse:
        path = f"/posts/{post_id}/comments"
        return await self._stack.call(
            "POST", self._stack.entry_urls["comments"], path, {"content": content}
        )

    async def feed_until(self, accept: Callable[[Feed], bool]) -> tuple[Feed, str]:
        """Read the feed until `accept` is true of it, for at most SHOWN_WITHIN_S seconds.

        Returns the last feed, and why it was not accepted ("" if it was).
        """
        give_up_at_s = perf_counter() + SHOWN_WITHIN_S
        while True:
            answer = await self._stack.call(
                "GET", self._stack.entry_urls["query"], "/feed?limit=100"
            )
            feed: Feed = answer.data if answer.ok else []
            if answer.ok and accept(feed):
                return feed, ""
            if perf_counter() >= give_up_at_s:
                timeout_reason = f"not so after {SHOWN_WITHIN_S:g} s"
                return feed, timeout_reason if answer.ok else describe_failure(answer)
            await asyncio.sleep(_POLL_S)

    async def call_action_directly(
        self, action: ActionMapping, values: dict[str, str], body: bytes | None = None
    ) -> str:
        """Call the service itself with an action, or with another body; return the status."""
        request = action.build_request(**values)
        content = request.body if body is None else body
        status, _ = await self.call_directly(action.service, request.method, request.path, content)
        return status

    async def call_directly(
        self, service: str, method: str, path: str, body: bytes = b""
    ) -> tuple[str, bytes]:
        """Call a service at its public port, past the HTTP adapter.

        Returns the status, or "no answer" with the reason, and the body (at most some 8 MiB).
        """
        direct_url = url(self._stack.ports[lab_name(self._stack.target, service)].public)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S), trust_env=False
                ) as session,
                session.request(
                    method,
                    direct_url + path,
                    data=body or None,
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                content = await response.content.read(MAX_BYTES)
                while not response.content.at_eof() and len(content) < MAX_BYTES:
                    content += await response.content.read(MAX_BYTES - len(content))
                return str(response.status), content
        except TimeoutError:
            return "no answer", b""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"no answer ({type(error).__name__})", b""


def comment_statuses(feed: Feed, post_id: str) -> dict[str, str]:
    """The status of each comment of a post, by comment id."""
    return {
        comment["id"]: comment["status"]
        for entry in feed
        if entry["id"] == post_id
        for comment in entry["comments"]
    }


def feed_texts(feed: Feed) -> set[tuple[str, str]]:
    """The ids in the feed, each with its text."""
    posts = {(entry["id"], entry["title"]) for entry in feed}
    comments = (comment for entry in feed for comment in entry["comments"])
    return posts | {(comment["id"], comment["content"]) for comment in comments}
