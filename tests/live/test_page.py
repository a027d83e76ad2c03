"""The page as an instructor uses it: a key breaks something, both halves show it, one heals it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import (
    LEFT,
    RIGHT,
    Seen,
    chromium,
    console,
    eventually,
    figure,
    is_down,
    is_well,
    opened,
)

HOSTILE = (
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    '"><svg onload=window.ran=1>',
    "javascript:window.ran=1",
    "{{constructor.constructor('window.ran = 1')()}}",
    "\u202eback to front\u2066 and inside \u200f\u061c",
    "\u202e\u202e\u202e",
    "مرحبا بالعالم، هذا عنوان طويل من اليمين إلى اليسار",
    "Z\u0351\u036b\u0343\u036a\u0302a\u0328\u034d\u0349l\u0310\u0304g\u0300\u0301o" * 3,
    "W" * 200,
)
LONG = "m" * 2_000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with console(tmp_path_factory.mktemp("live"), "--rate", "20") as (url, *_):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def live(browser: Any, address: str) -> Iterator[Seen]:
    with opened(browser, address) as seen:
        yield seen
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("0")
        for half in (LEFT, RIGHT):
            seen.page.wait_for_selector(is_well(half, "comments"))
        assert seen.complaints == []


def text(live: Seen, selector: str) -> str:
    return str(live.page.text_content(selector) or "")


def wait_for_text(live: Seen, selector: str, part: str) -> None:
    eventually(
        live.page,
        "s => document.querySelector(s)?.textContent",
        lambda t: t and part in t,
        selector,
    )


def wait_for_log(live: Seen, part: str) -> None:
    wait_for_text(live, ".log", part)


def test_the_token_is_taken_out_of_the_address(live: Seen) -> None:
    assert "token" not in live.page.url
    assert live.page.evaluate("document.cookie") == ""


def test_both_halves_draw_what_moves(live: Seen) -> None:
    drawn = """half => {
        const canvas = document.querySelector(`${half} canvas`);
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return data.some(value => value > 0);
    }"""
    for half in (LEFT, RIGHT):
        eventually(live.page, drawn, bool, half)


def test_one_key_kills_comments_on_both_sides_and_another_heals_them(live: Seen) -> None:
    live.page.keyboard.press("k")
    for half in (LEFT, RIGHT):
        live.page.wait_for_selector(is_down(half, "comments"))
        live.page.wait_for_selector(figure(half, 2, False))
    live.page.wait_for_selector(figure(LEFT, 1, False))
    live.page.wait_for_selector(f"{LEFT} .error-page:visible")
    # Who was being answered when it was killed sees a 502; all who come later, a 503.
    live.page.wait_for_selector(f"{LEFT} .error-code:has-text('503')")
    # On the right readers notice nothing.
    live.page.wait_for_selector(figure(RIGHT, 1, True))
    assert live.page.is_visible(f"{RIGHT} .feed")
    wait_for_log(live, "comments: down is on")
    wait_for_text(live, "#seen", "sync-chain")
    live.page.wait_for_selector(f"{LEFT} .shade[visibility=visible]")
    live.page.keyboard.press("u")
    for half in (LEFT, RIGHT):
        live.page.wait_for_selector(is_well(half, "comments"))
        for number in (1, 2):
            live.page.wait_for_selector(figure(half, number, True))
    live.page.wait_for_selector(f"{LEFT} .feed:visible")
    wait_for_log(live, "down is healed")


def test_the_other_half_can_be_left_alone(live: Seen) -> None:
    live.page.keyboard.press("q")
    live.page.keyboard.press("1")
    live.page.keyboard.press("k")
    live.page.wait_for_selector(is_down(LEFT, "posts"))
    live.page.wait_for_selector(is_well(RIGHT, "posts"))
    live.page.keyboard.press("u")
    live.page.wait_for_selector(is_well(LEFT, "posts"))


@pytest.mark.parametrize(
    ("key", "says"), [("s", "slow +300 ms"), ("f", "fails 50 %"), ("x", "cut from"), ("h", "HANGS")]
)
def test_each_fault_is_written_on_its_node(live: Seen, key: str, says: str) -> None:
    live.page.keyboard.press(key)
    for half in (LEFT, RIGHT):
        wait_for_text(live, f'{half} [data-node="comments"]', says)
    live.page.click("button:has-text('Heal all')")
    for half in (LEFT, RIGHT):
        live.page.wait_for_selector(is_well(half, "comments"))


def test_what_cannot_be_done_is_said(live: Seen) -> None:
    live.page.keyboard.press("k")
    live.page.wait_for_selector(is_down(LEFT, "comments"))
    live.page.keyboard.press("k")
    wait_for_text(live, "#notice", "already down")


def test_a_post_and_a_comment_appear_in_both_blogs(live: Seen) -> None:
    live.page.keyboard.press("n")
    live.page.keyboard.type("Written by hand")
    live.page.keyboard.press("Enter")
    for half in (LEFT, RIGHT):
        wait_for_text(live, f"{half} .own-answer", "readers see it")
    live.page.keyboard.press("c")
    live.page.keyboard.type("An answer by hand")
    live.page.keyboard.press("Enter")
    for half in (LEFT, RIGHT):
        wait_for_text(live, f"{half} .post[data-mine] .comments", "An answer by hand")


def test_keys_that_are_typed_into_the_form_break_nothing(live: Seen) -> None:
    live.page.keyboard.press("n")
    live.page.keyboard.type("khsfx0")
    assert live.page.input_value(".write input") == "khsfx0"
    live.page.keyboard.press("Escape")
    live.page.fill(".write input", "")
    assert live.page.locator("[data-how=down]").count() == 0


def test_hostile_texts_stay_texts_and_break_no_layout(live: Seen) -> None:
    size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    for title in HOSTILE:
        live.page.fill(".write input", title)
        live.page.click(".write button:has-text('Post')")
        for half in (LEFT, RIGHT):
            wait_for_text(live, f"{half} .own-answer", "Your post: accepted")
            wait_for_text(live, f"{half} .post[data-mine] .post-title", title)
        for content in (title, LONG):
            live.page.fill(".write input", content)
            live.page.click(".write button:has-text('Comment')")
            for half in (LEFT, RIGHT):
                wait_for_text(live, f"{half} .post[data-mine] .comments", content)
        assert live.page.evaluate(size) == [1280, 720]
    assert live.page.evaluate("window.ran") is None
    assert live.page.locator(".blog :is(script, img, svg, iframe, a)").count() == 0


def test_a_held_screen_stands_still_while_the_lab_runs_on(live: Seen) -> None:
    live.page.keyboard.press(".")
    live.page.wait_for_selector("body[data-mode=paused]")
    held = text(live, "#clock").split(" (")[0]
    wait_for_text(live, "#clock", "0:02 ago")
    assert text(live, "#clock").split(" (")[0] == held
    live.page.keyboard.press("b")
    live.page.wait_for_selector("body[data-mode=replay]")
    live.page.keyboard.press("Escape")
    live.page.wait_for_selector("body[data-mode=live]")


def test_the_load_follows_the_keys(live: Seen) -> None:
    live.page.keyboard.press("+")
    wait_for_log(live, "30 requests a second")
    live.page.keyboard.press("-")
    wait_for_log(live, "20 requests a second")
    live.page.keyboard.press("m")
    wait_for_log(live, "read_feed 3")
    for _ in range(2):
        live.page.keyboard.press("m")
    wait_for_log(live, "read_feed 6")


def test_reset_asks_once_and_starts_clean(live: Seen) -> None:
    live.page.keyboard.press("k")
    live.page.wait_for_selector(is_down(LEFT, "comments"))
    live.page.keyboard.press("r")
    live.page.wait_for_selector("#again[open]")
    live.page.keyboard.press("Enter")
    wait_for_log(live, "Started anew")
    live.page.wait_for_selector("body[data-state=open]")
    for half in (LEFT, RIGHT):
        live.page.wait_for_selector(is_well(half, "comments"))
        live.page.wait_for_selector(figure(half, 1, True))


def test_what_changes_is_said_to_those_who_listen(live: Seen) -> None:
    live.page.keyboard.press("k")
    wait_for_text(live, "#spoken", "down")
    assert live.page.get_attribute("#spoken", "aria-live") == "polite"


def test_every_key_is_shown(live: Seen) -> None:
    live.page.keyboard.press("?")
    shown = live.page.locator(".key-list kbd").all_text_contents()
    assert {"k", "u", "0", "b", "r", "Space", "?"} <= set(shown)
    assert len(shown) == len(set(shown))
    live.page.keyboard.press("Escape")
    # What a button shows is a key that there is.
    assert set(live.page.locator("button kbd").all_text_contents()) <= {*shown, "Enter"}


def test_who_has_no_token_is_told_what_to_open(browser: Any, address: str) -> None:
    page = browser.new_context().new_page()
    page.goto(address.partition("#")[0])
    page.wait_for_selector("#connection[data-state=refused]")
    assert "token" in page.text_content("#connection")
    page.context.close()
