"""The page on small and large screens, without colour or motion, for spectators, scripted."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from lab.live.broadcast import Broadcast, encode, encode_event
from lab.live.panes import TWIN_PANES
from tests.support.browser import (
    LEFT,
    RIGHT,
    PageObserver,
    eventually,
    is_down,
    is_healthy,
    open_page,
)
from tests.support.live_world import ConsoleProcess, pane_tick, run_console_process, spectator_port

pytestmark = pytest.mark.slow

SEEN = "document.getElementById('seen').textContent"
OPTIONS = ("--share", "--script", "downed-service")


@pytest.fixture
def leading(browser: Any, address: str) -> Iterator[PageObserver]:
    with open_page(browser, address) as seen:
        yield seen
        seen.page.keyboard.press("0")
        seen.page.wait_for_selector(is_healthy(LEFT, "comments"))


@pytest.fixture
def watching(browser: Any, typed_console: ConsoleProcess) -> Iterator[PageObserver]:
    port = spectator_port(typed_console.process.pid)
    with open_page(browser, f"http://127.0.0.1:{port}/") as seen:
        yield seen


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_either_theme(browser: Any, address: str, theme: str) -> None:
    with open_page(browser, address, color_scheme=theme) as seen:
        page = seen.page
        assert page.get_attribute("html", "data-theme") == theme
        assert seen.violations() == []
        page.keyboard.press("k")
        page.wait_for_selector(is_down(LEFT, "comments"))
        page.wait_for_selector(f"{LEFT} .error-page:visible")
        assert seen.violations() == []
        page.keyboard.press("u")
        page.wait_for_selector(is_healthy(LEFT, "comments"))
        for key in ("p", "?", "r"):
            page.keyboard.press(key)
            assert seen.violations() == []
            page.keyboard.press("Escape")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (1366, 768), (1024, 768)])
def test_it_fits_without_scrolling(browser: Any, address: str, width: int, height: int) -> None:
    with open_page(browser, address, width, height) as seen:
        for keys in (["Escape"], ["p", "v", "v"]):  # in large type, all of each half
            for key in keys:
                seen.page.keyboard.press(key)
            assert seen.size == [width, height]
            for half in (LEFT, RIGHT):
                for part in (".picture", ".blog", ".figures", ".chart"):
                    box = seen.page.locator(f"{half} {part}").bounding_box()
                    assert box["height"] > 50
                    assert box["y"] + box["height"] <= height


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_the_stage_shows_one_thing_large(
    browser: Any, address: str, width: int, height: int
) -> None:
    with open_page(browser, address, width, height) as seen:
        value = f"{LEFT} .figure:first-child .figure-value"
        size = f"parseFloat(getComputedStyle(document.querySelector('{value}')).fontSize)"
        small = seen.page.evaluate(size)
        for key, shown, hidden in (("p", ".blog", ".chart"), ("v", ".chart", ".blog")):
            seen.page.keyboard.press(key)
            assert seen.page.locator(f"{LEFT} {shown}").bounding_box()["width"] > 0.45 * width
            assert seen.page.is_hidden(f"{LEFT} {hidden}")
            assert seen.page.evaluate(size) > 1.7 * small
            assert seen.size == [width, height]
        seen.page.keyboard.press("k")
        seen.wait_for_text("#outage", "comments DOWN · 0:0")
        seen.page.keyboard.press("u")
        seen.wait_for_text("#outage", "")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_one_column_with_legible_figures(
    browser: Any, address: str, theme: str
) -> None:
    with open_page(browser, address, 390, 844, color_scheme=theme) as seen:
        assert seen.size[0] == 390
        sizes = seen.page.evaluate(
            "[...document.querySelectorAll('.figure-value')]"
            ".map(value => parseFloat(getComputedStyle(value).fontSize))"
        )
        assert len(sizes) == 8
        assert min(sizes) >= 28
        left, right = (seen.page.locator(half).bounding_box() for half in (LEFT, RIGHT))
        assert left["y"] + left["height"] <= right["y"]
        assert seen.violations() == []


def test_a_screen_that_is_not_let_in_says_so(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.route("**/api/stream", lambda route: route.fulfill(status=409, body="{}"))
    page.goto(address)
    page.wait_for_selector("#connection[data-state=full]")
    eventually(page, SEEN, lambda text: "You are not connected" in text)
    assert page.is_hidden("#controls")
    context.close()


def test_a_late_screen_shows_the_faults_of_the_last_minute(
    leading: PageObserver, browser: Any, address: str
) -> None:
    leading.page.keyboard.press("k")
    leading.wait_for(is_down, "comments")
    leading.page.keyboard.press("u")
    leading.wait_for(is_healthy, "comments")
    with open_page(browser, address) as late:
        late.wait_for_text(f"{LEFT} .shade-label", "comments DOWN")


def test_a_narrow_window_scrolls_down_and_not_sideways(browser: Any, address: str) -> None:
    with open_page(browser, address, 800, 500) as seen:
        assert seen.size[0] == 800


def test_with_less_motion_asked_for_nothing_moves(browser: Any, address: str) -> None:
    with open_page(browser, address, reduced_motion="reduce") as seen:
        frames = "() => Number(document.body.dataset.frames)"
        later = seen.page.evaluate(frames) + 60
        eventually(seen.page, frames, lambda n: n > later)
        for half in (LEFT, RIGHT):
            assert not seen.is_drawn(half)


def test_the_page_says_that_the_lab_has_ended(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ends = tmp_path_factory.mktemp("ends")
    with run_console_process(ends) as console, open_page(browser, console.addresses[0]) as seen:
        console.end(signal.SIGINT)
        seen.page.wait_for_selector("#connection[data-state=lost]")
        assert "Trying again" in seen.page.text_content("#connection")


def test_a_watcher_sees_what_is_done_and_does_nothing(
    leading: PageObserver, watching: PageObserver
) -> None:
    page = watching.page
    assert "watching" in page.text_content("#connection")
    assert page.locator("form, input, select").count() == 0
    labels = page.locator("button:visible span").all_text_contents()
    # Close: the card of an outage that has just ended.
    assert set(labels) - {"Close"} == {"Pause", "Last minute", "Large", "Light/dark", "Keys"}
    for key in ("k", "h", "r", "0"):
        page.keyboard.press(key)
    called = [url.partition("/api/")[2] for url in watching.requested_urls if "/api/" in url]
    assert [name for name in called if not name.startswith(("stream", "blog"))] == []
    leading.page.keyboard.press("k")
    watching.wait_for(is_down, "comments")
    page.wait_for_selector(f"{LEFT} .error-page:visible")


def test_a_screen_that_missed_something_says_so(browser: Any, address: str) -> None:
    show = Broadcast()
    show.fixed_state = {"halves": [half.to_json() for half in TWIN_PANES]}
    show.log_action("<b onclick=alert(1)>bold</b>", "fault")
    tick = {"t": 1.0, "halves": {half.name: pane_tick() for half in TWIN_PANES}, "dropped": 7}
    stream = encode_event("hello", show.hello_message("watcher")) + encode_event(
        "tick", encode(tick)
    )
    context = browser.new_context()
    page = context.new_page()
    page.route(
        "**/api/stream",
        lambda route: route.fulfill(body=stream, headers={"Content-Type": "text/event-stream"}),
    )
    page.goto(address)
    page.wait_for_selector("#missed:has-text('7 updates missed')")
    # The log shows the text as it was written.
    page.wait_for_selector(".log:has-text('<b onclick=alert(1)>bold</b>')")
    context.close()


def test_the_space_bar_and_pagedown_advance_a_script(leading: PageObserver) -> None:
    page = leading.page
    page.keyboard.press(" ")
    page.wait_for_selector("#sheet:has-text('killed')")
    page.keyboard.press(" ")
    leading.wait_for(is_down, "comments")
    page.wait_for_selector("#sheet", state="hidden")
    page.keyboard.press("PageDown")
    leading.wait_for(is_healthy, "comments")
    page.keyboard.press(" ")
    leading.wait_for_text("#script-says", "last step")
    assert page.is_hidden("#script-next")
    assert leading.size == [1280, 720]
