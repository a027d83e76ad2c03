"""One request and all that came of it: the spans of many processes, joined into one story.

Every process writes its own spans; the trace id says which belong together, the parent which came
of which. A question is noted in its asker's span, without an id of its own, so it is matched with
the answers here: they came of that span, from the service that was asked, after it was asked.

All moments are this machine's time of day, the same for all its processes; durations were measured
by each process on a clock that nobody can set.
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
    """A stretch of time in one process. `kind` is OpenTelemetry's: a client asks, a server answers,
    a consumer applies an event. `at_s` and `told_s` (when its event was told) are seconds since
    1970. `depth` counts the steps it came of; `failed` says what went wrong, or nothing.
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
    """What else was written down: `status`; `sequence`; `queued_ms`, how long it waited for a
    worker; `held_ms`, how long a latency held it there."""

    @property
    def end_s(self) -> float:
        return self.at_s + self.ms / 1_000

    def noted(self, name: str) -> float:
        """A figure that was written down; 0 where it was not."""
        return float(self.notes.get(name, 0.0))


@dataclass(frozen=True)
class Story:
    """What came of one request, parents before children. `steps[0]` is the client's own.

    `variant`: where it happened. `answered_ms` and `visible_ms` (when the feed showed it; None for
    what changes nothing, or was never shown) count from the client's beginning. `why`: why this
    request and no other.
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
        """A moment as milliseconds from the client's beginning."""
        return (moment_s - self.begun_s) * 1_000

    @property
    def whole_ms(self) -> float:
        """From the beginning to the last thing that is known to have happened."""
        ends = (self.ms(step.end_s) for step in self.steps)
        return max(*ends, self.visible_ms or 0.0)

    def to_data(self) -> dict[str, Any]:
        """As JSON: moments in ms from the client's beginning."""
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
    """The spans that the processes of a variant wrote about some traces, in no certain order.

    A process that was killed may have left half a line behind; it is passed over.
    """
    found = []
    for file in sorted(folder.glob(f"{variant}.*.spans.ndjson")):
        for text in file.read_text("utf-8").splitlines():
            # Reading JSON costs more than looking for what is not there.
            if any(trace in text for trace in traces) and text.endswith("}"):
                found.append(json.loads(text))
    return [line for line in found if line["trace"] in traces]


def joined(root: Step, lines: Iterable[dict[str, Any]]) -> tuple[Step, ...]:
    """The story that began with `root`: answers below their questions, events below their tellers.

    A span whose parent was never written (its process was killed) stands below the root.
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
    """A step and all that came of it: first what was waited for, then what was told."""
    yield step
    for child in sorted(
        children.get(step.span, ()), key=lambda one: (one.kind == "consumer", one.at_s)
    ):
        yield from _in_order(replace(child, depth=step.depth + 1), children)


def _question(step: Step, steps: Sequence[Step]) -> Step | None:
    """The question that an answer belongs to: the last one put to its service before it began."""
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
    """An event's time as seconds since 1970; other people's events may have none."""
    try:
        return datetime.fromisoformat(str(told)).timestamp()
    except ValueError:
        return None
