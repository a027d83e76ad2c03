"""One request as a waterfall: how spans are joined and drawn, and the export for other tools."""

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.cluster.arrangements import ARRANGEMENTS
from lab.domain.services import BUS
from lab.load.samples import Sample, write_samples
from lab.report.terminal.trace import show_traces
from lab.report.tracing import trace
from lab.report.tracing.otlp import to_otlp
from lab.report.tracing.trace import (
    NoSuchTrace,
    client_span,
    slowest_traces,
    trace_by_id,
    trace_request,
)
from lab.report.tracing.waterfall import RequestTrace, Span, join_spans, read_spans
from lab.service.tracing import SpanLog, record_call
from tests.support.command_line import invoke_lab, unhurried_lab
from tests.support.laboratory import PATIENCE_S, eventually
from tests.support.small import environment, find_own_processes, find_processes, join_lines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = "0af7651916cd43dd8448eb211c80319c"
ROOT = TRACE[:16]
BEGUN_S = 1_700_000_000.0


def span_record(span: str, service: str, name: str, at_ms: float, ms: float, **more: Any) -> Any:
    """A span as a process writes it; `at_ms` counts from BEGUN_S."""
    record = {
        "trace": TRACE,
        "span": span * 8,
        "parent": ROOT,
        "service": service,
        "kind": "server",
    }
    return record | {"name": name, "at": BEGUN_S + at_ms / 1_000, "ms": ms, "status": 200} | more


def call_record(callee: str, at_ms: float, ms: float, **more: Any) -> dict[str, Any]:
    """A call as its caller's span records it."""
    return {"whom": callee, "what": "GET /x", "at": BEGUN_S + at_ms / 1_000, "ms": ms, **more}


def consumer_record(
    span: str, parent: str, service: str, name: str, published_ms: float, at_ms: float
) -> Any:
    record = f"2023-11-14T22:13:20.{round(published_ms * 1_000):06}Z"
    more = {"parent": parent * 8, "kind": "consumer", "told": record, "sequence": 7}
    return span_record(span, service, name, at_ms, 0.1, **more)


CHAIN_SPANS = [
    span_record("aa", "comments", "POST /posts/{post_id}/comments", 1, 7, queued_ms=0.1, held_ms=3)
    | {"asked": [call_record("posts", 5, 1), call_record("moderation", 6, 2)]},
    span_record("bb", "posts", "GET /posts/{post_id}", 5.4, 0.3, parent="aa" * 8),
    span_record("cc", "moderation", "POST /verdicts", 6.5, 1, parent="aa" * 8),
]
BUS_SPANS = [
    consumer_record("dd", "cc", "query", "CommentUpdated", 5, 7),
    consumer_record("cc", "bb", "comments", "CommentModerated", 3, 4.5),
    consumer_record("bb", "aa", "moderation", "CommentCreated", 1, 2.5),
    span_record("aa", "comments", "POST /posts/{post_id}/comments", 0.2, 1.2),
]


def make_trace(
    lines: list[Any], *, visible_ms: float | None = None, failed: str = ""
) -> RequestTrace:
    root = client_span(TRACE, "POST /posts/{post_id}/comments", BEGUN_S, 10.0, failed)
    steps = join_spans(root, lines)
    return RequestTrace(
        "sync-chain", TRACE, root.name, failed or "201", steps, visible_ms, "a test"
    )


def outline(steps: tuple[Span, ...]) -> list[tuple[int, str, str]]:
    return [(step.depth, step.service, step.callee or step.kind) for step in steps]


def waterfall_text(*stories: RequestTrace, ascii_only: bool = False) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii_only else "utf-8")
    show_traces(stories, Console(file=out, width=80, force_terminal=False))
    out.flush()
    return out.buffer.getvalue().decode(out.encoding)  # type: ignore[attr-defined,no-any-return]


# ── Recorded and joined spans


