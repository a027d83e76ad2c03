"""Spans of a finished run are sent to a collector: what it gets is OTLP, and complete."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.commands.run import send_spans
from lab.load.samples import Sample, write_samples
from lab.report.tracing import collector
from lab.report.tracing.collector import Collector, NotSent, collector_of, send
from lab.report.tracing.trace import all_traces
from tests.tracing.test_trace import BEGUN_S, TRACE, assert_is_otlp, span_record

OTHER = "0af7651916cd43dd8448eb211c80319c"
ASKED = {"asked": [{"whom": "posts", "what": "GET /x", "at": BEGUN_S + 0.002, "ms": 1}]}


@contextmanager
def collecting(status: int = 200, answer: bytes = b"{}") -> Iterator[tuple[str, list[Any]]]:
    """The URL of a collector, and the requests that it got: path, headers, document."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def save_run(folder: Path, traces: tuple[str, ...] = (TRACE, OTHER)) -> None:
    """A run with a request for each trace: two processes' spans for the first, none for others."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [
        Sample(
            *("sync-chain", "during", "read_feed", number / 10, 0.1),
            latency_ms=5.0,
            status=200,
            ok=True,
            trace=trace,
        )
        for number, trace in enumerate(traces)
    ]
    write_samples(folder / "samples.csv", samples)
    (folder / "load.json").write_text(json.dumps({"started_at_unix": BEGUN_S}))
    asking = span_record("aa", "query", "GET /x", 1, 4, **ASKED)
    asked = span_record("bb", "posts", "GET /x", 2.5, 0.2, parent="aa" * 8, state="a=1")
    for record in (asking, asked):
        line = json.dumps(record)
        # The second line is what a killed process may leave.
        file = folder / f"sync-chain.{record['service']}.spans.ndjson"
        file.write_text(f"{line}\n{line[:20]}")


def spans_in(documents: list[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for _, _, document in documents:
        found |= assert_is_otlp(document)
    return found


def test_all_spans_of_a_run_are_sent_with_their_clients(tmp_path: Path) -> None:
    save_run(tmp_path)
    with collecting() as (url, got):
        count = send(all_traces(tmp_path), Collector(f"{url}/v1/traces", {"Key": "a b"}, 30))
    (path, headers, document) = got[0]
    assert (path, headers["Key"]) == ("/v1/traces", "a b")
    assert headers["Content-Type"] == "application/json"
    spans = spans_in(got)
    assert count == len(spans) == 5  # two clients, query, its call, posts
    assert spans["aa" * 8]["parentSpanId"] == TRACE[:16]
    assert [span.get("traceState") for span in spans.values()].count("a=1") == 1
    call = spans[spans["bb" * 8]["parentSpanId"]]
    attributes = {one["key"]: one["value"] for one in call["attributes"]}
    assert attributes["service.peer.name"] == {"stringValue": "posts"}
    assert attributes["http.request.method"] == {"stringValue": "GET"}
    resources = [one["resource"]["attributes"][0]["value"] for one in document["resourceSpans"]]
    assert [one["stringValue"] for one in resources] == ["client", "query", "posts"]


def test_many_traces_are_sent_in_batches(tmp_path: Path) -> None:
    traces = tuple(f"{number:016x}{1:016x}" for number in range(1, 2 * collector._BATCH + 2))
    save_run(tmp_path, traces)
    with collecting() as (url, got):
        assert send(all_traces(tmp_path), Collector(url, {}, 30)) == len(traces)
    assert len(got) == 3
    assert len(spans_in(got)) == len(traces)


def test_the_parts_of_a_run_are_all_sent(tmp_path: Path) -> None:
    for part, trace in (("run-1", TRACE), ("run-2", OTHER)):
        save_run(tmp_path / part, (trace,))
    assert {trace.trace_id for trace in all_traces(tmp_path)} == {TRACE, OTHER}


def test_what_a_collector_rejects_is_not_counted(tmp_path: Path) -> None:
    save_run(tmp_path)
    with collecting(answer=b'{"partialSuccess": {"rejectedSpans": "2"}}') as (url, _):
        assert send(all_traces(tmp_path), Collector(url, {}, 30)) == 3


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"},
            Collector("http://c:4318/v1/traces", {}, 10),
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other/here",
                "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c, d=e",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "500",
            },
            Collector("http://other/here", {"a": "b c", "d": "e"}, 0.5),
        ),
    ],
    ids=["none", "base", "all"],
)
def test_the_variables_are_those_of_opentelemetry(
    environment: dict[str, str], expected: Collector | None
) -> None:
    assert collector_of(environment) == expected


def test_a_collector_that_fails_never_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_run(tmp_path)
    with collecting(status=503) as (url, _):
        monkeypatch.setenv(collector.ENDPOINT, url)
        send_spans(tmp_path)
    assert f"No spans are sent: The collector {url}/v1/traces answered 503." in (
        capsys.readouterr().err
    )
    send_spans(tmp_path)  # nothing listens there now
    assert "4317 is that of gRPC" in capsys.readouterr().err
    monkeypatch.setenv(collector.ENDPOINT, "localhost:4318")
    send_spans(tmp_path)
    assert "expected a URL" in capsys.readouterr().err
    with pytest.raises(NotSent):
        collector_of({collector.ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"})


def test_without_a_variable_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(collector.ENDPOINT, raising=False)
    monkeypatch.delenv(collector.TRACES_ENDPOINT, raising=False)
    send_spans(tmp_path)
    assert capsys.readouterr() == ("", "")
