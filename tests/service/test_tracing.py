"""One trace from the first request to the last event: the same trace id in every span of it."""

import json
from typing import Any

import pytest

from lab.service.tracing import SpanContext, SpanLog, trace_headers
from tests.support.laboratory import RunningBlog, eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


def lines_of(blog: RunningBlog, target: str) -> list[dict[str, Any]]:
    """All spans of a service so far; it writes them out when it reports its state."""
    blog.state(target)
    return [json.loads(line) for line in blog.spans_file(target).read_text().splitlines()]


def spans_of(blog: RunningBlog, target: str, trace: str) -> list[dict[str, Any]]:
    return [span for span in lines_of(blog, target) if span["trace"] == trace]


def complete_trace(
    blog: RunningBlog, trace: str, **expected: set[str]
) -> dict[str, dict[str, Any]]:
    """The spans of a trace by `service name`, once every service has written the expected ones."""

    def look() -> dict[str, dict[str, Any]] | None:
        found = {name: spans_of(blog, name, trace) for name in expected}
        complete = all(
            {s["name"] for s in found[name]} == names for name, names in expected.items()
        )
        by_name = {f"{name} {s['name']}": s for name, spans in found.items() for s in spans}
        return by_name if complete else None

    return eventually(look, f"the spans {expected}") or {}


def comment_in_story(blog: RunningBlog, trace: str) -> None:
    post = blog.write_post()
    headers = {
        "traceparent": f"00-{trace}-{PARENT}-01",
        "tracestate": STATE.replace(",", " ,\t"),
    }
    assert blog.comment(post["id"], headers=headers).status_code == 201
    blog.settle()


@pytest.mark.parametrize("arrangement", ["sync-chain", "request-reply"])
def test_a_question_passes_the_story_on_however_it_travels(
    blogs: dict[str, RunningBlog], arrangement: str
) -> None:
    comment_in_story(blogs[arrangement], TRACE)
    spans = complete_trace(
        blogs[arrangement],
        TRACE,
        comments={"POST /posts/{post_id}/comments"},
        posts={"GET /posts/{post_id}"},
        moderation={"POST /verdicts"},
        query=set(),
    )
    assert {span["state"] for span in spans.values()} == {STATE}
    asked = spans["comments POST /posts/{post_id}/comments"]
    assert (asked["parent"], asked["kind"], asked["status"]) == (PARENT, "server", 201)
    for name in ("posts GET /posts/{post_id}", "moderation POST /verdicts"):
        assert spans[name]["parent"] == asked["span"]
        assert 0 <= spans[name]["queued_ms"] <= spans[name]["ms"]
        assert arrangement != "sync-chain" or spans[name]["ms"] <= asked["ms"]


def test_a_function_call_is_part_of_the_one_request(blogs: dict[str, RunningBlog]) -> None:
    comment_in_story(blogs["monolith"], TRACE)
    post = "POST /posts/{post_id}/comments"
    spans = complete_trace(blogs["monolith"], TRACE, comments={post})
    assert spans[f"comments {post}"]["parent"] == PARENT


def test_an_event_carries_the_story_on(bus_blog: RunningBlog) -> None:
    comment_in_story(bus_blog, TRACE)
    spans = complete_trace(
        bus_blog,
        TRACE,
        posts=set(),
        comments={"POST /posts/{post_id}/comments", "CommentModerated"},
        moderation={"CommentCreated"},
        query={"CommentCreated", "CommentUpdated"},
    )
    assert {span["state"] for span in spans.values()} == {STATE}
    written = spans["comments POST /posts/{post_id}/comments"]
    judged = spans["moderation CommentCreated"]
    updated = spans["comments CommentModerated"]
    assert written["parent"] == PARENT
    assert judged["parent"] == spans["query CommentCreated"]["parent"] == written["span"]
    assert updated["parent"] == judged["span"]
    assert spans["query CommentUpdated"]["parent"] == updated["span"]
    assert judged["kind"] == "consumer"
    assert judged["sequence"] < updated["sequence"] < spans["query CommentUpdated"]["sequence"]


def test_the_feed_is_one_trace_in_the_chain_only(
    chain_blog: RunningBlog, bus_blog: RunningBlog
) -> None:
    trace = "a" * 32
    for blog in (chain_blog, bus_blog):
        headers = {"traceparent": f"00-{trace}-{PARENT}-01"}
        assert blog.ask("GET", "query", "/feed", headers=headers).ok
    complete_trace(
        chain_blog, trace, query={"GET /feed"}, posts={"GET /posts"}, comments={"GET /comments"}
    )
    complete_trace(bus_blog, trace, query={"GET /feed"}, posts=set(), comments=set())


def test_without_a_header_a_new_story_begins(blog: RunningBlog) -> None:
    before = len(lines_of(blog, "posts"))
    for _ in range(2):
        blog.ask("GET", "posts", "/posts/nobody")
    first, second = lines_of(blog, "posts")[before:]
    assert first["parent"] == second["parent"] == ""
    assert first["trace"] != second["trace"]
    assert (first["name"], first["status"]) == ("GET /posts/{post_id}", 404)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'ü' * 32}-{'ü' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_a_malformed_header_begins_a_new_story(header: str | None) -> None:
    context = SpanContext.child_of(header)
    assert context.parent_id == ""
    assert context.trace_id not in (header or "")
    assert SpanContext.child_of(context.traceparent).trace_id == context.trace_id


def test_a_step_knows_its_story_only_inside_its_span() -> None:
    context = SpanContext.child_of(f"00-{TRACE}-{PARENT}-01")
    assert (context.trace_id, context.parent_id) == (TRACE, PARENT)
    assert context.traceparent == f"00-{TRACE}-{context.span_id}-01"
    assert trace_headers() == {}
    with SpanLog(None, "tests").span("x", "server", context.traceparent):
        assert TRACE in trace_headers()["traceparent"]
    assert trace_headers() == {}


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("a=1,2b@c=x y", "a=1,2b@c=x y"),
        (" , a=1 ,", "a=1"),
        (",".join(f"a{number}=1" for number in range(32)), ...),
        (",".join(f"a{number}=1" for number in range(33)), None),
        (f"a={'x' * 256}", ...),
        *((broken, None) for broken in (f"a={'x' * 257}", "", "a", "a=", "A=1", "a=1,a=2")),
        *((broken, None) for broken in ("a=ü", "a=b=c", "a=1\r\nX: y", "=1", "-a=1", "é=1")),
    ],
)
def test_a_tracestate_is_passed_on_unless_it_breaks_the_standard(
    sent: str, passed_on: object
) -> None:
    parent = f"00-{TRACE}-{PARENT}-01"
    with SpanLog(None, "tests").span("x", "server", parent, sent):
        assert trace_headers().get("tracestate") == (sent if passed_on is ... else passed_on)
    with SpanLog(None, "tests").span("x", "server", "nonsense", "a=1"):
        assert "tracestate" not in trace_headers()
