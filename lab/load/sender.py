"""One variant's share of the load: turns arrivals into requests, and answers into samples.

Clients may retry a write. After a refused connection the client knows that nothing was done. After
a timeout or a connection that broke, it knows nothing (*the two generals*: Gray, Notes on Data
Base Operating Systems, 1978, page 465). Most clients then send the write again, so it may be done
twice. All they can do is declare both to be the same request: each write carries an
`Idempotency-Key` and keeps it in every retry. What the key does is up to the server.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from urllib.parse import quote

from lab.domain import headers
from lab.load.anomalies import READERS
from lab.load.plan import EntryService, PlanVariant
from lab.load.samples import Sample, build_text, make_token
from lab.load.schedule import REJECTED_SHARE, Arrival, PhaseClock
from lab.load.visibility import VisibilityProbe
from lab.support.exposition import Histogram, RequestCounters
from lab.support.http_client import HttpClient, HttpOrigin, HttpResult, ResultCallback

# ── Client retries

_UNKNOWN_OUTCOMES = ("timeout", "reset")


@dataclass(frozen=True, slots=True)
class RetryingClient:
    """A client that retries writes with an unknown outcome, up to `retries` times.

    `timeout_s`: timeout of each retry, in seconds.
    """

    client: HttpClient
    retries: int
    timeout_s: float

    def send(
        self,
        method: str,
        origin: HttpOrigin,
        path: str,
        body: bytes,
        give_up_at_s: float,
        on_done: ResultCallback,
        extra_headers: Mapping[str, str],
    ) -> bool:
        """As `HttpClient.send`. `on_done` gets the last outcome, with the number of retries."""
        if method == "GET":
            return self.client.send(
                method, origin, path, body, give_up_at_s, on_done, extra_headers
            )
        keyed_headers = {**extra_headers, headers.IDEMPOTENCY_KEY: f'"{secrets.token_hex(16)}"'}
        unknown_outcomes: list[HttpResult] = []

        def attempt(give_up_at_s: float) -> bool:
            return self.client.send(
                method, origin, path, body, give_up_at_s, on_outcome, keyed_headers
            )

        def on_outcome(outcome: HttpResult) -> None:
            if outcome.error == "no_socket" and unknown_outcomes:
                on_done(unknown_outcomes[-1])  # an earlier attempt was sent, so report its outcome
                return
            outcome = outcome._replace(retried=len(unknown_outcomes))
            if outcome.error in _UNKNOWN_OUTCOMES and len(unknown_outcomes) < self.retries:
                unknown_outcomes.append(outcome)
                if attempt(perf_counter() + self.timeout_s):
                    return
            on_done(outcome)

        return attempt(give_up_at_s)


# ── The sender


@dataclass(frozen=True)
class EndpointRequest:
    """How an action is sent: the request, the JSON key of its text, the status of success."""

    method: str
    service: EntryService
    path: str
    text_key: str
    success_status: int


ENDPOINTS = {
    "read_feed": EndpointRequest("GET", "query", "/feed?limit=20", "", 200),
    "create_post": EndpointRequest("POST", "posts", "/posts", "title", 201),
    "create_comment": EndpointRequest(
        "POST", "comments", "/posts/{post_id}/comments", "content", 201
    ),
}

FOLLOW_UPS = {
    "comment_at_once": ENDPOINTS["create_comment"],
    "look_at_once": ENDPOINTS["read_feed"],
}
"""What an author does as soon as the 201 for a post arrives; no reader is that fast."""

_ALL_ENDPOINTS = ENDPOINTS | FOLLOW_UPS

_PENDING = b'"pending"'  # Searched, not parsed: no text of the load contains it.
_FIRST_FOLLOW_UP = 900_000  # token numbers that no arrival of the schedule has


@dataclass
class SendCounts:
    """Running totals for the progress lines; the results come from the samples."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    dropped: int = 0
    in_flight: int = 0


