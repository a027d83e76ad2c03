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

from lab.api.display import Shown
from lab.cluster.stack import Stack
from lab.domain.errors import Invalid
from lab.load.sender import ENDPOINTS, Endpoint
from lab.report.html import notebook
from lab.report.terminal.trace import show
from lab.report.tracing.trace import REQUESTS, client_step
from lab.report.tracing.waterfall import Story, joined, read_spans
from lab.support.http_client import Client, Origin, Outcome
from lab.support.text import did_you_mean

PATIENCE_S = 10.0
SETTLE_WITHIN_S = 5.0
_LOOK_AGAIN_S = 0.002


class Trace(Shown):
    """The trace of one request, drawn as a waterfall; `story` has its steps in figures."""

    def __init__(self, story: Story) -> None:
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
        return notebook.as_text(lambda console: show([self.story], console))

    def __repr__(self) -> str:
        return f"<{self.story.request} of {self.story.variant}: {self.answered_ms:.1f} ms>"


async def follow(stack: Stack, what: str) -> Trace:
    """Send one of REQUESTS and return its trace. Raises Invalid for an unknown request."""
    if what not in REQUESTS:
        raise Invalid(f"There is no request {what!r}. {did_you_mean(what, REQUESTS)}")
    endpoint = ENDPOINTS[REQUESTS[what]]
    client = Client(asyncio.get_running_loop(), max_connections=4)
    try:
        post_id = await _some_post(stack, client) if what == "comment" else ""
        path = endpoint.path.format(post_id=quote(post_id, safe=""))
        body = json.dumps({endpoint.text_key: f"A {what}"}) if endpoint.text_key else ""
        trace = secrets.token_hex(16)
        begun_unix_s, begun_s = time(), perf_counter()
        outcome = await _send(stack, client, endpoint, path, body, trace)
        visible_ms = None
        if endpoint.text_key and outcome.status == endpoint.good_status:
            written = str(json.loads(outcome.body)["id"])
            seen_s = await _until_visible(stack, client, written)
            visible_ms = None if seen_s is None else (seen_s - begun_s) * 1_000
    finally:
        client.close()
    await stack.settle(SETTLE_WITHIN_S)
    for target in stack.urls:
        await stack.state(target)  # A request for its state makes a process write its spans.
    good = outcome.status == endpoint.good_status
    failed = "" if good else outcome.error or f"http_{outcome.status}"
    request = f"{endpoint.method} {endpoint.path}"
    root = client_step(trace, request, begun_unix_s, (outcome.at_s - begun_s) * 1_000, failed)
    return Trace(
        Story(
            variant=stack.name,
            trace=trace,
            request=request,
            outcome=outcome.error or str(outcome.status),
            steps=joined(root, read_spans(stack.data.parent.parent, stack.name, {trace})),
            visible_ms=visible_ms,
            why="sent just now",
        )
    )


async def _some_post(stack: Stack, client: Client) -> str:
    """The id of a new post that `comments` knows; "nowhere" when none could be created."""
    endpoint = ENDPOINTS["create_post"]
    body = json.dumps({"title": "A post to comment on"})
    outcome = await _send(stack, client, endpoint, endpoint.path, body, "")
    await stack.settle(SETTLE_WITHIN_S)
    return str(json.loads(outcome.body)["id"]) if outcome.status == 201 else "nowhere"


async def _until_visible(stack: Stack, client: Client, written: str) -> float | None:
    feed, give_up_at_s = ENDPOINTS["read_feed"], perf_counter() + PATIENCE_S
    while perf_counter() < give_up_at_s:
        looked = await _send(stack, client, feed, feed.path, "", "")
        if looked.status == feed.good_status and written in _decided(json.loads(looked.body)):
            return looked.at_s
        await asyncio.sleep(_LOOK_AGAIN_S)
    return None


def _decided(feed: list[dict[str, Any]]) -> set[str]:
    comments = (comment for post in feed for comment in post["comments"])
    decided = {str(one["id"]) for one in comments if one["status"] != "pending"}
    return decided | {str(post["id"]) for post in feed}


async def _send(
    stack: Stack, client: Client, endpoint: Endpoint, path: str, body: str, trace: str
) -> Outcome:
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def done(one: Outcome) -> None:
        if not outcome.done():
            outcome.set_result(one)

    headers = {"traceparent": f"00-{trace}-{trace[:16]}-01"} if trace else {}
    origin = Origin.of(stack.urls[endpoint.service])
    until_s = perf_counter() + PATIENCE_S
    client.send(endpoint.method, origin, path, body.encode(), until_s, done, headers)
    return await outcome
