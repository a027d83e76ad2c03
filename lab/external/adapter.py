"""HTTP adapter: offers the lab's public API in front of an external service.

The load calls it as it calls the lab's own services. The adapter translates each request into one
of the external service (`mapping.py`), and each response back (`responses.py`). Requests pass the
lab's fault filter first. `/health` says whether the service responds, and `/_lab` is the lab's own.

The feed is expensive: these systems respond with *all* posts. The service, the network and this
process work in proportion to everything ever written, even if the load requests 20 posts. `/_lab`
reports the size and the duration of the last read; a response may have at most 8 MiB.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from aiohttp import web

from lab.domain.errors import BadGateway, Invalid, TimedOut, Unreachable
from lab.domain.model import Comment, CommentDraft, Limit, Post, PostDraft
from lab.external.fault_filter import ProxyFaultFilter
from lab.external.mapping import ActionMapping, Actions, ExternalRequest
from lab.external.proxy.client import (
    ServicePool,
    connect_to,
    encode_request,
    fetch,
    unreachable_error,
)
from lab.external.responses import (
    ExternalResponse,
    UnexpectedResponse,
    decode_comment,
    decode_feed,
    decode_post,
)
from lab.faults.kinds import Effect
from lab.service.fault_api import FaultableApp
from lab.service.http import Route, answer, problem_response
from lab.service.tracing import SpanLog, SpanRecord, trace_headers
from lab.support.http_client import HttpOrigin

READY_WITHIN_S = 1.0


@dataclass
class HttpAdapter(FaultableApp):
    """The adapter of one service.

    `port`: the adapter's own port, which the Host header must name. `ready`: a path on which a
    ready service responds with less than 500; None: a service that accepts connections is ready.
    `state`: returns further entries for `/_lab/state`.
    """

    name: str
    arrangement: str
    actions: Actions
    service: HttpOrigin
    fault_filter: ProxyFaultFilter
    pool: ServicePool
    spans: SpanLog
    token: str
    port: int
    ready: str | None = None
    answer_within_s: float = 10.0
    state: Callable[[], dict[str, Any]] = dict
    under_way: int = 0
    last_feed_read: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        routes = {
            "create_post": Route("POST", "/posts", self._create_post, 201),
            "create_comment": Route("POST", "/posts/{post_id}/comments", self._create_comment, 201),
            "read_feed": Route("GET", "/feed", self._read_feed),
        }
        super().__init__(
            [
                *(routes[name] for name in self.actions.actions_of(self.name)),
                Route("GET", "/health", self._health, raw=True, faultable=False),
            ],
            self.port,
            self.token,
            self.fault_filter,
            self.spans,
        )

    async def respond(
        self, request: web.BaseRequest, route: Route, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        if route.raw or route.control:
            return await super().respond(request, route, parameters)
        self.under_way += 1
        try:
            return await super().respond(request, route, parameters)
        finally:
            self.under_way -= 1

    async def run_handler(
        self,
        route: Route,
        parameters: Mapping[str, str],
        query: Mapping[str, str],
        body: bytes,
        effect: Effect,
        span: SpanRecord,
    ) -> web.Response:
        await self.fault_filter.apply_latency(effect)
        result = await route.handler(**route.arguments(parameters, query, body))
        return answer(result, route.status)

    def error_response(self, error: Exception) -> web.StreamResponse:
        if isinstance(error, UnexpectedResponse):
            return problem_response(error, error.response_status)
        return super().error_response(error)

    async def _create_post(self, draft: PostDraft) -> Post:
        action = self.actions.create_post
        return decode_post(action, await self._request(action, title=draft.title), draft.title)

    async def _create_comment(self, post_id: str, draft: CommentDraft) -> Comment:
        action = self.actions.create_comment
        response = await self._request(action, post_id=post_id, content=draft.content)
        return decode_comment(action, self.actions.read_feed, response, post_id, draft.content)

    async def _read_feed(self, limit: Limit = 20, before: str | None = None) -> list[Any]:
        begun_s = perf_counter()
        response = await self._request(self.actions.read_feed, limit=str(limit))
        fetched_s = perf_counter()
        page, posts = decode_feed(self.actions.read_feed, response, limit, before)
        self.last_feed_read = {
            "posts": posts,
            "bytes": len(response.body),
            "fetched_ms": round((fetched_s - begun_s) * 1_000, 2),
            "translated_ms": round((perf_counter() - fetched_s) * 1_000, 2),
        }
        return page

    async def _request(self, action: ActionMapping, **values: str) -> ExternalResponse:
        """Send a request to the service. Raises Invalid, Unreachable, TimedOut, BadAnswer."""
        try:
            request = action.build_request(**values)
        except ValueError as error:
            raise Invalid(str(error)) from None
        head, body = await fetch(
            *(
                self.pool,
                self.service,
                encode_request(request, self.service, trace_headers()),
                self.answer_within_s,
            ),
            retryable=request.method == "GET",
        )
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers
        }
        return ExternalResponse(self.name, request, head.status, headers, body)

    def read_state(self) -> dict[str, Any]:
        return {"under_way": self.under_way, "feed": self.last_feed_read} | self.state()

    async def _health(self, request: web.BaseRequest) -> web.Response:
        """503 while the service does not respond, with `because` (a sentence) and `error`
        (refused, timeout, reset, answer). Both say what the adapter observed, not the service."""
        health = {"service": self.name, "arrangement": self.arrangement, "status": "ready"}
        reason, error = await self._readiness_problem()
        if not reason:
            return answer(health)
        health |= {"status": "waiting", "because": reason, "error": error}
        return answer(health, 503)

    async def _readiness_problem(self) -> tuple[str, str]:
        port = self.service.port
        try:
            if self.ready is None:
                await self._check_listening()
                return "", ""
            request = encode_request(ExternalRequest("GET", self.ready, b"", {}), self.service)
            head, _ = await fetch(
                *(self.pool, self.service, request, READY_WITHIN_S), retryable=True, head_only=True
            )
        except Unreachable:
            return f"nothing listens on port {port}, where it is looked for", "refused"
        except TimedOut:
            return f"port {port} takes connections, but nobody answers there", "timeout"
        except BadGateway as error:
            return error.detail, "reset"
        if head.status >= 500:
            return (
                f"it answers {head.status} to GET {self.ready}, and not with less than 500",
                "answer",
            )
        return "", ""

    async def _check_listening(self) -> None:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                (await connect_to(self.service)).close()
        except TimeoutError:
            raise TimedOut("It takes no connection.") from None
        except OSError as error:
            raise unreachable_error(self.name, self.service, error) from None