def test_a_question_is_noted_in_the_span_of_its_asker(tmp_path: Path) -> None:
    with record_call("posts", "GET /posts"):
        pass  # outside a span the call is made all the same
    log = SpanLog(tmp_path / "x.spans.ndjson", "comments")
    with log.span("POST /x", "server", None):
        with record_call("posts", "GET /posts/1"):
            pass
        with pytest.raises(KeyError), record_call("moderation", "POST /verdicts"):
            raise KeyError("gone")
    log.close()
    span = json.loads((tmp_path / "x.spans.ndjson").read_text())
    assert [(one["whom"], one.get("failed")) for one in span["asked"]] == [
        ("posts", None),
        ("moderation", "KeyError"),
    ]
    assert all(span["at"] <= one["at"] and one["ms"] <= span["ms"] for one in span["asked"])


def test_an_answer_is_shown_below_its_question() -> None:
    assert outline(make_trace(CHAIN_SPANS).steps) == [
        (0, "client", "client"),
        (1, "comments", "server"),
        (2, "comments", "posts"),
        (3, "posts", "server"),
        (2, "comments", "moderation"),
        (3, "moderation", "server"),
    ]


def test_an_answer_after_its_timeout_is_not_lost() -> None:
    asked = {"asked": [call_record("posts", 1, 2, failed="TimedOut"), call_record("posts", 4, 2)]}
    lines = [
        span_record("aa", "comments", "POST /x", 0, 6) | asked,
        span_record("bb", "posts", "GET /x", 9, 1, parent="aa" * 8),
    ]
    steps = make_trace(lines).steps
    assert outline(steps)[2:] == [
        (2, "comments", "posts"),
        (2, "comments", "posts"),
        (3, "posts", "server"),
    ]
    assert steps[2].error == "TimedOut"
    assert steps[4].parent_id == steps[3].span_id


def test_an_event_is_shown_below_its_cause_in_any_order() -> None:
    steps = make_trace(BUS_SPANS).steps
    assert [step.service for step in steps] == [
        "client",
        "comments",
        "moderation",
        "comments",
        "query",
    ]
    assert [step.depth for step in steps] == [0, 1, 2, 3, 4]
    assert steps[2].published_s == pytest.approx(BEGUN_S + 0.001)


def test_a_span_whose_parent_was_never_written_is_not_lost() -> None:
    steps = make_trace([consumer_record("bb", "aa", "moderation", "CommentCreated", 1, 2)]).steps
    assert outline(steps) == [(0, "client", "client"), (1, "moderation", "consumer")]
    assert steps[1].parent_id == ROOT


def test_the_half_line_of_a_killed_process_is_passed_over(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(one) for one in CHAIN_SPANS)
    (tmp_path / "v.posts.spans.ndjson").write_text(f'{lines}\n{{"trace": "{TRACE}", "sp')
    (tmp_path / "w.posts.spans.ndjson").write_text(lines)
    assert read_spans(tmp_path, "v", {TRACE}) == CHAIN_SPANS
    assert read_spans(tmp_path, "v", {"f" * 32}) == []


# ── Drawing


def test_a_chain_is_drawn_as_a_staircase() -> None:
    shown = waterfall_text(make_trace(CHAIN_SPANS, visible_ms=12))
    rows = shown.splitlines()
    bars = {row[:34].strip(): row[34:66] for row in rows}
    stairs = [
        bars[dependency] for dependency in ("client", "comments", "asks posts", "asks moderation")
    ]
    begins = [len(bar) - len(bar.lstrip()) for bar in stairs]
    assert begins == sorted(set(begins))
    assert len(bars["client"].strip()) > len(bars["asks moderation"].strip())
    assert "░" in bars["comments"]
    assert [row[:34].strip() for row in rows[3:11]] == [
        "client",
        "comments",
        "asks posts",
        "posts GET /posts/{post_id}",
        "asks moderation",
        "moderation POST /verdicts",
        "answered",
        "visible: the feed shows it",
    ]
    sentences = join_lines(shown)
    assert "comments waited for posts (1.0 ms) and moderation (2.0 ms)." in sentences
    assert "It was held by a latency in comments for 3.0 ms." in sentences
    assert "Answered after 10 ms, visible after 12 ms." in sentences
    assert max(map(len, rows)) <= 80


