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

Kind = Literal["client", "server", "consumer"]
CLIENT = "client"


@dataclass(frozen=True)
class Step:
    """A span: work of one process on one request or event.

    `kind` is OpenTelemetry's: a client calls, a server responds, a consumer applies an event.
    `at_s` and `told_s` (the time of the consumed event) are seconds since 1970. `depth` is the
    number of ancestors; `whom` is the callee of a client; `failed` is the error, or "".
    """

    span: str
    parent: str
    service: str
    kind: Kind
    name: str
    at_s: float
    ms: float
    depth: int = 0
    whom: str = ""
    failed: str = ""
    told_s: float | None = None
    notes: dict[str, int | float | str] = field(default_factory=dict)
    """Further figures: `status`; `sequence`; `queued_ms`, the wait for a worker; `held_ms`, the
    delay by an injected latency."""

    @property
    def end_s(self) -> float:
        return self.at_s + self.ms / 1_000

    def noted(self, name: str) -> float:
        """A figure of `notes`; 0 if it is missing."""
        return float(self.notes.get(name, 0.0))


@dataclass(frozen=True)
class Story:
    """The trace of one request: spans with parents before children; `steps[0]` is the client's.

    `answered_ms` and `visible_ms` (until the feed showed the write; None for a read, or if it never
    did) count from the start of the client's span. `why`: why this request was chosen.
    """

    variant: str
    trace: str
    request: str
    outcome: str
    steps: tuple[Step, ...]
    visible_ms: float | None = None
    why: str = ""

    @property
    def answered_ms(self) -> float:
        return self.steps[0].ms

    @property
    def begun_s(self) -> float:
        return self.steps[0].at_s

    def ms(self, moment_s: float) -> float:
        """A time in seconds since 1970 as milliseconds from the start of the client's span."""
        return (moment_s - self.begun_s) * 1_000

    @property
    def whole_ms(self) -> float:
        """The length of the trace: until the last span ends, or the write becomes visible."""
        ends = (self.ms(step.end_s) for step in self.steps)
        return max(*ends, self.visible_ms or 0.0)

    def to_data(self) -> dict[str, Any]:
        """The trace as JSON data; times are in ms from the start of the client's span."""
        return {
            "variant": self.variant,
            "trace": self.trace,
            "request": self.request,
            "outcome": self.outcome,
            "why": self.why,
            "started_unix": self.begun_s,
            "answered_ms": round(self.answered_ms, 3),
            "visible_ms": None if self.visible_ms is None else round(self.visible_ms, 3),
            "spans": [self._step_data(step) for step in self.steps],
        }

    def _step_data(self, step: Step) -> dict[str, Any]:
        return {
            "span": step.span,
            "parent": step.parent,
            "depth": step.depth,
            "service": step.service,
            "kind": step.kind,
            "name": step.name,
            "told_ms": None if step.told_s is None else round(self.ms(step.told_s), 3),
            "at_ms": round(self.ms(step.at_s), 3),
            "ms": round(step.ms, 3),
            "failed": step.failed,
            **step.notes,
        }


def read_spans(folder: Path, variant: str, traces: set[str]) -> list[dict[str, Any]]:
    """The spans of some traces that the processes of a variant wrote, in no particular order.

    Incomplete lines, which a killed process can leave, are skipped.
    """
    found = []
    for file in sorted(folder.glob(f"{variant}.*.spans.ndjson")):
        for text in file.read_text("utf-8").splitlines():
            # Parsing JSON costs more than this search.
            if any(trace in text for trace in traces) and text.endswith("}"):
                found.append(json.loads(text))
    return [line for line in found if line["trace"] in traces]


def joined(root: Step, lines: Iterable[dict[str, Any]]) -> tuple[Step, ...]:
    """All spans of the trace: servers below the calls to them, consumers below the publishers.

    A span whose parent is missing (its process was killed) becomes a child of `root`.
    """
    steps = [root]
    for line in lines:
        asked = _asked(line)
        steps += [_step(line), *asked]
    by_id = {step.span: step for step in steps}
    children: dict[str, list[Step]] = {}
    for step in steps[1:]:
        parent = _question(step, steps) or by_id.get(step.parent, root)
        children.setdefault(parent.span, []).append(replace(step, parent=parent.span))
    return tuple(_in_order(root, children))


def _in_order(step: Step, children: dict[str, list[Step]]) -> Iterable[Step]:
    """A span and its descendants: at each level first calls and servers, then consumers."""
    yield step
    for child in sorted(
        children.get(step.span, ()), key=lambda one: (one.kind == "consumer", one.at_s)
    ):
        yield from _in_order(replace(child, depth=step.depth + 1), children)


def _question(step: Step, steps: Sequence[Step]) -> Step | None:
    """The call that a server span answers: the last one to its service before it began."""
    if step.kind != "server":
        return None
    questions = [
        one
        for one in steps
        if one.kind == "client"
        and (one.parent, one.whom) == (step.parent, step.service)
        and one.at_s <= step.at_s
    ]
    return max(questions, key=lambda one: one.at_s, default=None)


def _step(line: dict[str, Any]) -> Step:
    status = line.get("status", 0)
    notes = ("status", "sequence", "queued_ms", "held_ms")
    return Step(
        span=line["span"],
        parent=line["parent"],
        service=line["service"],
        kind=line["kind"],
        name=line["name"],
        at_s=line["at"],
        ms=line["ms"],
        failed=f"http_{status}" if status >= 500 else "",
        told_s=_moment(line.get("told")),
        notes={name: line[name] for name in notes if name in line},
    )


def _asked(line: dict[str, Any]) -> list[Step]:
    return [
        Step(
            span=hashlib.sha256(f"{line['span']}/{number}".encode()).hexdigest()[:16],
            parent=line["span"],
            service=line["service"],
            kind="client",
            name=note["what"],
            at_s=note["at"],
            ms=note["ms"],
            whom=note["whom"],
            failed=note.get("failed", ""),
        )
        for number, note in enumerate(line.get("asked", ()))
    ]


def _moment(told: object) -> float | None:
    """An event's time as seconds since 1970; None if an external event has no valid time."""
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except ValueError:
        return None