@dataclass
class Sender:
    """Sends one variant's arrivals; `index` is the variant's number in the plan. `requests` and
    `lateness` are for Prometheus; the results come from the samples."""

    index: int
    variant: PlanVariant
    client: HttpClient
    probe: VisibilityProbe
    phase_clock: PhaseClock
    started_at_s: float
    timeout_s: float
    max_in_flight: int
    follow_ups: tuple[str, ...] = ()
    retries: int = 0
    rejected_share: float = REJECTED_SHARE
    samples: list[Sample] = field(default_factory=list)
    counts: SendCounts = field(default_factory=SendCounts)
    requests: RequestCounters = field(default_factory=RequestCounters)
    lateness: Histogram = field(default_factory=Histogram)

    def __post_init__(self) -> None:
        self._origins: dict[str, HttpOrigin] = {
            name: self.variant.origin(endpoint.service) for name, endpoint in _ALL_ENDPOINTS.items()
        }
        self._follow_up_count = 0
        group = self.variant.token_group
        self._token_group = self.index if group is None else group
        self._retrying_client = RetryingClient(self.client, self.retries, self.timeout_s)

    def fire(
        self,
        number: int,
        arrival: Arrival,
        intended_s: float,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        """Send arrival `number` of the schedule now; its intended send time is `intended_s`.

        `on_done` is called when it has been answered, has failed, or could not be sent.
        """
        endpoint = ENDPOINTS[arrival.action]
        due_s = self.started_at_s + intended_s
        sample = Sample(
            variant=self.variant.name,
            phase=self.phase_clock.phase_at(intended_s),
            endpoint=arrival.action,
            intended_s=intended_s,
            lag_ms=(perf_counter() - due_s) * 1000,
        )
        body = b""
        if endpoint.text_key:
            sample.token = make_token(self._token_group, number)
            sample.text = build_text(arrival, sample.token, self.rejected_share)
            body = json.dumps({endpoint.text_key: sample.text}).encode()
        else:
            sample.reader = 1 + number % READERS
        if arrival.action == "create_comment":
            sample.post_id = self.probe.pick_post(arrival.rank)
        self._send(sample, endpoint, body, on_done)

    def _send_follow_up(self, post: Sample, action: str) -> None:
        """Send a follow-up to a post that has just been acknowledged."""
        endpoint = FOLLOW_UPS[action]
        now_s = perf_counter() - self.started_at_s
        sample = Sample(
            variant=self.variant.name,
            phase=self.phase_clock.phase_at(now_s),
            endpoint=action,
            intended_s=now_s,
            lag_ms=0.0,
            post_id=post.id,
        )
        body = b""
        if endpoint.text_key:
            self._follow_up_count += 1
            sample.token = make_token(self._token_group, _FIRST_FOLLOW_UP + self._follow_up_count)
            sample.text = f"at once {sample.token}"
            body = json.dumps({endpoint.text_key: sample.text}).encode()
        self._send(sample, endpoint, body)

    def _send(
        self,
        sample: Sample,
        endpoint: EndpointRequest,
        body: bytes,
        on_done: Callable[[], None] | None = None,
    ) -> None:
        self.samples.append(sample)
        counts = self.counts
        sample.trace = secrets.token_hex(16)
        sample.dropped = counts.in_flight >= self.max_in_flight or not self._retrying_client.send(
            endpoint.method,
            self._origins[sample.endpoint],
            endpoint.path.format(post_id=quote(sample.post_id, safe="")),
            body,
            self.started_at_s + sample.intended_s + self.timeout_s,
            partial(self._on_outcome, sample, endpoint.success_status, on_done),
            {"traceparent": f"00-{sample.trace}-{sample.trace[:16]}-01"},
        )
        if sample.dropped:
            counts.dropped += 1
            if on_done:
                on_done()
        else:
            counts.sent += 1
            counts.in_flight += 1
            self.lateness.observe(sample.lag_ms / 1_000)

    def close(self) -> None:
        """Stop sending and probing. A request in progress has no outcome; its error is
        `interrupted`."""
        self.probe.stop()
        self.client.close()
        for sample in self.samples:
            if not (sample.ok or sample.error or sample.dropped):
                sample.error = "interrupted"

    def _on_outcome(
        self,
        sample: Sample,
        success_status: int,
        on_done: Callable[[], None] | None,
        outcome: HttpResult,
    ) -> None:
        self.counts.in_flight -= 1
        if on_done:
            on_done()
        if outcome.error == "no_socket":
            # No free socket on the client's side: this is not the server's fault.
            sample.dropped = True
            self.counts.sent -= 1
            self.counts.dropped += 1
            return
        sample.retried = outcome.retried
        sample.latency_ms = (outcome.at_s - self.started_at_s - sample.intended_s) * 1000
        endpoint = _ALL_ENDPOINTS[sample.endpoint]
        route, status = endpoint.path.partition("?")[0], outcome.status or outcome.error
        self.requests.observe(endpoint.method, route, status, sample.latency_ms / 1_000)
        sample.status = outcome.status
        if outcome.status == success_status:
            self._record_success(sample, outcome)
        else:
            sample.error = outcome.error or f"http_{outcome.status}"
            # Never after a retry: an earlier attempt may have been done.
            sample.definite = not outcome.retried and (
                outcome.error == "refused" or _is_definite(outcome.body)
            )
        if sample.ok:
            self.counts.ok += 1
        else:
            self.counts.failed += 1

    def _record_success(self, sample: Sample, outcome: HttpResult) -> None:
        sample.decided = _PENDING not in outcome.body
        if sample.endpoint == "read_feed":
            sample.ok, sample.degraded = True, outcome.degraded
            sent_at_s = self.started_at_s + sample.intended_s + sample.lag_ms / 1000
            sample.stale = self.probe.is_stale(outcome.body, sent_at_s, outcome.degraded)
            self.probe.observe(
                outcome.body, outcome.at_s, sent_at_s, outcome.degraded, sample.reader
            )
        elif sample.endpoint == "look_at_once":
            sample.ok = sample.post_id.encode() in outcome.body
            sample.error = "" if sample.ok else "not_there"
        elif new_id := _created_id(outcome.body):
            sample.ok, sample.id = True, new_id
            self.probe.track_write(sample)
            if sample.endpoint == "create_post":
                for action in self.follow_ups:
                    self._send_follow_up(sample, action)
        else:
            sample.error = "bad_answer"  # a 201 that doesn't say what was created


def _created_id(body: bytes) -> str:
    created = _json_object(body).get("id")
    return created if isinstance(created, str) else ""


def _is_definite(body: bytes) -> bool:
    """Whether a problem document (RFC 9457, extended) says that the action was not done."""
    return _json_object(body).get("definite") is True


def _json_object(body: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