def test_what_events_caused_is_shown_below_the_answer() -> None:
    shown = waterfall_text(make_trace(BUS_SPANS, visible_ms=9))
    labels = [row[:34].strip() for row in shown.splitlines()]
    answered = labels.index("answered")
    assert labels.index("comments") < answered < labels.index("moderation hears CommentCreated")
    assert "·" in shown.splitlines()[answered + 1]
    sentences = join_lines(shown)
    assert "waited for comments, and comments for nobody." in sentences
    assert "Nobody waited for moderation, comments and query" in sentences
    assert "the last at 7.1 ms" in sentences


def test_a_write_done_after_its_client_had_gone_is_told() -> None:
    late = [span_record("aa", "comments", "POST /posts/{post_id}/comments", 15, 2, status=201)]
    sentences = join_lines(waterfall_text(make_trace(late, failed="timeout")))
    assert "comments still completed it, at 17 ms" in sentences
    assert "Given up after 10 ms." in sentences
    assert "answered" not in sentences
    sentences = join_lines(waterfall_text(make_trace([], failed="refused")))
    assert "no service recorded a span of it" in sentences
    assert "Failed after 10 ms." in sentences


def test_all_stories_stand_on_one_time_axis() -> None:
    shown = waterfall_text(
        make_trace(CHAIN_SPANS, visible_ms=20), make_trace(BUS_SPANS, visible_ms=9)
    )
    assert shown.count("20 ms") >= 2
    clients = [row for row in shown.splitlines() if row.startswith("client")]
    assert len(set(clients)) == 1


def test_a_terminal_that_knows_only_ascii_gets_a_waterfall_too() -> None:
    shown = waterfall_text(
        make_trace(CHAIN_SPANS, visible_ms=12), make_trace(BUS_SPANS, visible_ms=9), ascii_only=True
    )
    assert shown.isascii()
    assert all(sign in shown for sign in "#-.*")
    root = client_span(TRACE, "GET /feed", BEGUN_S, 0.0)  # nothing took any time
    assert "Answered after 0.0 ms." in waterfall_text(
        RequestTrace("x", TRACE, "GET /feed", "200", (root,))
    )


# ── Export


