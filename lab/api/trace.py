"""One request to a running stack, traced through every process that took part.

Nothing is cleaned up before: the picture shows what active faults and concurrent requests do to
the request.
"""

import asyncio
import json
import secrets
from time import perf_counter, time
from typing import Any
from urllib.parse import quote

from lab.api.display import NotebookDisplay
from lab.cluster.stack import Stack
from lab.domain.errors import Invalid
from lab.load.sender import ENDPOINTS, EndpointRequest
from lab.report.html import notebook
from lab.report.terminal.trace import show_traces
from lab.report.tracing.trace import REQUESTS, client_span
from lab.report.tracing.waterfall import RequestTrace, join_spans, read_spans
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult
from lab.support.text import did_you_mean

PATIENCE_S = 10.0
SETTLE_WITHIN_S = 5.0
_POLL_INTERVAL_S = 0.002


class TracedRequest(NotebookDisplay):
    """The trace of one request, drawn as a waterfall; `story` has its steps in figures."""

    def __init__(self, story: RequestTrace) -> None:
        self.story = story

    @property
    def answered_ms(self) -> float:
        """Time until the client had the answer, ms."""
        return self.story.answered_ms

    @property
    def visible_ms(self) -> float | None:
        """Time until the feed showed the write, ms; None for a read, or when it was not seen in
        time."""
        return self.story.visible_ms

    def _text(self) -> str:
        return notebook.as_text(lambda console: show_traces([self.story], console))

    def __repr__(self) -> str:
        return f"<{self.story.request} of {self.story.variant}: {self.answered_ms:.1f} ms>"


async def send_and_trace(stack: Stack, what: str) -> TracedRequest:
    """Send one of REQUESTS and return its trace. Raises Invalid for an unknown request."""
    if what not in REQUESTS:
        raise Invalid(f"There is no request {what!r}. {did_you_mean(what, REQUESTS)}")
    endpoint = ENDPOINTS[REQUESTS[what]]
    client = HttpClient(asyncio.get_running_loop(), max_connections=4)
    try:
        post_id = await _create_post(stack, client) if what == "comment" else ""
        path = endpoint.path.format(post_id=quote(post_id, safe=""))
        body = json.dumps({endpoint.text_key: f"A {what}"}) if endpoint.text_key else ""
        trace_id = secrets.token_hex(16)
        begun_unix_s, begun_s = time(), perf_counter()
        outcome = await _send(stack, client, endpoint, path, body, trace_id)
        visible_ms = None
        if endpoint.text_key and outcome.status == endpoint.success_status:
            item_id = str(json.loads(outcome.body)["id"])
            seen_s = await _wait_until_visible(stack, client, item_id)
            visible_ms = None if seen_s is None else (seen_s - begun_s) * 1_000
    finally:
        client.close()
    await stack.settle(SETTLE_WITHIN_S)
    for target in stack.urls:
        await stack.state(target)  # A request for its state makes a process write its spans.
    good = outcome.status == endpoint.success_status
    failed = "" if good else outcome.error or f"http_{outcome.status}"
    request = f"{endpoint.method} {endpoint.path}"
    root = client_span(trace_id, request, begun_unix_s, (outcome.at_s - begun_s) * 1_000, failed)
    return TracedRequest(
        RequestTrace(
            variant=stack.name,
            trace_id=trace_id,
            request=request,
            outcome=outcome.error or str(outcome.status),
            steps=join_spans(root, read_spans(stack.data.parent.parent, stack.name, {trace_id})),
            visible_ms=visible_ms,
            reason="sent just now",
        )
    )


async def _create_post(stack: Stack, client: HttpClient) -> str:
    """The id of a new post that `comments` knows; "nowhere" when none could be created."""
    endpoint = ENDPOINTS["create_post"]
    body = json.dumps({"title": "A post to comment on"})
    outcome = await _send(stack, client, endpoint, endpoint.path, body, "")
    await stack.settle(SETTLE_WITHIN_S)
    return str(json.loads(outcome.body)["id"]) if outcome.status == 201 else "nowhere"


async def _wait_until_visible(stack: Stack, client: HttpClient, item_id: str) -> float | None:
    feed, give_up_at_s = ENDPOINTS["read_feed"], perf_counter() + PATIENCE_S
    while perf_counter() < give_up_at_s:
        outcome = await _send(stack, client, feed, feed.path, "", "")
        if outcome.status == feed.success_status and item_id in _decided_ids(
            json.loads(outcome.body)
        ):
            return outcome.at_s
        await asyncio.sleep(_POLL_INTERVAL_S)
    return None


def _decided_ids(feed: list[dict[str, Any]]) -> set[str]:
    comments = (comment for post in feed for comment in post["comments"])
    decided = {str(comment["id"]) for comment in comments if comment["status"] != "pending"}
    return decided | {str(post["id"]) for post in feed}


async def _send(
    stack: Stack, client: HttpClient, endpoint: EndpointRequest, path: str, body: str, trace_id: str
) -> HttpResult:
    outcome: asyncio.Future[HttpResult] = asyncio.get_running_loop().create_future()

    def done(result: HttpResult) -> None:
        if not outcome.done():
            outcome.set_result(result)

    headers = {"traceparent": f"00-{trace_id}-{trace_id[:16]}-01"} if trace_id else {}
    origin = HttpOrigin.from_url(stack.urls[endpoint.service])
    until_s = perf_counter() + PATIENCE_S
    client.send(endpoint.method, origin, path, body.encode(), until_s, done, headers)
    return await outcome
