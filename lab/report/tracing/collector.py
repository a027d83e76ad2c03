"""Sends the spans of a finished run to a collector: OTLP over HTTP, as JSON.

It happens after the measurement, in the lab's own process, so that it costs the stacks nothing.
The variables are OpenTelemetry's own (opentelemetry.io/docs/specs/otel/protocol/exporter).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote

from lab.report.tracing.otlp import resource_spans
from lab.report.tracing.waterfall import RequestTrace

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_HEADERS, _TIMEOUT = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT"
_DEFAULT_TIMEOUT_MS = 10_000
_BATCH = 100
"""Traces in one request: some hundred kilobytes."""


class NotSent(RuntimeError):
    """The collector did not take the spans; the message says why and what to try."""


class Collector(NamedTuple):
    """Where spans are sent: a URL, further headers, and a time limit in seconds."""

    url: str
    headers: Mapping[str, str]
    timeout_s: float


def collector_of(environment: Mapping[str, str] = os.environ) -> Collector | None:
    """The collector that the environment names; None if it names none. Raises NotSent."""
    url = environment.get(TRACES_ENDPOINT) or ""
    if not url and (base := environment.get(ENDPOINT)):
        url = f"{base.rstrip('/')}/v1/traces"
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise NotSent(f"{ENDPOINT} is {url!r}; expected a URL, such as http://127.0.0.1:4318")
    pairs = (pair.partition("=") for pair in environment.get(_HEADERS, "").split(",") if pair)
    headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    try:
        timeout_s = float(environment.get(_TIMEOUT) or _DEFAULT_TIMEOUT_MS) / 1_000
    except ValueError:
        raise NotSent(f"{_TIMEOUT} must be a number of milliseconds.") from None
    return Collector(url, headers, timeout_s)


def send(traces: Iterable[RequestTrace], collector: Collector) -> int:
    """Send the traces in batches; the number of spans that were taken. Raises NotSent."""
    import requests

    taken = 0
    with requests.Session() as session:
        for batch in _batches(traces):
            found = resource_spans(batch)
            count = sum(len(one["scopeSpans"][0]["spans"]) for one in found)
            try:
                answer = session.post(
                    collector.url,
                    json={"resourceSpans": found},
                    headers=collector.headers,
                    timeout=collector.timeout_s,
                )
            except requests.RequestException as error:
                raise NotSent(
                    f"The collector {collector.url} can't be reached ({type(error).__name__}). The "
                    "port for OTLP over HTTP is 4318; 4317 is that of gRPC."
                ) from None
            if not answer.ok:
                raise NotSent(f"The collector {collector.url} answered {answer.status_code}.")
            taken += count - _rejected(answer)
    return taken


def _batches(traces: Iterable[RequestTrace]) -> Iterator[list[RequestTrace]]:
    remaining = iter(traces)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _rejected(answer: object) -> int:
    """The spans that the collector says it rejected; its answer may be empty."""
    try:
        return int(answer.json()["partialSuccess"]["rejectedSpans"])  # type: ignore[attr-defined]
    except (ValueError, KeyError, TypeError):
        return 0
