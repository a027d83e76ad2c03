"""One request in one arrangement, sent on purpose and followed wherever it went.

Nobody else is there: what is seen is how the work is shared out, not how load bears on it. The
connections are open and the code is warm; of several requests the one in the middle is told, so
that the picture is not the one time in nine when the machine did something else.
"""

import asyncio
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any
from urllib.parse import quote

from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, PRELOAD
from lab.load.client import Client
from lab.load.connection import Outcome
from lab.load.plan import Origin
from lab.load.sender import ENDPOINTS
from lab.scenarios.waterfall import CLIENT, Step, Story, joined, read_spans

REQUESTS = {"comment": "create_comment", "feed": "read_feed", "post": "create_post"}
"""What can be followed, and what the load calls it."""

_WARM_ROUNDS = 10
_SENT = 9
_PATIENCE_S = 10.0
_LOOK_AGAIN_S = 0.001
_DECIDED = ("approved", "rejected")


@dataclass(frozen=True)
class _Sent:
    """One request as its client saw it: moments of `perf_counter`, the beginning of `time` too."""

    trace: str
    begun_unix_s: float
    begun_s: float
    outcome: Outcome
    visible_s: float | None = None

    @property
    def answered_ms(self) -> float:
        return (self.outcome.at_s - self.begun_s) * 1_000

    @property
    def visible_ms(self) -> float | None:
        return None if self.visible_s is None else (self.visible_s - self.begun_s) * 1_000


async def followed(arrangement: str, what: str, folder: Path) -> Story:
    """Start the arrangement, send a request of REQUESTS, and tell the whole story of it.

    Raises LabCannotRun when it can't be started, or doesn't answer.
    """
    endpoint = ENDPOINTS[REQUESTS[what]]
    async with Supervisor(PRELOAD, folder) as supervisor:
        with Stack(arrangement, ARRANGEMENTS[arrangement], supervisor, folder) as stack:
            await supervisor.start(*stack.programs)
            client = Client(asyncio.get_running_loop(), max_connections=4)
            try:
                author = _Author(stack, client)
                for _ in range(_WARM_ROUNDS):
                    for warm in ("post", "comment", "feed"):
                        await author.does(warm)
                sent = [await author.does(what) for _ in range(_SENT)]
            finally:
                client.close()
    # Here all programs have ended, and so have written down all they had to say.
    one = sorted(sent, key=lambda each: each.visible_ms or each.answered_ms)[_SENT // 2]
    request = f"{endpoint.method} {endpoint.path}"
    root = client_step(one.trace, request, one.begun_unix_s, one.answered_ms)
    return Story(
        variant=arrangement,
        trace=one.trace,
        request=request,
        outcome=str(one.outcome.status),
        steps=joined(root, read_spans(folder, arrangement, {one.trace})),
        visible_ms=one.visible_ms,
        why=f"the middle one of {_SENT}",
    )


def client_step(trace: str, request: str, at_s: float, ms: float, failed: str = "") -> Step:
    """The step with which every story begins. Its id is the head of its trace's."""
    return Step(trace[:16], "", CLIENT, "client", request, at_s, ms, failed=failed)


class _Author:
    """Writes posts and comments, reads the feed, one after the other."""

    def __init__(self, stack: Stack, client: Client) -> None:
        self._stack = stack
        self._client = client
        self._post_id = ""

    async def does(self, what: str) -> _Sent:
        """Send one request when nothing is under way, and wait until the feed shows it."""
        if not await self._stack.settle(_PATIENCE_S):
            raise LabCannotRun(f"{self._stack.name} does not come to rest. Try: lab doctor")
        endpoint = ENDPOINTS[REQUESTS[what]]
        body = json.dumps({endpoint.text_key: f"A {what}"}) if endpoint.text_key else ""
        path = endpoint.path.format(post_id=quote(self._post_id, safe=""))
        trace = secrets.token_hex(16)
        begun_unix_s, begun_s = time(), perf_counter()
        outcome = await self._send(endpoint.method, endpoint.service, path, body, trace)
        if outcome.status != endpoint.good_status:
            said = outcome.error or outcome.status
            raise LabCannotRun(
                f"{self._stack.name}: {endpoint.method} {path} was answered with {said}, though "
                "nothing is broken here. Try: lab doctor"
            )
        if not endpoint.text_key:
            return _Sent(trace, begun_unix_s, begun_s, outcome)
        written = str(json.loads(outcome.body)["id"])
        if what == "post":
            self._post_id = written
        visible_s = await self._until_visible(written)
        return _Sent(trace, begun_unix_s, begun_s, outcome, visible_s)

    async def _until_visible(self, written: str) -> float:
        """The moment the feed showed it: a post, or a comment with its verdict."""
        give_up_at_s = perf_counter() + _PATIENCE_S
        feed = ENDPOINTS["read_feed"]
        while perf_counter() < give_up_at_s:
            looked = await self._send(feed.method, feed.service, feed.path, "", "")
            if looked.status == feed.good_status and written in _shown(json.loads(looked.body)):
                return looked.at_s
            await asyncio.sleep(_LOOK_AGAIN_S)
        raise LabCannotRun(
            f"{self._stack.name}: the feed did not show {written} within {_PATIENCE_S:g} s."
        )

    async def _send(self, method: str, service: str, path: str, body: str, trace: str) -> Outcome:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(one: Outcome) -> None:
            if not outcome.done():
                outcome.set_result(one)

        headers = {"traceparent": f"00-{trace}-{trace[:16]}-01"} if trace else {}
        origin = Origin.of(self._stack.urls[service])
        until_s = perf_counter() + _PATIENCE_S
        self._client.send(method, origin, path, body.encode(), until_s, done, headers)
        return await outcome


def _shown(feed: list[dict[str, Any]]) -> set[str]:
    comments = (comment for post in feed for comment in post["comments"])
    decided = {str(comment["id"]) for comment in comments if comment["status"] in _DECIDED}
    return decided | {str(post["id"]) for post in feed}
