"""Joins the spans of several processes into one trace.

Each process writes its own spans, with the trace id and the id of the parent span. An outgoing call
is only noted in the caller's span and has no id. So this module matches it with the callee's span:
same parent, the called service, and a start after the call.

Timestamps are the machine's wall clock, which all its processes share. Each process measures
durations on a monotonic clock.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

SpanKind = Literal["client", "server", "consumer"]
CLIENT = "client"


@dataclass(frozen=True)
class Span:
    """A span: work of one process on one request or event.

    `kind` is OpenTelemetry's: a client calls, a server responds, a consumer applies an event.
    `start_s` and `published_s` (the time of the consumed event) are seconds since 1970. `depth` is
    the number of ancestors; `callee` belongs to a client; `error` and `tracestate` are "" without
    one.
    """

    span_id: str
    parent_id: str
    service: str
    kind: SpanKind
    name: str
    start_s: float
    duration_ms: float
    depth: int = 0
    callee: str = ""
    error: str = ""
    published_s: float | None = None
    tracestate: str = ""
    attributes: dict[str, int | float | str] = field(default_factory=dict)
    """Further figures: `status`; `sequence`; `queued_ms`, the wait for a worker; `held_ms`, the
    delay by an injected latency."""

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_ms / 1_000

    def attribute(self, name: str) -> float:
        """A figure of `attributes`; 0 if it is missing."""
        return float(self.attributes.get(name, 0.0))


@dataclass(frozen=True)
class RequestTrace:
    """The trace of one request: spans with parents before children; `steps[0]` is the client's.

    `answered_ms` and `visible_ms` (until the feed showed the write; None for a read, or if it never
    did) count from the start of the client's span. `reason`: why this request was chosen.
    """

    variant: str
    trace_id: str
    request: str
    outcome: str
    steps: tuple[Span, ...]
    visible_ms: float | None = None
    reason: str = ""

    @property
    def answered_ms(self) -> float:
        return self.steps[0].duration_ms

    @property
    def start_s(self) -> float:
        return self.steps[0].start_s

    def offset_ms(self, time_s: float) -> float:
        """A time in seconds since 1970 as milliseconds from the start of the client's span."""
        return (time_s - self.start_s) * 1_000

    @property
    def total_ms(self) -> float:
        """The length of the trace: until the last span ends, or the write becomes visible."""
        ends = (self.offset_ms(span.end_s) for span in self.steps)
        return max(*ends, self.visible_ms or 0.0)

    def to_data(self) -> dict[str, Any]:
        """The trace as JSON data; times are in ms from the start of the client's span."""
        return {
            "variant": self.variant,
            "trace": self.trace_id,
            "request": self.request,
            "outcome": self.outcome,
            "why": self.reason,
            "started_unix": self.start_s,
            "answered_ms": round(self.answered_ms, 3),
            "visible_ms": None if self.visible_ms is None else round(self.visible_ms, 3),
            "spans": [self._span_data(span) for span in self.steps],
        }

    def _span_data(self, span: Span) -> dict[str, Any]:
        return {
            "span": span.span_id,
            "parent": span.parent_id,
            "depth": span.depth,
            "service": span.service,
            "kind": span.kind,
            "name": span.name,
            "told_ms": None
            if span.published_s is None
            else round(self.offset_ms(span.published_s), 3),
            "at_ms": round(self.offset_ms(span.start_s), 3),
            "ms": round(span.duration_ms, 3),
            "failed": span.error,
            **span.attributes,
        }


def read_spans(
    folder: Path, variant: str, trace_ids: set[str] | None = None
) -> list[dict[str, Any]]:
    """The spans of some traces, or of all, that the processes of a variant wrote, in no order.

    Incomplete lines, which a killed process can leave, are skipped.
    """
    found = []
    for file in sorted(folder.glob(f"{variant}.*.spans.ndjson")):
        for text in file.read_text("utf-8").splitlines():
            # Parsing JSON costs more than this search.
            wanted = trace_ids is None or any(trace in text for trace in trace_ids)
            if wanted and text.endswith("}"):
                found.append(json.loads(text))
    return [line for line in found if trace_ids is None or line["trace"] in trace_ids]


def join_spans(root: Span, records: Iterable[dict[str, Any]]) -> tuple[Span, ...]:
    """All spans of the trace: servers below the calls to them, consumers below the publishers.

    A span whose parent is missing (its process was killed) becomes a child of `root`.
    """
    spans = [root]
    for record in records:
        calls = _parse_calls(record)
        spans += [_parse_span(record), *calls]
    by_id = {span.span_id: span for span in spans}
    children: dict[str, list[Span]] = {}
    for span in spans[1:]:
        parent = _find_call(span, spans) or by_id.get(span.parent_id, root)
        children.setdefault(parent.span_id, []).append(replace(span, parent_id=parent.span_id))
    return tuple(_depth_first(root, children))


def _depth_first(span: Span, children: dict[str, list[Span]]) -> Iterable[Span]:
    """A span and its descendants: at each level first calls and servers, then consumers."""
    yield span
    for child in sorted(
        children.get(span.span_id, ()), key=lambda span: (span.kind == "consumer", span.start_s)
    ):
        yield from _depth_first(replace(child, depth=span.depth + 1), children)


def _find_call(span: Span, spans: Sequence[Span]) -> Span | None:
    """The call that a server span answers: the last one to its service before it began."""
    if span.kind != "server":
        return None
    calls = [
        call
        for call in spans
        if call.kind == "client"
        and (call.parent_id, call.callee) == (span.parent_id, span.service)
        and call.start_s <= span.start_s
    ]
    return max(calls, key=lambda call: call.start_s, default=None)


def _parse_span(record: dict[str, Any]) -> Span:
    status = record.get("status", 0)
    attribute_names = ("status", "sequence", "queued_ms", "held_ms")
    return Span(
        span_id=record["span"],
        parent_id=record["parent"],
        service=record["service"],
        kind=record["kind"],
        name=record["name"],
        start_s=record["at"],
        duration_ms=record["ms"],
        error=f"http_{status}" if status >= 500 else "",
        published_s=_parse_time(record.get("told")),
        tracestate=record.get("state", ""),
        attributes={name: record[name] for name in attribute_names if name in record},
    )


def _parse_calls(record: dict[str, Any]) -> list[Span]:
    return [
        Span(
            span_id=hashlib.sha256(f"{record['span']}/{number}".encode()).hexdigest()[:16],
            parent_id=record["span"],
            service=record["service"],
            kind="client",
            name=note["what"],
            start_s=note["at"],
            duration_ms=note["ms"],
            callee=note["whom"],
            error=note.get("failed", ""),
        )
        for number, note in enumerate(record.get("asked", ()))
    ]


def _parse_time(text: object) -> float | None:
    """An event's time as seconds since 1970; None if an external event has no valid time."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
