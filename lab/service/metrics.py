"""Metrics of a process for Prometheus, at `GET /metrics`.

Requests are counted in the event loop. Everything else is read when somebody asks: the state that
the lab's control client reads, and the faults.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lab.support.exposition import RequestCounters, family

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


def render(
    requests: RequestCounters,
    state: Mapping[str, Any],
    faults: Iterable[tuple[str, str, str]],
    *,
    ready: bool,
) -> str:
    """The whole page. `faults`: name, kind and target of each active fault."""
    total, seconds = "lab_requests_total", "lab_request_seconds"
    lines = [
        *family(total, "counter", "Requests that were answered.", requests.totals(total, {})),
        *family(
            seconds,
            "histogram",
            "From the request's arrival to its response, with injected latency.",
            requests.histograms(seconds, {}),
        ),
    ]
    lines += family(
        "lab_ready", "gauge", "Whether the process is ready.", [("lab_ready", {}, ready)]
    )
    for key, (name, kind, text) in _STATE_METRICS.items():
        value = state.get(key)
        if isinstance(value, int | float):
            lines += family(name, kind, text, [(name, {}, value)])
    if "stuck" in state:
        name, is_stuck = "lab_consumer_stuck", state["stuck"] is not None
        lines += family(name, "gauge", "Whether an event can't be applied.", [(name, {}, is_stuck)])
    lines += family(
        "lab_fault_active",
        "gauge",
        "1 for each fault that is active in this process.",
        (
            ("lab_fault_active", {"name": name, "kind": kind, "target": target}, 1)
            for name, kind, target in faults
        ),
    )
    lines += family(
        "lab_calls_total",
        "counter",
        "Calls of other services, by callee and outcome.",
        (
            ("lab_calls_total", {"callee": callee, "outcome": outcome}, count)
            for callee, counts in state.get("asks", {}).items()
            for outcome, count in counts.items()
        ),
    )
    lines += family(
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
