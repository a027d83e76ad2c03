"""The ten minutes of `docs/teaching.md`: each key shows the room what the table promises."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import (
    LEFT,
    RIGHT,
    PageObserver,
    eventually,
    figure,
    is_down,
    is_healthy,
    open_page,
)
from tests.support.live_world import run_console_process

pytestmark = pytest.mark.slow

READS, COMMENTS, LAG = 1, 3, 4


@pytest.fixture(scope="module")
def projector(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageObserver]:
    """The page at the default rate."""
    with (
        run_console_process(tmp_path_factory.mktemp("lecture")) as console,
        open_page(browser, console.addresses[0]) as seen,
    ):
        yield seen


@pytest.fixture
def room(projector: PageObserver) -> Iterator[PageObserver]:
    projector.page.keyboard.press("2")
    yield projector
    projector.page.keyboard.press("0")
    for number in (READS, COMMENTS, LAG):
        projector.wait_for(figure, number, True)


def press(room: PageObserver, keys: str) -> None:
    for key in keys:
        room.page.keyboard.press(key)


def test_minute_0_both_do_the_same_work(room: PageObserver) -> None:
    room.wait_for_text("#seen", "Both do the same work")


def test_minutes_1_and_2_a_killed_service(room: PageObserver) -> None:
    press(room, "k")
    room.wait_for(is_down, "comments")
    room.wait_for_text("#seen", "comments is down, so reads fail, although query itself is up")
    room.wait_for_text("#claim", "one-down")
    room.page.wait_for_selector(f"{LEFT} .error-page:visible")
    room.page.wait_for_selector(figure(RIGHT, READS, True))
    room.wait_for(figure, COMMENTS, False)
    press(room, "c")
    for half in (LEFT, RIGHT):
        room.wait_for_text(f"{half} .own-answer", "Your comment is refused: no response")
    press(room, "u")
    room.wait_for(is_healthy, "comments")
    room.wait_for(figure, READS, True)


def test_minute_3_a_suspended_service(room: PageObserver) -> None:
    press(room, "h")
    room.wait_for_text("#seen", "every worker of query waits for comments")
    room.page.wait_for_selector(figure(LEFT, READS, False))
    room.page.wait_for_selector(figure(RIGHT, READS, True))
    press(room, "u")
    room.wait_for(figure, READS, True)


def test_minute_4_a_slow_service(room: PageObserver) -> None:
    press(room, "s")
    room.wait_for_text("#seen", "because it waits for comments")
    room.wait_for_text("#claim", "slowest-hop")
    room.wait_for(figure, READS, True)
    room.page.wait_for_selector(figure(RIGHT, LAG, False))
    room.wait_for_text("#seen", "get a 404, because comments has not heard of those posts yet")
    room.wait_for(figure, READS, True)


def test_minutes_5_and_6_a_killed_bus(room: PageObserver) -> None:
    press(room, "5k")
    room.page.wait_for_selector(is_down(RIGHT, "event-bus"))
    room.page.wait_for_selector(figure(RIGHT, LAG, False))
    room.wait_for_text("#claim", "bus-passes-on")
    room.wait_for_text("#seen", "wait in the outbox of")
    for number in (READS, COMMENTS):
        room.page.wait_for_selector(figure(RIGHT, number, True))
    press(room, "u")
    room.page.wait_for_selector(figure(RIGHT, LAG, True))
    eventually(
        room.page, "document.querySelector('#seen').textContent", lambda t: "missing" not in t
    )


def test_minute_7_one_direction_is_cut(room: PageObserver) -> None:
    press(room, "x")
    room.page.wait_for_selector(figure(LEFT, READS, False))
    room.wait_for_text("#seen", "a read needs comments, which it cannot reach")
    room.page.wait_for_selector(figure(RIGHT, READS, True))
    room.page.wait_for_selector(figure(RIGHT, LAG, False))


def test_minute_8_requests_over_the_bus(browser: Any, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("requests")
    with (
        run_console_process(folder, "request-reply", "async-bus") as console,
        open_page(browser, console.addresses[0]) as seen,
    ):
        press(seen, "k")
        seen.wait_for_text("#claim", "events-like-calls")
        seen.page.wait_for_selector(figure(RIGHT, READS, True))


def test_lost_events_are_called_missing_and_never_late(browser: Any, tmp_path_factory: Any) -> None:
    """A bus that keeps nothing: what `query` misses while it is down never comes."""
    folder = tmp_path_factory.mktemp("lost")
    with (
        run_console_process(folder, "--script", "lost-events") as console,
        open_page(browser, console.addresses[0]) as seen,
    ):
        press(seen, "4k")
        seen.wait_for(is_down, "query")
        seen.page.wait_for_selector(f"{RIGHT} .error-page:visible")
        press(seen, "u")
        seen.wait_for(figure, READS, True)
        lost = f"{RIGHT} .figure:nth-child({LAG})"
        seen.wait_for_text(lost, "missing: nothing is on its way")
        seen.wait_for_text("#seen", "missing: nothing is on its way")
        text = seen.page.text_content("#seen")
        assert "same work" not in text
        assert "old" not in text
        seen.page.wait_for_selector(figure(LEFT, LAG, True))
