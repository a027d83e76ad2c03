"""HTTP adapter: offers the lab's public API in front of an external service.

The load calls it as it calls the lab's own services. The adapter translates each request into one
of the external service (`mapping.py`), and each response back (`responses.py`). Requests pass the
lab's fault filter first. `/health` says whether the service responds, and `/_lab` is the lab's own.

The feed is expensive: these systems respond with *all* posts. The service, the network and this
process work in proportion to everything ever written, even if the load requests 20 posts. `/_lab`
reports the size and the duration of the last read; a response may have at most 8 MiB.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from aiohttp import web

from lab.domain import headers
from lab.domain.errors import BadAnswer, Invalid, ServiceError, TimedOut, Unreachable
from lab.domain.model import Comment, CommentDraft, Limit, Post, PostDraft
from lab.external.fault_filter import Gate
from lab.external.mapping import Action, Actions, Asked
from lab.external.proxy.client import Pool, gather, reach, unreachable
from lab.external.proxy.pending import Origin, written
from lab.external.responses import Answered, NotUnderstood, created_comment, created_post, feed
from lab.faults.kinds import CLIENT
from lab.service.fault_api import control_routes, turned_away
from lab.service.http import (
    Route,
    answer,
    check_host,
    check_path,
    check_token,
    find,
    problem,
    read_body,
)
from lab.service.tracing import SpanLog, traceparent

READY_WITHIN_S = 1.0


@dataclass
class Face:
    """The adapter of one service. Call it with a request.

    `port`: the adapter's own port, which the Host header must name. `ready`: a path on which a
    ready service responds with less than 500; None: a service that accepts connections is ready.
    `state`: returns further entries for `/_lab/state`.
    """

    name: str
    arrangement: str
    actions: Actions
    service: Origin
    gate: Gate
    pool: Pool
    spans: SpanLog
    token: str
    port: int
    ready: str | None = None
    answer_within_s: float = 10.0
    state: Callable[[], dict[str, Any]] = dict
    under_way: int = 0
    feed: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        routes = {
            "create_post": Route("POST", "/posts", self._create_post, 201),
            "create_comment": Route("POST", "/posts/{post_id}/comments", self._create_comment, 201),
            "read_feed": Route("GET", "/feed", self._read_feed),
        }
        self._routes = [
            *(routes[name] for name in self.actions.asked_of(self.name)),
            Route("GET", "/health", self._health, raw=True, door=False),
            *control_routes(self.gate, self._state, self.spans.flush),
        ]

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to a request; errors become problem documents."""
        try:
            check_host(request, self.port)
            check_path(request.path)
            route, path = find(self._routes, request.method, request.path)
            if route.control:
                check_token(request, self.token)
            if route.raw:
                raw: web.StreamResponse = await route.handler(request)
                return raw
            if route.control:
                return await self._told(route, path, request)
            parent = request.headers.get("traceparent")
            with self.spans.span(f"{route.method} {route.path}", "server", parent) as span:
                response = await self._pass(route, path, request)
                span["status"] = response.status
                return response
        except NotUnderstood as error:
            return problem(error, error.shown)
        except ServiceError as error:
            return problem(error)

    async def _pass(
        self, route: Route, path: Mapping[str, str], request: web.BaseRequest
    ) -> web.StreamResponse:
        """Apply the active faults to a request, then call its handler."""
        self.under_way += 1
        try:
            visit = self.gate.visit(request.headers.get(headers.CALLER, CLIENT))
            if (instead := await turned_away(self.gate, visit, request)) is not None:
                return instead
            await self.gate.wait(visit)
            return await self._told(route, path, request)
        except NotUnderstood as error:  # caught here, so that the span gets its status
            return problem(error, error.shown)
        except ServiceError as error:
            return problem(error)
        finally:
            self.under_way -= 1

    async def _told(
        self, route: Route, path: Mapping[str, str], request: web.BaseRequest
    ) -> web.StreamResponse:
        body = await read_body(request, route.max_body) if route.body else b""
        told = route.handler(**route.arguments(path, request.query, body))
        return answer(await told if inspect.isawaitable(told) else told, route.status)

    async def _create_post(self, draft: PostDraft) -> Post:
        action = self.actions.create_post
        return created_post(action, await self._ask(action, title=draft.title), draft.title)

    async def _create_comment(self, post_id: str, draft: CommentDraft) -> Comment:
        action = self.actions.create_comment
        answered = await self._ask(action, post_id=post_id, content=draft.content)
        return created_comment(action, self.actions.read_feed, answered, post_id, draft.content)

    async def _read_feed(self, limit: Limit = 20, before: str | None = None) -> list[Any]:
        begun_s = perf_counter()
        answered = await self._ask(self.actions.read_feed, limit=str(limit))
        fetched_s = perf_counter()
        page, posts = feed(self.actions.read_feed, answered, limit, before)
        self.feed = {
            "posts": posts,
            "bytes": len(answered.body),
            "fetched_ms": round((fetched_s - begun_s) * 1_000, 2),
            "translated_ms": round((perf_counter() - fetched_s) * 1_000, 2),
        }
        return page

    async def _ask(self, action: Action, **values: str) -> Answered:
        """Send a request to the service. Raises Invalid, Unreachable, TimedOut, BadAnswer."""
        try:
            asked = action.asked(**values)
        except ValueError as error:
            raise Invalid(str(error)) from None
        head, body = await gather(
            *(
                self.pool,
                self.service,
                written(asked, self.service, traceparent()),
                self.answer_within_s,
            ),
            may_repeat=asked.method == "GET",
        )
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers
        }
        return Answered(self.name, asked, head.status, headers, body)

    def _state(self) -> dict[str, Any]:
        return {"under_way": self.under_way, "feed": self.feed} | self.state()

    async def _health(self, request: web.BaseRequest) -> web.Response:
        """503 while the service does not respond, with `because` (a sentence) and `error`
        (refused, timeout, reset, answer). Both say what the adapter observed, not the service."""
        told = {"service": self.name, "arrangement": self.arrangement, "status": "ready"}
        because, error = await self._what_is_missing()
        if not because:
            return answer(told)
        told |= {"status": "waiting", "because": because, "error": error}
        return answer(told, 503)

    async def _what_is_missing(self) -> tuple[str, str]:
        port = self.service.port
        try:
            if self.ready is None:
                await self._listens()
                return "", ""
            request = written(Asked("GET", self.ready, b"", {}), self.service)
            head, _ = await gather(
                *(self.pool, self.service, request, READY_WITHIN_S), may_repeat=True, head_only=True
            )
        except Unreachable:
            return f"nothing listens on port {port}, where it is looked for", "refused"
        except TimedOut:
            return f"port {port} takes connections, but nobody answers there", "timeout"
        except BadAnswer as error:
            return error.detail, "reset"
        if head.status >= 500:
            return (
                f"it answers {head.status} to GET {self.ready}, and not with less than 500",
                "answer",
            )
        return "", ""

    async def _listens(self) -> None:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                (await reach(self.service)).close()
        except TimeoutError:
            raise TimedOut("It takes no connection.") from None
        except OSError as error:
            raise unreachable(self.name, self.service, error) from None
