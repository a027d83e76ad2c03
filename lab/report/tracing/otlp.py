"""Exports traces as OTLP/JSON, which Jaeger and other trace tools can load.

The protocol's JSON is protobuf's with exceptions (opentelemetry.io/docs/specs/otlp, "JSON Protobuf
Encoding"): ids are hex digits, enums are numbers, 64-bit integers are strings, names are
lowerCamelCase.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lab.report.tracing.waterfall import Step, Story
from lab.results.run_folder import lab_version

KINDS = {"server": 2, "client": 3, "consumer": 5}
"""SpanKind of opentelemetry/proto/trace/v1/trace.proto."""
_STATUS_ERROR = 2
_SCOPE = "sync-async-lab"

# Names from OpenTelemetry's semantic conventions; all other notes get the prefix `lab.`.
_NAMES = {"status": "http.response.status_code"}


def otlp(stories: Sequence[Story]) -> str:
    """A TracesData document: a resource for each service of each trace."""
    scope = {"name": _SCOPE, "version": lab_version()}
    resources = []
    for story in stories:
        for service in dict.fromkeys(step.service for step in story.steps):
            named = {"service.name": service, "service.namespace": story.variant}
            spans = [_span(story, step) for step in story.steps if step.service == service]
            resources.append(
                {
                    "resource": {"attributes": _attributes(named.items())},
                    "scopeSpans": [{"scope": scope, "spans": spans}],
                }
            )
    return json.dumps({"resourceSpans": resources}, indent=1) + "\n"


def _span(story: Story, step: Step) -> dict[str, Any]:
    notes = {_NAMES.get(name, f"lab.{name}"): value for name, value in step.notes.items()}
    if step.whom:
        notes["peer.service"] = step.whom
    span: dict[str, Any] = {
        "traceId": story.trace,
        "spanId": step.span,
        "name": f"{step.name} process" if step.kind == "consumer" else step.name,
        "kind": KINDS[step.kind],
        "startTimeUnixNano": _nanoseconds(step.at_s),
        "endTimeUnixNano": _nanoseconds(step.end_s),
        "attributes": _attributes(notes.items()),
    }
    if step.parent:
        span["parentSpanId"] = step.parent
    if step.told_s is not None:
        told = {"timeUnixNano": _nanoseconds(step.told_s), "name": "told"}
        span["events"] = [told]
    if step.failed:
        span["status"] = {"code": _STATUS_ERROR, "message": step.failed}
    return span


def _nanoseconds(moment_s: float) -> str:
    """Seconds since 1970 as nanoseconds, exact to the microsecond: a float has no more digits."""
    return str(round(moment_s * 1_000_000) * 1_000)


def _attributes(named: Iterable[tuple[str, int | float | str]]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in named]


def _value(value: int | float | str) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
