"""Slow motion: the drawing of a request from its spans, and the page that plays it."""

from typing import Any

import pytest

from lab.live.followed import (
    SentRequest,
    StoppedEvent,
    diagram_of,
    lifelines_of,
    live_line,
    missing_deliveries,
)
from lab.results.space_time import Arrow, Diagram
from tests.support.browser import PageObserver, is_down, open_page

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
) -> Diagram:
    return diagram_of("half", request, spans, lifelines, {}, stopped)


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
        assert lines(seen) == ["201", "201"]
        assert seen.violations() == []
        still = "fetch('./api/still.svg?half=async-bus').then(answer => answer.text())"
        assert "CommentUpdated from comments to query" in seen.page.evaluate(still)
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("3")
        seen.page.keyboard.press("k")
        seen.wait_for(is_down, "moderation")
        follow(seen)
        assert lines(seen) == ["503", "201"]
        seen.wait_for_text(".slow-half:last-child .slow-line", "waits for moderation")
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("u")
        seen.page.wait_for_selector("#slow-motion", state="hidden")
        assert seen.errors == []


def follow(seen: PageObserver) -> None:
    seen.page.keyboard.press("t")
    seen.wait_for_text("#slow-motion", "all of it")


def lines(seen: PageObserver) -> list[str]:
    """The outcome of each half."""
    return [text.split()[0] for text in seen.page.locator(".slow-line").all_text_contents()]
