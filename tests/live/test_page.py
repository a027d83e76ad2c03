"""The page as an instructor uses it: a key injects a fault, both panes show it, one heals it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import (
    HOSTILE,
    LEFT,
    RIGHT,
    PageObserver,
    eventually,
    figure,
    is_down,
    is_healthy,
    open_page,
)

LONG = "m" * 2_000
NEWEST_LINE = ".log li:first-child .line-says"
OPTIONS = ()


_TYPE = """([key, code]) => document.body.dispatchEvent(
    new KeyboardEvent('keydown', {key, code, bubbles: true})
)"""


def type_key(live: PageObserver, key: str, code: str) -> None:
    """Press the key at this place of the keyboard, which types `key` in its layout."""
    live.page.evaluate(_TYPE, [key, code])


@pytest.fixture
def live(browser: Any, address: str) -> Iterator[PageObserver]:
    with open_page(browser, address) as seen:
        yield seen
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("0")
        seen.set_rate(5)
        seen.wait_for(is_healthy, "comments")
        assert seen.errors == []
        host = address.partition("#")[0]
        assert [url for url in seen.requested_urls if not url.startswith(host)] == []


def test_keys_break_heal_and_write_in_both_halves(live: PageObserver) -> None:
    page, keys = live.page, live.page.keyboard
    live.record_announcements()
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    for half in (LEFT, RIGHT):
        live.wait_until_drawn(half)

    keys.press("k")
    live.wait_for(is_down, "comments")
    live.wait_for(figure, 3, False)
    page.wait_for_selector(figure(LEFT, 1, False))
    page.wait_for_selector(f"{LEFT} .error-page:visible")
    # Requests in flight at the kill get a 502, all later ones a 503.
    page.wait_for_selector(f"{LEFT} .error-code:has-text('503')")
    # In the right pane readers notice nothing.
    page.wait_for_selector(figure(RIGHT, 1, True))
    page.wait_for_selector(f"{RIGHT} .feed:visible")
    live.wait_for_text(".log", "comments killed")
    live.wait_for_text("#seen", "sync-chain")
    page.wait_for_selector(f"{LEFT} .shade[visibility=visible]")
    live.wait_for_announcement("down")
    assert page.get_attribute("#spoken", "aria-live") == "polite"
    assert live.violations() == []
    keys.press("k")
    live.wait_for_text("#notice", "already down")

    keys.press("u")
    live.wait_for(is_healthy, "comments")
    live.wait_for(figure, 1, True)
    live.wait_for(figure, 3, True)
    page.wait_for_selector(f"{LEFT} .feed:visible")
    live.wait_for_text(".log", "comments restarted")

    for key in "q1k":
        keys.press(key)
    page.wait_for_selector(is_down(LEFT, "posts"))
    page.wait_for_selector(is_healthy(RIGHT, "posts"))
    for key in "uw":
        keys.press(key)
    page.wait_for_selector(is_healthy(LEFT, "posts"))

    live.set_rate(0)
    keys.press("/")
    keys.type("khsfx0, written by hand")  # none of these acts as a key here
    keys.press("Enter")
    for half in (LEFT, RIGHT):
        live.wait_for_text(f"{half} .own-answer", "readers see it")
        live.wait_for_text(f"{half} .post[data-mine] .post-title", "khsfx0, written by hand")
    keys.press("c")
    for half in (LEFT, RIGHT):
        live.wait_for_text(f"{half} .post[data-mine] .comments", "Comment 1 from the lecture")
    assert page.locator("[data-how=down]").count() == 0

    keys.press("?")
    shown = page.locator(".key-list kbd").all_text_contents()
    assert {"k", "u", "0", "b", "r", "Space", "?"} <= set(shown)
    assert len(shown) == len(set(shown))
    # The key on each button works.
    keys.press("Escape")
    assert set(page.locator("button kbd").all_text_contents()) <= {*shown, "Enter"}


_IN_ORDER = """hops => import('./static/hop_order.js').then(({inOrder}) => inOrder(hops).map(
    ({hop, startS, durationS}) => [`${hop.from}>${hop.to}`, startS, startS + durationS]))"""
_IN_LANES = """spans => import('./static/lanes.js').then(({inLanes}) =>
    inLanes(spans).map(({since, lane, lanes}) => [since, lane, lanes]))"""


def hop(ends: str, at_ms: float, took_ms: float, what: str = "GET /it") -> dict[str, Any]:
    start, _, end = ends.partition(">")
    return {
        **{"from": start, "to": end, "what": what, "isEvent": "event-bus" in ends},
        **{"at": at_ms, "tookMs": took_ms},
    }


def test_the_hops_of_one_request_follow_one_another(live: PageObserver) -> None:
    comment = [
        hop("comments>moderation", 5, 2),
        hop("client>comments", 0, 9),
        hop("comments>posts", 2, 2),
        hop("event-bus>moderation", 20, 1, "CommentCreated"),
        hop("comments>event-bus", 20, 1, "CommentCreated"),
        hop("moderation>event-bus", 30, 1, "CommentModerated"),
    ]
    shown = {ends: times for ends, *times in live.page.evaluate(_IN_ORDER, comment)}
    first, second = shown["comments>posts"], shown["comments>moderation"]
    whole = shown["client>comments"]
    assert whole[0] < first[0] < first[1] <= second[0] < second[1] < whole[1]
    created, arrived = shown["comments>event-bus"], shown["event-bus>moderation"]
    assert second[1] <= created[0] < created[1] == arrived[0]
    assert arrived[1] == shown["moderation>event-bus"][0]
    # Calls that were made at the same time are shown so.
    together = [hop("query>posts", 1, 5), hop("query>comments", 1, 5), hop("client>query", 0, 8)]
    starts = {ends: start for ends, start, _ in live.page.evaluate(_IN_ORDER, together)}
    assert starts["query>posts"] == starts["query>comments"]


def test_faults_that_overlap_are_shaded_beside_each_other(live: PageObserver) -> None:
    spans = [{"since": since, "until": until} for since, until in ((1, 2), (3, 6), (4, 5), (5, 8))]
    found = live.page.evaluate(_IN_LANES, spans)
    assert found == [[1, 0, 1], [3, 0, 2], [4, 1, 2], [5, 1, 2]]


def test_each_fault_has_its_own_clock(live: PageObserver) -> None:
    live.page.keyboard.press("k")
    live.wait_for_text("#outage", "comments DOWN · 0:01")
    for key in "4s":
        live.page.keyboard.press(key)
    live.wait_for_text("#outage", " | query slow +300 ms · 0:0")
    assert live.page.text_content("#outage").startswith("comments DOWN · 0:0")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["л", "κ"])
def test_keys_act_by_place_in_other_layouts(live: PageObserver, key: str) -> None:
    type_key(live, key, "KeyK")
    live.wait_for(is_down, "comments")


@pytest.mark.slow
def test_keys_of_one_character_can_be_turned_off(live: PageObserver) -> None:
    page = live.page
    page.keyboard.press("?")
    page.click("button:has-text('Turn keys off')")
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("body[data-mode=paused]")  # other keys act as before
    assert page.get_attribute("html", "data-presenting") == "no"
    page.click("button:has-text('Keys')")
    page.click("button:has-text('Turn keys on')")
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    assert page.get_attribute("html", "data-presenting") == "yes"
    page.keyboard.press("p")


@pytest.mark.slow
def test_each_fault_is_written_on_its_node(live: PageObserver) -> None:
    for key, says in zip("sfxh", ("slow +300 ms", "fails 50 %", "CUT OFF", "HANGS"), strict=True):
        live.page.keyboard.press(key)
        for half in (LEFT, RIGHT):
            live.wait_for_text(f'{half} [data-node="comments"]', says)
        live.page.click("button:has-text('Heal all')")
        live.wait_for(is_healthy, "comments")


@pytest.mark.slow
def test_hostile_texts_stay_texts_and_break_no_layout(live: PageObserver) -> None:
    page = live.page
    live.set_rate(0)
    for title in HOSTILE:
        page.fill(".write input", title)
        page.click(".write button:has-text('Post')")
        for half in (LEFT, RIGHT):
            live.wait_for_text(f"{half} .own-answer", "Your post: accepted")
            live.wait_for_text(f"{half} .post[data-mine] .post-title", title)
        for content in (title, LONG):
            page.fill(".write input", content)
            page.click(".write button:has-text('Comment')")
            for half in (LEFT, RIGHT):
                live.wait_for_text(f"{half} .post[data-mine] .comments", content)
        assert live.size == [1280, 720]
    assert page.evaluate("window.ran") is None
    assert page.locator(".blog :is(script, img, svg, iframe, a)").count() == 0


@pytest.mark.slow
def test_a_held_screen_keeps_still_while_the_lab_runs(live: PageObserver) -> None:
    page = live.page
    page.keyboard.press(".")
    page.wait_for_selector("body[data-mode=paused]")
    clock = "document.getElementById('clock').textContent"
    held = page.evaluate(clock).partition(" (")[0]
    eventually(page, clock, lambda text: re.search(r"\((?!0:0[01])\S+ ago", text))
    assert page.evaluate(clock).partition(" (")[0] == held
    page.keyboard.press("b")
    page.wait_for_selector("body[data-mode=replay]")
    page.keyboard.press("Escape")
    page.wait_for_selector("body[data-mode=live]")


@pytest.mark.slow
def test_the_load_follows_the_keys(live: PageObserver) -> None:
    for key, says in (("+", "10 requests a"), ("-", "5 requests a")):
        live.page.keyboard.press(key)
        live.wait_for_text(NEWEST_LINE, says)
    # The next press continues from the mix that the page shows.
    for mix, says in (("2", "read_feed 3"), ("0", "read_feed 18"), ("1", "read_feed 6")):
        live.page.keyboard.press("m")
        live.wait_for_text(NEWEST_LINE, says)
        eventually(live.page, "document.querySelector('select.mix').value", mix.__eq__)


@pytest.mark.slow
def test_a_reset_asks_once_and_starts_clean(live: PageObserver) -> None:
    live.page.keyboard.press("k")
    live.page.wait_for_selector(is_down(LEFT, "comments"))
    live.page.keyboard.press("r")
    live.page.wait_for_selector("#again[open]")
    live.page.keyboard.press("Enter")
    live.wait_for_text(".log", "restarted with no data")
    live.page.wait_for_selector("body[data-state=open]")
    live.wait_for(is_healthy, "comments")
    live.wait_for(figure, 1, True)


@pytest.mark.slow
def test_without_its_token_the_page_says_what_to_open(browser: Any, address: str) -> None:
    page = browser.new_context().new_page()
    page.goto(address.partition("#")[0])
    page.wait_for_selector("#connection[data-state=refused]")
    assert "token" in page.text_content("#connection")
    page.context.close()
