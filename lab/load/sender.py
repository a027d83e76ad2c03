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
from lab.load.plan import Service, Variant
from lab.load.samples import Sample, text_of, token
from lab.load.schedule import ORANGE, Arrival, Timeline
from lab.load.visibility import Watcher
from lab.support.http_client import Client, Done, Origin, Outcome

# ── Client retries

_WAS_IT_DONE = ("timeout", "reset")


@dataclass(frozen=True, slots=True)
class Again:
    """A client that retries writes with an unknown outcome, up to `retries` times.

    `timeout_s`: timeout of each retry, in seconds.
    """

    client: Client
    retries: int
    timeout_s: float

    def send(
        self,
        method: str,
        origin: Origin,
        path: str,
        body: bytes,
        give_up_at_s: float,
        done: Done,
        extra_headers: Mapping[str, str],
    ) -> bool:
        """As `Client.send`. `done` gets the last outcome, with the number of retries."""
        if method == "GET":
            return self.client.send(method, origin, path, body, give_up_at_s, done, extra_headers)
        keyed = {**extra_headers, headers.IDEMPOTENCY_KEY: f'"{secrets.token_hex(16)}"'}
        unknown: list[Outcome] = []

        def attempt(give_up_at_s: float) -> bool:
            return self.client.send(method, origin, path, body, give_up_at_s, answered, keyed)

        def answered(outcome: Outcome) -> None:
            if outcome.error == "no_socket" and unknown:
                done(unknown[-1])  # an earlier attempt was sent, so report its outcome
                return
            outcome = outcome._replace(retried=len(unknown))
            if outcome.error in _WAS_IT_DONE and len(unknown) < self.retries:
                unknown.append(outcome)
                if attempt(perf_counter() + self.timeout_s):
                    return
            done(outcome)

        return attempt(give_up_at_s)


# ── The sender


@dataclass(frozen=True)
class Endpoint:
    """How an action is sent: the request, the JSON key of its text, the status of success."""

    method: str
    service: Service
    path: str
    text_key: str
    good_status: int


ENDPOINTS = {
    "read_feed": Endpoint("GET", "query", "/feed?limit=20", "", 200),
    "create_post": Endpoint("POST", "posts", "/posts", "title", 201),
    "create_comment": Endpoint("POST", "comments", "/posts/{post_id}/comments", "content", 201),
}

AT_ONCE = {
    "comment_at_once": ENDPOINTS["create_comment"],
    "look_at_once": ENDPOINTS["read_feed"],
}
"""What an author does as soon as the 201 for a post arrives; no reader is that fast."""

_PENDING = b'"pending"'  # Searched, not parsed: no text of the load contains it.
_FIRST_AT_ONCE = 900_000  # token numbers that no arrival of the schedule has


