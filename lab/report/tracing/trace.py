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
from collections.abc import Iterable, Iterator, Sequence
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
from lab.load.sender import ENDPOINTS, FOLLOW_UPS
from lab.report.tracing.waterfall import CLIENT, RequestTrace, Span, join_spans, read_spans
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult
from lab.support.text import did_you_mean

# ── A new request

REQUESTS = {"comment": "create_comment", "feed": "read_feed", "post": "create_post"}
"""The requests that can be traced, and their endpoints."""

_WARM_ROUNDS = 10
_SAMPLE_SIZE = 9
_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.001
_DECIDED_STATUSES = ("approved", "rejected")


@dataclass(frozen=True)
class _SentRequest:
    """One request as its client saw it.

    Times are seconds of `perf_counter`; `started_unix_s` is in seconds since 1970.
    """

    trace_id: str
    started_unix_s: float
    started_s: float
    outcome: HttpResult
    visible_at_s: float | None = None

    @property
    def answered_ms(self) -> float:
        return (self.outcome.at_s - self.started_s) * 1_000

    @property
    def visible_ms(self) -> float | None:
        return None if self.visible_at_s is None else (self.visible_at_s - self.started_s) * 1_000


async def trace_request(arrangement: str, request_name: str, folder: Path) -> RequestTrace:
    """Start the arrangement, send nine requests, and return the trace of the median one.

    `request_name`: one of REQUESTS.

    Raises LabCannotRun if the arrangement does not start, or does not respond as expected.
    """
    endpoint = ENDPOINTS[REQUESTS[request_name]]
    async with Supervisor(PRELOAD, folder) as supervisor:
        with Stack(arrangement, ARRANGEMENTS[arrangement], supervisor, folder) as stack:
            await supervisor.start(*stack.programs)
            client = HttpClient(asyncio.get_running_loop(), max_connections=4)
            try:
                traced_client = _TracedClient(stack, client)
                for _ in range(_WARM_ROUNDS):
                    for warm_up_request in ("post", "comment", "feed"):
                        await traced_client.send_and_wait(warm_up_request)
                sent = [
                    await traced_client.send_and_wait(request_name) for _ in range(_SAMPLE_SIZE)
                ]
            finally:
                client.close()
    # All programs have exited by now, so all their spans are written.
    median = sorted(sent, key=lambda sample: sample.visible_ms or sample.answered_ms)[
        _SAMPLE_SIZE // 2
    ]
    request = f"{endpoint.method} {endpoint.path}"
    root = client_span(median.trace_id, request, median.started_unix_s, median.answered_ms)
    return RequestTrace(
        variant=arrangement,
        trace_id=median.trace_id,
        request=request,
        outcome=str(median.outcome.status),
        steps=join_spans(root, read_spans(folder, arrangement, {median.trace_id})),
        visible_ms=median.visible_ms,
        reason=f"the middle one of {_SAMPLE_SIZE}",
    )


def client_span(
    trace_id: str, request: str, start_s: float, duration_ms: float, error: str = ""
) -> Span:
    """The root span of a trace. Its id is the first 16 digits of the trace id."""
    return Span(trace_id[:16], "", CLIENT, "client", request, start_s, duration_ms, error=error)


class _TracedClient:
    """A client that writes posts and comments and reads the feed, one request at a time."""

    def __init__(self, stack: Stack, client: HttpClient) -> None:
        self._stack = stack
        self._client = client
        self._post_id = ""

    async def send_and_wait(self, request_name: str) -> _SentRequest:
        """Send one request while the stack is idle, and wait until the feed shows its write.

        Raises LabCannotRun if the stack stays busy, or if the response is not as expected.
        """
        if not await self._stack.settle(_TIMEOUT_S):
            raise LabCannotRun(f"{self._stack.name} does not come to rest. Try: lab doctor")
        endpoint = ENDPOINTS[REQUESTS[request_name]]
        body = json.dumps({endpoint.text_key: f"A {request_name}"}) if endpoint.text_key else ""
        path = endpoint.path.format(post_id=quote(self._post_id, safe=""))
        trace_id = secrets.token_hex(16)
        started_unix_s, started_s = time(), perf_counter()
        outcome = await self._send(endpoint.method, endpoint.service, path, body, trace_id)
        if outcome.status != endpoint.success_status:
            problem = outcome.error or outcome.status
            raise LabCannotRun(
                f"{self._stack.name}: {endpoint.method} {path} was answered with {problem}, though "
                "nothing is broken here. Try: lab doctor"
            )
        if not endpoint.text_key:
            return _SentRequest(trace_id, started_unix_s, started_s, outcome)
        written_id = str(json.loads(outcome.body)["id"])
        if request_name == "post":
            self._post_id = written_id
        visible_at_s = await self._wait_until_visible(written_id)
        return _SentRequest(trace_id, started_unix_s, started_s, outcome, visible_at_s)

    async def _wait_until_visible(self, written_id: str) -> float:
        """The time when the feed shows the post, or the comment with its verdict.

        Raises LabCannotRun after `_TIMEOUT_S`.
        """
        deadline_s = perf_counter() + _TIMEOUT_S
        feed = ENDPOINTS["read_feed"]
        while perf_counter() < deadline_s:
            response = await self._send(feed.method, feed.service, feed.path, "", "")
            if response.status == feed.success_status and written_id in _visible_ids(
                json.loads(response.body)
            ):
                return response.at_s
            await asyncio.sleep(_POLL_INTERVAL_S)
        raise LabCannotRun(
            f"{self._stack.name}: the feed did not show {written_id} within {_TIMEOUT_S:g} s."
        )

    async def _send(
        self, method: str, service: str, path: str, body: str, trace_id: str
    ) -> HttpResult:
        outcome: asyncio.Future[HttpResult] = asyncio.get_running_loop().create_future()

        def done(received: HttpResult) -> None:
            if not outcome.done():
                outcome.set_result(received)

        headers = {"traceparent": f"00-{trace_id}-{trace_id[:16]}-01"} if trace_id else {}
        origin = HttpOrigin.from_url(self._stack.urls[service])
        deadline_s = perf_counter() + _TIMEOUT_S
        self._client.send(method, origin, path, body.encode(), deadline_s, done, headers)
        return await outcome


