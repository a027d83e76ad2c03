"""Slow motion: the drawing of a request from its spans, and the page that plays it."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from lab.live.followed import (
    BusMoments,
    Outage,
    SentRequest,
    StoppedEvent,
    diagram_of,
    lifelines_of,
    live_line,
    missing_deliveries,
    stop_of,
)
from lab.report.charts.space_time import space_time_chart
from lab.results.space_time import Arrow, Diagram, side_by_side
from tests.support.browser import RIGHT, PageObserver, is_down, open_page
from tests.support.live_world import run_console_process

BEGAN = 1_000.0
OPTIONS = ("--rate", "5")
CHAIN = ("client", "posts", "comments", "moderation", "query")
BUS = (*CHAIN, "event-bus")


def span(number: int, service: str, at_ms: float, ms: float, **more: Any) -> dict[str, Any]:
    return {
        **{"trace": "t", "span": f"s{number}", "parent": "root", "service": service},
        **{"kind": "server", "name": "POST", "status": 201, "at": BEGAN + at_ms / 1_000, "ms": ms},
        **more,
    }


def call(whom: str, at_ms: float, ms: float, **more: str) -> dict[str, Any]:
    return {"whom": whom, "what": "GET /it", "at": BEGAN + at_ms / 1_000, "ms": ms, **more}


def sent(status: int = 201, took_ms: float = 10.0, error: str = "") -> SentRequest:
    return SentRequest("comment", "POST comment", "comments", BEGAN, took_ms, status, error)


def draw(
    request: SentRequest,
    spans: list[dict[str, Any]],
    lifelines: tuple[str, ...] = CHAIN,
    stopped: StoppedEvent | None = None,
    moments: BusMoments | None = None,
    outages: Sequence[Outage] = (),
) -> Diagram:
    return diagram_of("half", request, spans, lifelines, outages, stopped, moments)


def arrows(diagram: Diagram) -> list[tuple[str, str, str, int | None]]:
    return [
        (a.kind, a.sender, a.receiver, None if a.received_ms is None else round(a.received_ms))
        for a in diagram.arrows
    ]


ASKS = [
    span(1, "comments", 1, 8, asked=[call("posts", 2, 4)], queued_ms=0.5),
    span(2, "posts", 3, 2, parent="s1", status=200),
]


def test_a_call_and_its_response_are_two_arrows() -> None:
    assert arrows(draw(sent(), ASKS)) == [
        ("request", "client", "comments", 1),
        ("reply", "comments", "client", 10),
        ("request", "comments", "posts", 3),
        ("reply", "posts", "comments", 6),
    ]


@pytest.mark.parametrize(
    ("at_ms", "line"),
    [
        (0.5, "client waits for comments. Workers held: 0"),
        (
            4,
            "client waits for comments; comments waits for posts. "
            "Workers held: 2 (comments, posts)",
        ),
        (8, "client waits for comments. Workers held: 1 (comments)"),
        (10, "the client waits for nothing. Workers held: 0"),
    ],
)
def test_the_line_names_who_waits_and_who_works(at_ms: float, line: str) -> None:
    assert live_line(draw(sent(), ASKS), at_ms) == line


def test_a_call_without_a_span_of_its_callee_stops_there() -> None:
    asks = [span(1, "comments", 1, 8, status=503, asked=[call("posts", 2, 4, failed="Timeout")])]
    drawn = draw(sent(503), asks)
    lost = next(arrow for arrow in drawn.arrows if arrow.receiver == "posts")
    assert (lost.received_ms, lost.lost) == (None, "Timeout")
    gives_up = next(mark for mark in drawn.marks if mark.kind == "bad")
    assert (gives_up.lifeline, round(gives_up.at_ms)) == ("comments", 6)
    assert "comments waits for posts" in live_line(drawn, 5)
    assert "comments waits for posts" not in live_line(drawn, 7)


def test_a_response_after_the_client_gave_up_is_too_late() -> None:
    drawn = draw(sent(0, 5.0, "timeout"), [span(1, "comments", 1, 8)])
    assert [(arrow.kind, arrow.lost) for arrow in drawn.arrows] == [
        ("request", ""),
        ("reply", "too late"),
    ]


def test_an_event_is_an_arrow_from_its_publisher_to_its_consumer() -> None:
    spans = [
        span(1, "comments", 1, 3),
        span(2, "query", 6, 1, parent="s1", kind="consumer", name="CommentCreated"),
    ]
    stopped = StoppedEvent("event-bus", "for moderation", "It waits for moderation.")
    drawn = draw(sent(), spans, BUS, stopped)
    (event,) = (arrow for arrow in drawn.arrows if arrow.kind == "event")
    sent_and_received = (round(event.sent_ms), round(event.received_ms or 0))
    assert isinstance(event, Arrow)
    assert (event.sender, event.receiver, *sent_and_received) == ("comments", "query", 4, 6)
    assert [mark.label for mark in drawn.marks if mark.lifeline == "event-bus"] == [
        "for moderation"
    ]
    assert drawn.caption == "201 after 10 ms. It waits for moderation."
    assert missing_deliveries("comment", spans)[0] == ("CommentCreated", "moderation")


def bus_event(name: str, number: int, received_ms: float, *delivered: Any) -> dict[str, Any]:
    return {
        "number": number,
        "type": name,
        "received": BEGAN + received_ms / 1_000,
        "committed": BEGAN + (received_ms + 1) / 1_000,
        "delivered": [
            {"to": to, "at": BEGAN + at_ms / 1_000, "failed": failed}
            for to, at_ms, failed in delivered
        ],
    }


def test_the_bus_receives_commits_and_delivers_in_the_drawing() -> None:
    spans = [
        span(1, "comments", 1, 3),
        span(2, "query", 8, 1, parent="s1", kind="consumer", name="CommentCreated"),
    ]
    # `query` read the event again after a lost connection: the delivery before its span counts.
    deliveries = (("query", 6, ""), ("query", 7, ""), ("query", 20, ""), ("posts", 7, ""))
    event = bus_event("CommentCreated", 12, 5, *deliveries)
    drawn = draw(sent(), spans, BUS, moments=BusMoments(True, BEGAN - 9, [event]))
    assert arrows(drawn)[2:] == [
        ("event", "comments", "event-bus", 5),
        ("event", "event-bus", "query", 8),
    ]
    assert [round(arrow.sent_ms) for arrow in drawn.arrows[2:]] == [4, 7]
    assert [(mark.kind, mark.label) for mark in drawn.marks] == [
        ("commit", "no. 12"),
        ("note", "applied"),
    ]
    assert drawn.lifelines == ("client", "comments", "query", "event-bus")


REFUSED = "CommentCreated can't be delivered to http://127.0.0.1:1: Connection refused"


@pytest.mark.parametrize(
    ("keeps", "started_ms", "delivered", "unpublished", "lifeline", "says"),
    [
        (True, -9, None, 3, "comments", "waits in the outbox of comments"),
        (True, -9, None, 0, "comments", "never reached the bus"),
        (True, 50, None, 0, "event-bus", "is in the log, and waits for query"),
        (True, None, None, 0, "event-bus", "is in the log, and waits for query"),
        (True, -9, [], 0, "event-bus", "is in the log, and waits for query"),
        (True, -9, [("query", 7, "")], 0, "query", "delivered CommentCreated to query, which"),
        (False, 50, None, 0, "event-bus", "last seen in the memory of the bus"),
        (False, -9, [("query", 7, REFUSED)], 0, "event-bus", "could not deliver"),
        (False, -9, [("comments", 7, "")], 0, "event-bus", "has not sent it to query"),
    ],
)
def test_the_drawing_says_where_an_event_stopped(
    keeps: bool,
    started_ms: float | None,
    delivered: list[Any] | None,
    unpublished: int,
    lifeline: str,
    says: str,
) -> None:
    events = [] if delivered is None else [bus_event("CommentCreated", 1, 5, *delivered)]
    started_s = None if started_ms is None else BEGAN + started_ms / 1_000
    moments = BusMoments(keeps, started_s, events)
    stopped = stop_of("CommentCreated", "query", sent(), moments, unpublished)
    assert stopped.lifeline == lifeline
    assert says in stopped.text


def test_an_outage_after_the_request_is_a_stretch_and_one_before_is_left_out() -> None:
    outages = [Outage("posts", BEGAN - 3, BEGAN - 1), Outage("posts", BEGAN + 1, BEGAN + 2)]
    drawn = draw(sent(), ASKS, outages=outages)
    (down,) = (one for one in drawn.stretches if one.kind == "down")
    assert (down.lifeline, down.from_ms, down.until_ms) == ("posts", 1_000, 2_000)
    assert [mark.kind for mark in drawn.marks] == ["crash", "start"]


def test_both_halves_share_one_axis_of_time() -> None:
    left = diagram_of("left", sent(), ASKS, CHAIN)
    right = diagram_of("right", sent(), [span(1, "comments", 4, 2)], CHAIN)
    both = side_by_side([left, right])
    assert both.groups == ("left", "right")
    assert both.lifelines == (
        *("left/client", "left/posts", "left/comments", "right/client", "right/comments"),
    )
    order = [(step.at_ms, step.lifeline.partition("/")[0]) for step in both.steps()]
    assert order == sorted(order, key=lambda one: one[0])
    assert {side for at_ms, side in order if 1 < at_ms < 8} == {"left", "right"}
    svg = space_time_chart(both).svg()
    assert ">left<" in svg
    assert ">comments<" in svg


def test_the_bus_is_the_last_lifeline() -> None:
    assert lifelines_of(["event-bus", "query", "comments", "hop-1"]) == (
        *("client", "comments", "query", "hop-1", "event-bus"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_follows_a_comment_and_shows_where_it_stops(
    browser: Any, address: str, theme: str
) -> None:
    with open_page(browser, address, color_scheme=theme) as seen:
        follow(seen)
        assert outcomes(seen) == ["201", "201"]
        assert seen.violations() == []
        still = seen.page.evaluate("fetch('./api/still.svg').then(answer => answer.text())")
        assert "CommentUpdated from async-bus/event-bus to async-bus/query" in still
        assert "async-bus/event-bus commits no." in still
        assert "GET /posts/" in still
        seen.page.keyboard.press("l")
        seen.wait_for_text("#notice", "No acknowledged write is missing")
        seen.page.keyboard.press("3")
        seen.page.keyboard.press("k")
        seen.wait_for(is_down, "moderation")
        follow(seen)
        assert outcomes(seen) == ["503", "201"]
        seen.wait_for_text(".slow-line:last-child", "waits for moderation")
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("u")
        seen.page.wait_for_selector("#slow-motion", state="hidden")
        assert seen.errors == []


@pytest.mark.slow
def test_a_write_that_never_came_is_drawn_with_its_last_place(browser: Any, tmp_path: Any) -> None:
    """On the bus of the course, which keeps nothing for a consumer that is down."""
    options = ("sync-chain", "async-bus", "--bus", "course", "--rate", "5")
    with (
        run_console_process(tmp_path, *options) as console,
        open_page(browser, console.addresses[0]) as seen,
    ):
        follow(seen)
        assert outcomes(seen) == ["201", "201"]  # no trace connects the events: their subject does
        seen.page.keyboard.press("Escape")
        for key in "4k":
            seen.page.keyboard.press(key)
        seen.wait_for(is_down, "query")
        seen.page.keyboard.press("n")
        seen.wait_for_text(f"{RIGHT} .own-answer", "accepted")
        seen.page.keyboard.press("u")
        seen.wait_for_text(f"{RIGHT} .figure:nth-child(4)", "missing")
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("l")
        seen.wait_for_text("#slow-motion", "all of it")
        (line,) = seen.page.locator(".slow-line").all_text_contents()
        assert re.search(r"(Post|Comment) no\. \d+: 201 at \d:\d\d\. Readers: never\.", line)
        assert "could not deliver" in line
        assert "query was down from" in line
        assert seen.violations() == []
        assert seen.errors == []


def follow(seen: PageObserver) -> None:
    seen.page.keyboard.press("t")
    seen.wait_for_text("#slow-motion", "all of it")


def outcomes(seen: PageObserver) -> list[str]:
    """The outcome of each half."""
    return [text.split()[1] for text in seen.page.locator(".slow-line").all_text_contents()]
