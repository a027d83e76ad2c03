"""Exports traces as OTLP/JSON, which Jaeger and other trace tools can load.

The protocol's JSON is protobuf's with exceptions (opentelemetry.io/docs/specs/otlp, "JSON Protobuf
Encoding"): ids are hex digits, enums are numbers, 64-bit integers are strings, names are
lowerCamelCase.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lab.report.tracing.waterfall import RequestTrace, Span
from lab.results.run_folder import lab_version

SPAN_KINDS = {"server": 2, "client": 3, "consumer": 5}
"""SpanKind of opentelemetry/proto/trace/v1/trace.proto."""
_STATUS_ERROR = 2
_SCOPE = "sync-async-lab"

# Names from OpenTelemetry's semantic conventions; all other notes get the prefix `lab.`.
_ATTRIBUTE_NAMES = {"status": "http.response.status_code"}


def to_otlp(traces: Sequence[RequestTrace]) -> str:
    """A TracesData document: a resource for each service of each trace."""
    scope = {"name": _SCOPE, "version": lab_version()}
    resources = []
    for trace in traces:
        for service in dict.fromkeys(span.service for span in trace.steps):
            resource_attributes = {"service.name": service, "service.namespace": trace.variant}
            spans = [_otlp_span(trace, span) for span in trace.steps if span.service == service]
            resources.append(
                {
                    "resource": {"attributes": _key_values(resource_attributes.items())},
                    "scopeSpans": [{"scope": scope, "spans": spans}],
                }
            )
    return json.dumps({"resourceSpans": resources}, indent=1) + "\n"


def _otlp_span(trace: RequestTrace, span: Span) -> dict[str, Any]:
    attributes = {
        _ATTRIBUTE_NAMES.get(name, f"lab.{name}"): value for name, value in span.attributes.items()
    }
    if span.callee:
        attributes["peer.service"] = span.callee
    otlp_span: dict[str, Any] = {
        "traceId": trace.trace_id,
        "spanId": span.span_id,
        "name": f"{span.name} process" if span.kind == "consumer" else span.name,
        "kind": SPAN_KINDS[span.kind],
        "startTimeUnixNano": _nanoseconds(span.start_s),
        "endTimeUnixNano": _nanoseconds(span.end_s),
        "attributes": _key_values(attributes.items()),
    }
    if span.parent_id:
        otlp_span["parentSpanId"] = span.parent_id
    if span.published_s is not None:
        published = {"timeUnixNano": _nanoseconds(span.published_s), "name": "told"}
        otlp_span["events"] = [published]
    if span.error:
        otlp_span["status"] = {"code": _STATUS_ERROR, "message": span.error}
    return otlp_span


def _nanoseconds(time_s: float) -> str:
    """Seconds since 1970 as nanoseconds, exact to the microsecond: a float has no more digits."""
    return str(round(time_s * 1_000_000) * 1_000)


def _key_values(pairs: Iterable[tuple[str, int | float | str]]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in pairs]


def _any_value(value: int | float | str) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
