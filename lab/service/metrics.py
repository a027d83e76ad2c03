"""Metrics of a process for Prometheus, in its text format 0.0.4, at `GET /metrics`.

(prometheus.io/docs/instrumenting/exposition_formats)

A request costs two readings of a clock and a few additions, all in the event loop. Everything else
is read when somebody asks: the state that the lab's control client reads, and the faults. Routes
are named by their pattern, so that an id in a path makes no new series.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lab.service.counters import BUCKETS_S, RequestCounters

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STATE_METRICS = {
    "under_way": ("lab_requests_under_way", "gauge", "Requests in workers or waiting for one."),
    "workers": ("lab_workers", "gauge", "Worker threads."),
    "given_up": ("lab_requests_given_up_total", "counter", "Requests whose deadline was over."),
    "untold": ("lab_outbox_events", "gauge", "Events in the outbox that are not published yet."),
    "offset": ("lab_consumer_offset", "gauge", "The offset of the last event that was applied."),
    "applied": ("lab_consumer_applied_total", "counter", "Events that were applied."),
    "passed_over": ("lab_consumer_passed_over_total", "counter", "Events that were known already."),
    "dead": ("lab_consumer_dead_letters", "gauge", "Events that were laid aside."),
    "head": ("lab_bus_offset", "gauge", "The offset of the newest event on the bus."),
}
"""By key of a process's state: name, type and help. The lag of a consumer is `lab_bus_offset` of
the bus minus its `lab_consumer_offset`."""
_BREAKER_STATES = ("closed", "open", "half-open")

Sample = tuple[str, Mapping[str, object], float]
"""Name with its suffix, labels, value."""


def _request_families(requests: RequestCounters) -> Iterator[str]:
    yield from _family(
        "lab_requests_total",
        "counter",
        "Requests that were answered.",
        (
            ("lab_requests_total", {"method": method, "route": route, "status": status}, count)
            for (method, route, status), count in requests.answers.items()
        ),
    )
    yield from _family(
        "lab_request_seconds",
        "histogram",
        "From the request's arrival to its response, with injected latency.",
        (
            sample
            for (method, route), durations in requests.durations.items()
            for sample in _histogram({"method": method, "route": route}, durations)
        ),
    )


def _histogram(labels: Mapping[str, object], found: list[float]) -> Iterator[Sample]:
    total = 0.0
    ends = [*map(str, BUCKETS_S), "+Inf"]
    for end, count in zip(ends, found, strict=False):
        total += count
        yield "lab_request_seconds_bucket", {**labels, "le": end}, total
    yield "lab_request_seconds_sum", labels, found[-1]
    yield "lab_request_seconds_count", labels, total


def render(
    requests: RequestCounters,
    state: Mapping[str, Any],
    faults: Iterable[tuple[str, str, str]],
    *,
    ready: bool,
) -> str:
    """The whole page. `faults`: name, kind and target of each active fault."""
    lines = [*_request_families(requests)]
    lines += _family(
        "lab_ready", "gauge", "Whether the process is ready.", [("lab_ready", {}, ready)]
    )
    for key, (name, kind, text) in _STATE_METRICS.items():
        value = state.get(key)
        if isinstance(value, int | float):
            lines += _family(name, kind, text, [(name, {}, value)])
    if "stuck" in state:
        name, is_stuck = "lab_consumer_stuck", state["stuck"] is not None
        lines += _family(
            name, "gauge", "Whether an event can't be applied.", [(name, {}, is_stuck)]
        )
    lines += _family(
        "lab_fault_active",
        "gauge",
        "1 for each fault that is active in this process.",
        (
            ("lab_fault_active", {"name": name, "kind": kind, "target": target}, 1)
            for name, kind, target in faults
        ),
    )
    lines += _family(
        "lab_calls_total",
        "counter",
        "Calls of other services, by callee and outcome.",
        (
            ("lab_calls_total", {"callee": callee, "outcome": outcome}, count)
            for callee, counts in state.get("asks", {}).items()
            for outcome, count in counts.items()
        ),
    )
    lines += _family(
        "lab_breaker_state",
        "gauge",
        "1 for the state that a circuit breaker is in.",
        (
            ("lab_breaker_state", {"callee": callee, "state": each}, each == current)
            for callee, current in state.get("breakers", {}).items()
            for each in _BREAKER_STATES
        ),
    )
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of a metric; none without samples."""
    lines = [f"{sample}{_labels(labels)} {_number(value)}" for sample, labels, value in samples]
    if lines:
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} {kind}"
        yield from lines


def _number(value: float) -> str:
    """A whole number with all its digits: `:g` would round an offset of a million."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    escaped = (
        (name, str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
