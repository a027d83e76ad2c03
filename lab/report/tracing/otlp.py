"""Exports traces as OTLP/JSON, which Jaeger, the OpenTelemetry Collector and other tools read.

A file has one TracesData a line (opentelemetry.io/docs/specs/otel/protocol/file-exporter). Names
follow OpenTelemetry's semantic conventions for HTTP and messaging.

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

_MESSAGING_SYSTEM = "sync_async_lab"

# Names from OpenTelemetry's semantic conventions; all other notes get the prefix `lab.`.
_ATTRIBUTE_NAMES = {"status": "http.response.status_code"}


def to_otlp(traces: Sequence[RequestTrace]) -> str:
    """A TracesData document on one line: a resource for each service of each variant."""
    return json.dumps({"resourceSpans": resource_spans(traces)}) + "\n"


def resource_spans(traces: Iterable[RequestTrace]) -> list[dict[str, Any]]:
    """The spans of the traces by variant and service: the content of an ExportTraceServiceRequest,
    too."""
    scope = {"name": _SCOPE, "version": lab_version()}
    by_service: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for trace in traces:
        for span in trace.steps:
            spans = by_service.setdefault((trace.variant, span.service), [])
            spans.append(_otlp_span(trace, span))
    return [
        {
            "resource": {
                "attributes": _key_values(
                    {"service.name": service, "service.namespace": variant}.items()
                )
            },
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }
        for (variant, service), spans in by_service.items()
    ]


def _otlp_span(trace: RequestTrace, span: Span) -> dict[str, Any]:
    attributes = {
        _ATTRIBUTE_NAMES.get(name, f"lab.{name}"): value for name, value in span.attributes.items()
    }
    otlp_span: dict[str, Any] = {
        "traceId": trace.trace_id,
        "spanId": span.span_id,
        "name": f"process {span.name}" if span.kind == "consumer" else span.name,
        "kind": SPAN_KINDS[span.kind],
        "startTimeUnixNano": _nanoseconds(span.start_s),
        "endTimeUnixNano": _nanoseconds(span.end_s),
        "attributes": _key_values((attributes | _conventional_attributes(span)).items()),
    }
    if span.parent_id:
        otlp_span["parentSpanId"] = span.parent_id
    if span.tracestate:
        otlp_span["traceState"] = span.tracestate
    if span.published_s is not None:
        published = {"timeUnixNano": _nanoseconds(span.published_s), "name": "told"}
        otlp_span["events"] = [published]
    if span.error:
        otlp_span["status"] = {"code": _STATUS_ERROR, "message": span.error}
    return otlp_span


def _conventional_attributes(span: Span) -> dict[str, str]:
    """What the semantic conventions want of a span of its kind."""
    if span.kind == "consumer":
        return {
            "messaging.system": _MESSAGING_SYSTEM,
            "messaging.destination.name": span.name,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
        }
    method, _, target = span.name.partition(" ")
    found = {"http.request.method": method}
    if span.kind == "server":
        found["http.route"] = target
    else:
        found["url.template"] = target.partition("?")[0]
    if span.callee:
        found["service.peer.name"] = span.callee
    if span.error:
        found["error.type"] = span.error
    return found


def _nanoseconds(time_s: float) -> str:
    """Seconds since 1970 as nanoseconds, exact to the microsecond: a float has no more digits."""
    return str(round(time_s * 1_000_000) * 1_000)


def _key_values(pairs: Iterable[tuple[str, int | float | str]]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in pairs]


def _any_value(value: int | float | str) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