def _visible_ids(feed: list[dict[str, Any]]) -> set[str]:
    comments = (comment for post in feed for comment in post["comments"])
    decided = {str(comment["id"]) for comment in comments if comment["status"] in _DECIDED_STATUSES}
    return decided | {str(post["id"]) for post in feed}


# ── A request of a saved run

_FAULT_PHASE = "during"


class NoSuchTrace(ValueError):
    """The run has no such request or trace; the message says what it has."""


def slowest_traces(
    folder: Path, request_name: str, variants: Sequence[str] = ()
) -> list[RequestTrace]:
    """The trace of the slowest request of this name in REQUESTS in each variant (default: all).

    If the run has a phase `during`, in which the faults act, only its requests count. A failed
    request counts with the time until its failure. Raises NoSuchTrace.
    """
    samples, started_s = _load_run(folder)
    known = list(dict.fromkeys(sample.variant for sample in samples))
    traces = []
    for variant in variants or known:
        if variant not in known:
            raise NoSuchTrace(f"The run has no variant {variant!r}. {did_you_mean(variant, known)}")
        samples_sent = [
            sample
            for sample in samples
            if (sample.variant, sample.endpoint) == (variant, REQUESTS[request_name])
            and sample.latency_ms is not None
            and sample.phase != WARM_UP
        ]
        samples_with_fault = [sample for sample in samples_sent if sample.phase == _FAULT_PHASE]
        if not samples_sent:
            raise NoSuchTrace(f"The run sent no {REQUESTS[request_name]} to {variant}.")
        slowest_sample = max(
            samples_with_fault or samples_sent, key=lambda sample: sample.latency_ms or 0.0
        )
        phase = f" of {_FAULT_PHASE}" if samples_with_fault else ""
        reason = f"the slowest of {len(samples_with_fault or samples_sent)}{phase}"
        traces.append(_trace_of_sample(slowest_sample, folder, started_s, reason))
    return traces


def trace_by_id(folder: Path, trace_id: str) -> list[RequestTrace]:
    """The trace with this id, from `samples.csv`. Raises NoSuchTrace if there is none."""
    samples, started_s = _load_run(folder)
    matches = [
        sample
        for sample in samples
        if sample.trace == trace_id.lower() and sample.latency_ms is not None
    ]
    if not matches:
        raise NoSuchTrace(
            f"No request of this run has the trace id {trace_id!r}. The last column of "
            f"{folder / 'samples.csv'} has one for each request that was sent."
        )
    return [
        _trace_of_sample(sample, folder, started_s, f"phase {sample.phase}") for sample in matches
    ]


def all_traces(folder: Path) -> Iterator[RequestTrace]:
    """The traces of all requests that were sent in a run, of each of its parts if it has several.

    Raises NoSuchTrace.
    """
    parts = sorted({file.parent for file in folder.rglob("load.json")})
    for part in parts or [folder]:
        samples, started_s = _load_run(part)
        records: dict[str, list[dict[str, Any]]] = {}
        for variant in dict.fromkeys(sample.variant for sample in samples):
            for record in read_spans(part, variant):
                records.setdefault(record["trace"], []).append(record)
        for sample in samples:
            if sample.latency_ms is not None:
                found = records.get(sample.trace, [])
                yield _join_trace(sample, found, started_s, f"phase {sample.phase}")


def _trace_of_sample(sample: Sample, folder: Path, started_s: float, reason: str) -> RequestTrace:
    return _join_trace(
        sample, read_spans(folder, sample.variant, {sample.trace}), started_s, reason
    )


def _join_trace(
    sample: Sample, records: Iterable[dict[str, Any]], started_s: float, reason: str
) -> RequestTrace:
    endpoint = (ENDPOINTS | FOLLOW_UPS)[sample.endpoint]
    request = f"{endpoint.method} {endpoint.path}"
    intended_unix_s = started_s + sample.intended_s
    root = client_span(
        sample.trace, request, intended_unix_s, sample.latency_ms or 0.0, sample.error
    )
    return RequestTrace(
        variant=sample.variant,
        trace_id=sample.trace,
        request=request,
        outcome=sample.error or str(sample.status),
        steps=join_spans(root, records),
        visible_ms=sample.visible_ms,
        reason=reason,
    )


def _load_run(folder: Path) -> tuple[list[Sample], float]:
    """The samples, and the start of the load in seconds since 1970. Raises NoSuchTrace."""
    if run_names := sorted(
        run.name for run in folder.glob("[rv]*-*/") if (run / "load.json").exists()
    ):
        raise NoSuchTrace(
            f"{folder} holds several runs, each with its own start. "
            f"Name one of them: {folder / run_names[0]}"
        )
    try:
        samples = read_samples(folder / "samples.csv")
        started_s = float(json.loads((folder / "load.json").read_text("utf-8"))["started_at_unix"])
    except OSError as error:
        raise NoSuchTrace(
            f"{folder} is no run's folder: {Path(error.filename).name}: {error.strerror}. "
            "`lab run` prints the folder of a run when it ends."
        ) from None
    except (BadSamples, KeyError, ValueError, TypeError):
        raise NoSuchTrace(
            f"{folder} is from a version of the lab that wrote no trace ids. Run it again."
        ) from None
    return samples, started_s
