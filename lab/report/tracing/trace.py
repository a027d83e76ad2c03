"""Traces of single requests: of a new one without load, or of one from a saved run.

A new request is sent to an arrangement without any other load, so its trace shows how the services
share the work, not how they behave under load. Connections are open and the code is warm. The trace
is that of the median of nine requests, by the time until the write is visible (for a read: until
the answer), so an outlier is not taken for the rule.

In a saved run, each row of `samples.csv` has a trace id: a slow request can be followed into the
services. The client's span begins at the intended send time, as the latency does.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any
from urllib.parse import quote

from lab.cluster.arrangements import ARRANGEMENTS, PRELOAD
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.load.plan import WARM_UP
from lab.load.samples import BadSamples, Sample, read_samples
from lab.load.sender import AT_ONCE, ENDPOINTS
from lab.report.tracing.waterfall import CLIENT, Step, Story, joined, read_spans
from lab.support.http_client import Client, Origin, Outcome
from lab.support.text import did_you_mean

# ── A new request

REQUESTS = {"comment": "create_comment", "feed": "read_feed", "post": "create_post"}
"""The requests that can be traced, and their endpoints."""

_WARM_ROUNDS = 10
_SENT = 9
_PATIENCE_S = 10.0
_LOOK_AGAIN_S = 0.001
_DECIDED = ("approved", "rejected")


@dataclass(frozen=True)
class _Sent:
    """One request as its client saw it.

    Times are seconds of `perf_counter`; `begun_unix_s` is in seconds since 1970.
    """

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
    """Start the arrangement, send requests `what` of REQUESTS, and return the median one's trace.

    Raises LabCannotRun if the arrangement does not start, or does not respond as expected.
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
    # All programs have exited by now, so all their spans are written.
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
    """The root span of a trace. Its id is the first 16 digits of the trace id."""
    return Step(trace[:16], "", CLIENT, "client", request, at_s, ms, failed=failed)


class _Author:
    """A client that writes posts and comments and reads the feed, one request at a time."""

    def __init__(self, stack: Stack, client: Client) -> None:
        self._stack = stack
        self._client = client
        self._post_id = ""

    async def does(self, what: str) -> _Sent:
        """Send one request while the stack is idle, and wait until the feed shows its write.

        Raises LabCannotRun if the stack stays busy, or if the response is not as expected.
        """
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
        """The time when the feed shows the post, or the comment with its verdict.

        Raises LabCannotRun after `_PATIENCE_S`.
        """
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


# ── A request of a saved run

_BROKEN = "during"


class NoSuchTrace(ValueError):
    """The run has no such request or trace; the message says what it has."""


def slowest(folder: Path, what: str, variants: Sequence[str] = ()) -> list[Story]:
    """The trace of the slowest request `what` of REQUESTS in each variant (default: all).

    If the run has a phase `during`, in which the faults act, only its requests count. A failed
    request counts with the time until its failure. Raises NoSuchTrace.
    """
    samples, started_s = _load(folder)
    known = list(dict.fromkeys(sample.variant for sample in samples))
    stories = []
    for variant in variants or known:
        if variant not in known:
            raise NoSuchTrace(f"The run has no variant {variant!r}. {did_you_mean(variant, known)}")
        sent = [
            one
            for one in samples
            if (one.variant, one.endpoint) == (variant, REQUESTS[what])
            and one.latency_ms is not None
            and one.phase != WARM_UP
        ]
        broken = [one for one in sent if one.phase == _BROKEN]
        if not sent:
            raise NoSuchTrace(f"The run sent no {REQUESTS[what]} to {variant}.")
        one = max(broken or sent, key=lambda each: each.latency_ms or 0.0)
        phase = f" of {_BROKEN}" if broken else ""
        why = f"the slowest of {len(broken or sent)}{phase}"
        stories.append(_story(one, folder, started_s, why))
    return stories


def by_id(folder: Path, trace: str) -> list[Story]:
    """The trace with this id, from `samples.csv`. Raises NoSuchTrace if there is none."""
    samples, started_s = _load(folder)
    found = [one for one in samples if one.trace == trace.lower() and one.latency_ms is not None]
    if not found:
        raise NoSuchTrace(
            f"No request of this run has the trace id {trace!r}. The last column of "
            f"{folder / 'samples.csv'} has one for each request that was sent."
        )
    return [_story(one, folder, started_s, f"phase {one.phase}") for one in found]


def _story(sample: Sample, folder: Path, started_s: float, why: str) -> Story:
    endpoint = (ENDPOINTS | AT_ONCE)[sample.endpoint]
    request = f"{endpoint.method} {endpoint.path}"
    due_s = started_s + sample.intended_s
    root = client_step(sample.trace, request, due_s, sample.latency_ms or 0.0, sample.error)
    return Story(
        variant=sample.variant,
        trace=sample.trace,
        request=request,
        outcome=sample.error or str(sample.status),
        steps=joined(root, read_spans(folder, sample.variant, {sample.trace})),
        visible_ms=sample.visible_ms,
        why=why,
    )


def _load(folder: Path) -> tuple[list[Sample], float]:
    """The samples, and the start of the load in seconds since 1970. Raises NoSuchTrace."""
    if parts := sorted(one.name for one in folder.glob("[rv]*-*/") if (one / "load.json").exists()):
        raise NoSuchTrace(
            f"{folder} holds several runs, each with a beginning of its own. "
            f"Name one of them: {folder / parts[0]}"
        )
    try:
        samples = read_samples(folder / "samples.csv")
        started_s = float(json.loads((folder / "load.json").read_text("utf-8"))["started_at_unix"])
    except OSError as error:
        raise NoSuchTrace(
            f"{folder} is no run's folder: {Path(error.filename).name}: {error.strerror}. "
            "`lab run` names it when it is done."
        ) from None
    except (BadSamples, KeyError, ValueError, TypeError):
        raise NoSuchTrace(
            f"{folder} was made by a lab that did not write trace ids down yet. Run it again."
        ) from None
    return samples, started_s