def assert_is_otlp(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Check a document against the rules of OTLP/JSON; returns its spans by id."""
    spans: dict[str, dict[str, Any]] = {}
    assert set(document) == {"resourceSpans"}
    for resource in document["resourceSpans"]:
        assert "service.name" in {one["key"] for one in resource["resource"]["attributes"]}
        for scope in resource["scopeSpans"]:
            assert scope["scope"]["name"] == "sync-async-lab"
            for span in scope["spans"]:
                assert span["spanId"] not in spans
                spans[span["spanId"]] = span
    for span in spans.values():
        assert re.fullmatch("(?!0+$)[0-9a-f]{32}", span["traceId"])
        assert re.fullmatch("(?!0+$)[0-9a-f]{16}", span["spanId"])
        parent = span.get("parentSpanId")
        assert parent is None or spans[parent]["traceId"] == span["traceId"]
        assert span["kind"] in (2, 3, 5)
        assert span["name"]
        moments = [span["startTimeUnixNano"], span["endTimeUnixNano"]]
        moments += [event["timeUnixNano"] for event in span.get("events", [])]
        assert all(re.fullmatch("[0-9]{19}", moment) for moment in moments)
        assert int(moments[0]) <= int(moments[1])
        for attribute in span["attributes"]:
            assert set(attribute) == {"key", "value"}
            ((kind, value),) = attribute["value"].items()
            expected = {"intValue": str, "stringValue": str, "doubleValue": float}
            assert isinstance(value, expected[kind])
        assert "status" not in span or span["status"]["code"] in (1, 2)
    return spans


def test_the_spans_are_exported_by_the_rules_of_otlp() -> None:
    broken = [span_record("aa", "comments", "POST /x", 1, 2, status=503)]
    steps = (client_span(OTHER, "GET /feed", BEGUN_S, 1.0),)
    other = RequestTrace("async-bus", OTHER, "GET /feed", "200", steps)
    document = to_otlp([make_trace(BUS_SPANS), other])
    assert document.count("\n") == 1, "a file has a document on each line"
    spans = assert_is_otlp(json.loads(document))
    assert len(spans) == 6
    assert spans["aa" * 8]["startTimeUnixNano"] == "1700000000000200000"
    assert spans["bb" * 8]["events"] == [{"timeUnixNano": "1700000000001000000", "name": "told"}]
    spans = assert_is_otlp(json.loads(to_otlp([make_trace(broken)])))
    assert spans["aa" * 8]["status"] == {"code": 2, "message": "http_503"}
    asked = assert_is_otlp(json.loads(to_otlp([make_trace(CHAIN_SPANS)])))["bb" * 8]["parentSpanId"]
    assert asked != "aa" * 8


# ── Live requests and saved runs


@pytest.mark.parametrize(
    "arrangements",
    [
        ("sync-chain", "async-bus"),
        pytest.param(("request-reply", "monolith"), marks=pytest.mark.slow),
    ],
)
def test_a_comment_is_followed_in_every_arrangement(
    tmp_path: Path, arrangements: tuple[str, str]
) -> None:
    out, rest = tmp_path / "out", tmp_path / "rest"
    out.mkdir()
    rest.mkdir()
    words = [word for name in arrangements for word in ("--in", name)]
    outcome = unhurried_lab(
        "trace", "comment", *words, "--json", "--otlp", "spans.json", cwd=out, TMPDIR=str(rest)
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
    document = json.loads(outcome.stdout)
    assert document["schema"] == "lab.trace/1"
    assert [trace["variant"] for trace in document["traces"]] == list(arrangements)
    for drawn in document["traces"]:
        assert drawn["outcome"] == "201"
        assert 0 < drawn["answered_ms"] < drawn["visible_ms"]
        assert all(span["parent"] for span in drawn["spans"][1:])
        seen = {(span["service"], span["kind"]) for span in drawn["spans"]}
        asks = ARRANGEMENTS[drawn["variant"]].ask_by
        if asks is None:
            assert {(one, "consumer") for one in ("moderation", "comments", "query")} <= seen
            assert all(
                span["told_ms"] <= span["at_ms"] <= drawn["visible_ms"]
                for span in drawn["spans"]
                if span["kind"] == "consumer"
            )
        else:
            waited = [span for span in drawn["spans"] if span["depth"] == 2]
            assert [span["kind"] for span in waited] == ["client", "client"]
            assert sum(span["ms"] for span in waited) <= drawn["answered_ms"]
            assert (("posts", "server") in seen) == (asks != "call")
    spans = assert_is_otlp(json.loads((out / "spans.json").read_text()))
    assert set(spans) == {span["span"] for drawn in document["traces"] for span in drawn["spans"]}
    assert list(rest.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "asked"),
    [("comment", ["posts", "moderation"]), ("feed", ["posts", "comments"]), ("post", [])],
)
async def test_only_a_service_with_copies_answers_without_asking(
    tmp_path: Path, what: str, asked: list[str]
) -> None:
    chain = await trace_request("sync-chain", what, tmp_path / "chain")
    bus = await trace_request("async-bus", what, tmp_path / "bus")
    assert [step.callee for step in chain.steps if step.callee] == asked
    assert [step.callee for step in bus.steps if step.callee] == []
    assert all(story.visible_ms is None for story in (chain, bus)) == (what == "feed")
    assert BUS not in {step.service for step in (*chain.steps, *bus.steps)}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A run's folder with the spans of one request in the chain."""

    def sent(variant: str, phase: str, latency_ms: float, trace: str = "") -> Sample:
        return Sample(
            variant, phase, "create_comment", 0.0, 0.1, latency_ms, 201, ok=True, trace=trace
        )

    before, quicker = sent("sync-chain", "before", 99), sent("sync-chain", "during", 5)
    slowest_of_both = sent("sync-chain", "during", 10, TRACE), sent("async-bus", "during", 7, OTHER)
    write_samples(tmp_path / "samples.csv", [before, *slowest_of_both, quicker])
    (tmp_path / "load.json").write_text(json.dumps({"started_at_unix": BEGUN_S}))
    lines = "".join(f"{json.dumps(one)}\n" for one in CHAIN_SPANS)
    (tmp_path / "sync-chain.comments.spans.ndjson").write_text(lines)
    return tmp_path


def test_the_slowest_request_of_a_run_can_be_followed(kept: Path) -> None:
    chain, bus = slowest_traces(kept, "comment")
    assert (chain.variant, chain.trace_id, chain.answered_ms) == ("sync-chain", TRACE, 10)
    assert (bus.variant, bus.trace_id, bus.answered_ms) == ("async-bus", OTHER, 7)
    assert chain.reason == "the slowest of 2 of during"
    assert outline(chain.steps) == outline(make_trace(CHAIN_SPANS).steps)
    assert trace_by_id(kept, TRACE)[0].steps == chain.steps
    shown = invoke_lab(
        "trace", "comment", "--run", str(kept), "--in", "sync-chain", cwd=kept
    ).stdout
    assert "It was held by a latency in comments for 3.0 ms." in join_lines(shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_request_that_a_run_did_not_send_is_refused(kept: Path) -> None:
    for unknown in ("f" * 32, "[/red]"):
        with pytest.raises(NoSuchTrace, match="last column"):
            trace_by_id(kept, unknown)
    with pytest.raises(NoSuchTrace, match="Did you mean 'async-bus'"):
        slowest_traces(kept, "comment", ["async-buss"])
    with pytest.raises(NoSuchTrace, match="sent no read_feed to sync-chain"):
        slowest_traces(kept, "feed")
    (kept / "run-01").mkdir()
    (kept / "run-01" / "load.json").write_text("{}")
    with pytest.raises(NoSuchTrace, match="Name one of them"):
        slowest_traces(kept, "comment")


@pytest.mark.parametrize(
    ("words", "teaches"),
    [
        (["coment"], "Did you mean 'comment'?"),
        (["foo"], "Known: comment, feed, post."),
        (["feed", "--in", "async-buss"], "Did you mean 'async-bus'?"),
        (["feed", "--id", TRACE], "lab trace --run"),
        (["feed", "--run", "nowhere"], "lab run slow-service"),
        (["feed", "--run", "old"], "Run it again."),
        (["feed", "--otlp", "."], "expected a file in an existing folder"),
        (["feed", "--otlp", "no/where.json"], "expected a file in an existing folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_answered_with_a_sentence(
    tmp_path: Path, words: list[str], teaches: str
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "samples.csv").write_text("variant,phase\n")
    (tmp_path / "old" / "load.json").write_text("{}")
    outcome = invoke_lab("trace", *words, cwd=tmp_path)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert teaches in outcome.stderr
    assert "Traceback" not in outcome.stderr


ENDLESS = """
from lab.commands.app import main
from lab.report.tracing import trace
trace._WARM_ROUNDS = 10**9
main()
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_trace_that_is_broken_off_leaves_nothing(tmp_path: Path, number: int) -> None:
    rest = tmp_path / "rest"
    rest.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, "trace", "comment"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(rest)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        eventually(lambda: len(list(rest.glob("*/*.log"))) > 3, "the logs of its processes")
        running.send_signal(number)
        _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 128 + number
    assert b"Traceback" not in errors
    assert list(find_processes(running.pid)) == []
    assert list(rest.iterdir()) == []


async def test_a_trace_that_is_cancelled_ends_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_WARM_ROUNDS", 10**9)
    before = find_own_processes()
    running = asyncio.create_task(trace_request("sync-chain", "comment", tmp_path))
    while len(list(tmp_path.glob("*.log"))) < 4:
        assert not running.done()
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert find_own_processes() == before