@dataclass
class Counts:
    """Running totals for the progress lines; the results come from the samples."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    dropped: int = 0
    in_flight: int = 0


@dataclass
class Sender:
    """Sends one variant's arrivals; `index` is the variant's number in the plan."""

    index: int
    variant: Variant
    client: Client
    watcher: Watcher
    timeline: Timeline
    started_at_s: float
    timeout_s: float
    max_in_flight: int
    at_once: tuple[str, ...] = ()
    retries: int = 0
    orange: float = ORANGE
    samples: list[Sample] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._origins: dict[str, Origin] = {
            name: self.variant.origin(endpoint.service)
            for name, endpoint in (ENDPOINTS | AT_ONCE).items()
        }
        self._followed = 0
        self._again = Again(self.client, self.retries, self.timeout_s)

    def fire(
        self,
        number: int,
        arrival: Arrival,
        intended_s: float,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Send arrival `number` of the schedule now; its intended send time is `intended_s`.

        `then` is called when it has been answered, has failed, or could not be sent.
        """
        endpoint = ENDPOINTS[arrival.action]
        due_s = self.started_at_s + intended_s
        sample = Sample(
            variant=self.variant.name,
            phase=self.timeline.phase_at(intended_s),
            endpoint=arrival.action,
            intended_s=intended_s,
            lag_ms=(perf_counter() - due_s) * 1000,
        )
        body = b""
        if endpoint.text_key:
            sample.token = token(self.index, number)
            text = text_of(arrival, sample.token, self.orange)
            body = json.dumps({endpoint.text_key: text}).encode()
        if arrival.action == "create_comment":
            sample.post_id = self.watcher.target(arrival.rank)
        self._send(sample, endpoint, body, then)

    def _follow(self, post: Sample, action: str) -> None:
        """Send a follow-up to a post that has just been acknowledged."""
        endpoint = AT_ONCE[action]
        now_s = perf_counter() - self.started_at_s
        sample = Sample(
            variant=self.variant.name,
            phase=self.timeline.phase_at(now_s),
            endpoint=action,
            intended_s=now_s,
            lag_ms=0.0,
            post_id=post.id,
        )
        body = b""
        if endpoint.text_key:
            self._followed += 1
            sample.token = token(self.index, _FIRST_AT_ONCE + self._followed)
            body = json.dumps({endpoint.text_key: f"at once {sample.token}"}).encode()
        self._send(sample, endpoint, body)

    def _send(
        self,
        sample: Sample,
        endpoint: Endpoint,
        body: bytes,
        then: Callable[[], None] | None = None,
    ) -> None:
        self.samples.append(sample)
        counts = self.counts
        sample.trace = secrets.token_hex(16)
        sample.dropped = counts.in_flight >= self.max_in_flight or not self._again.send(
            endpoint.method,
            self._origins[sample.endpoint],
            endpoint.path.format(post_id=quote(sample.post_id, safe="")),
            body,
            self.started_at_s + sample.intended_s + self.timeout_s,
            partial(self._answered, sample, endpoint.good_status, then),
            {"traceparent": f"00-{sample.trace}-{sample.trace[:16]}-01"},
        )
        if sample.dropped:
            counts.dropped += 1
            if then:
                then()
        else:
            counts.sent += 1
            counts.in_flight += 1

    def close(self) -> None:
        """Stop sending and probing. A request in progress has no outcome; its error is
        `interrupted`."""
        self.watcher.stop()
        self.client.close()
        for sample in self.samples:
            if not (sample.ok or sample.error or sample.dropped):
                sample.error = "interrupted"

    def _answered(
        self, sample: Sample, good_status: int, then: Callable[[], None] | None, outcome: Outcome
    ) -> None:
        self.counts.in_flight -= 1
        if then:
            then()
        if outcome.error == "no_socket":
            # No free socket on the client's side: this is not the server's fault.
            sample.dropped = True
            self.counts.sent -= 1
            self.counts.dropped += 1
            return
        sample.retried = outcome.retried
        sample.latency_ms = (outcome.at_s - self.started_at_s - sample.intended_s) * 1000
        sample.status = outcome.status
        if outcome.status == good_status:
            self._good(sample, outcome)
        else:
            sample.error = outcome.error or f"http_{outcome.status}"
            # Never after a retry: an earlier attempt may have been done.
            sample.definite = not outcome.retried and (
                outcome.error == "refused" or _says_definite(outcome.body)
            )
        if sample.ok:
            self.counts.ok += 1
        else:
            self.counts.failed += 1

    def _good(self, sample: Sample, outcome: Outcome) -> None:
        sample.decided = _PENDING not in outcome.body
        if sample.endpoint == "read_feed":
            sample.ok, sample.degraded = True, outcome.degraded
            sent_at_s = self.started_at_s + sample.intended_s + sample.lag_ms / 1000
            self.watcher.glance(outcome.body, outcome.at_s, sent_at_s, outcome.degraded)
        elif sample.endpoint == "look_at_once":
            sample.ok = sample.post_id.encode() in outcome.body
            sample.error = "" if sample.ok else "not_there"
        elif new_id := _id_in(outcome.body):
            sample.ok, sample.id = True, new_id
            self.watcher.acknowledged(sample)
            if sample.endpoint == "create_post":
                for action in self.at_once:
                    self._follow(sample, action)
        else:
            sample.error = "bad_answer"  # a 201 that doesn't say what was created


def _id_in(body: bytes) -> str:
    created = _json_object(body).get("id")
    return created if isinstance(created, str) else ""


def _says_definite(body: bytes) -> bool:
    """Whether a problem document (RFC 9457, extended) says that the action was not done."""
    return _json_object(body).get("definite") is True


def _json_object(body: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
