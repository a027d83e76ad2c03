"""Clients of an external system: through the HTTP adapters of its sidecars, and directly.

Through an adapter the response has the lab's format, or says why it has not. A direct call returns
what the service itself responds, as its own clients see it.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import aiohttp

from lab.cluster.arrangements import url
from lab.cluster.control_client import ControlResponse
from lab.external.arrangement import lab_name
from lab.external.mapping import ActionMapping
from lab.external.stack import ExternalStack

SHOWN_WITHIN_S = 3.0
ANSWER_WITHIN_S = 3.0
MAX_BYTES = 8 * 1024 * 1024
_POLL_S = 0.03

Feed = list[dict[str, Any]]


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


class SystemClient:
    """Never raises: the result reports a failure."""

    def __init__(self, stack: ExternalStack) -> None:
        self._stack = stack

    async def post(self, title: str) -> ControlResponse:
        return await self._stack.call(
            "POST", self._stack.entry_urls["posts"], "/posts", {"title": title}
        )

    async def comment(
        self, post_id: str, content: str, within_s: float | None = None
    ) -> ControlResponse:
        path = f"/posts/{post_id}/comments"
        limit = {} if within_s is None else {"within_s": within_s}
        return await self._stack.call(
            "POST", self._stack.entry_urls["comments"], path, {"content": content}, **limit
        )

    async def feed_until(
        self, accept: Callable[[Feed], bool], within_s: float | None = None
    ) -> tuple[Feed, str]:
        """Read the feed until `accept` is true of it, for at most `within_s` seconds (default:
        SHOWN_WITHIN_S).

        Returns the last feed, and why it was not accepted ("" if it was).
        """
        limit_s = SHOWN_WITHIN_S if within_s is None else within_s
        give_up_at_s = perf_counter() + limit_s
        while True:
            answer = await self._stack.call(
                "GET", self._stack.entry_urls["query"], "/feed?limit=100"
            )
            feed: Feed = answer.data if answer.ok else []
            if answer.ok and accept(feed):
                return feed, ""
            if perf_counter() >= give_up_at_s:
                timeout_reason = f"not so after {limit_s:g} s"
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


def created_without_id(answer: ControlResponse) -> bool:
    """Whether the service reported success, but no id. The adapter answers such a request with an
    error whose problem document has `created`."""
    return isinstance(answer.data, dict) and answer.data.get("created") is True


def is_created(answer: ControlResponse) -> bool:
    """Whether the service reported success, with an id or without."""
    return answer.ok or created_without_id(answer)


def post_ids(feed: Feed, title: str) -> list[str]:
    """The ids of the posts with this title, in the order of the feed."""
    return [entry["id"] for entry in feed if entry["title"] == title]


def comment_ids(feed: Feed, post_id: str, content: str) -> list[str]:
    """The ids of the comments of a post with this text."""
    return [
        comment["id"]
        for entry in feed
        if entry["id"] == post_id
        for comment in entry["comments"]
        if comment["content"] == content
    ]


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
