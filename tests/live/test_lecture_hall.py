"""A lecture with phones: they read a blog, bet before the key, and see what was measured."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.browser import (
    HOSTILE,
    LEFT,
    RIGHT,
    PageObserver,
    eventually,
    figure,
    is_healthy,
    open_page,
)
from tests.support.live_world import ConsoleProcess, spectator_port

pytestmark = pytest.mark.slow

OPTIONS = ("--share",)
SIZES = """() => [...document.querySelectorAll('dd, .outage, .code, .title')]
    .filter(element => element.checkVisibility())
    .map(element => parseFloat(getComputedStyle(element).fontSize))"""
COMMENTS_IN_VIEW = """half => {
    const box = document.querySelector(`${half} .blog`).getBoundingClientRect();
    return [...document.querySelectorAll(`${half} .comment-text`)]
        .map(text => text.getBoundingClientRect())
        .filter(({height, top, bottom}) => height && top >= box.top && bottom <= box.bottom).length;
}"""


@pytest.fixture
def port(typed_console: ConsoleProcess) -> int:
    return spectator_port(typed_console.process.pid)


@pytest.fixture
def leading(browser: Any, address: str) -> Iterator[PageObserver]:
    with open_page(browser, address) as seen:
        yield seen
        for half in (LEFT, RIGHT):
            seen.page.keyboard.press("0")
            seen.page.wait_for_selector(is_healthy(half, "comments"))
        assert seen.errors == []


@pytest.fixture
def phones(browser: Any, port: int) -> Iterator[list[PageObserver]]:
    """Two phones: a reader of the left half, and one of the right half."""
    with ExitStack() as opened:
        found = [opened.enter_context(_open_phone(browser, port)) for _ in range(2)]
        yield sorted(found, key=lambda phone: phone.page.get_attribute("body", "data-side"))
        assert [phone.errors for phone in found] == [[], []]


def _open_phone(
    browser: Any, port: int, width: int = 390, height: int = 844, **options: Any
) -> Any:
    return _Phone(browser, port, {"width": width, "height": height}, options)


class _Phone:
    def __init__(self, browser: Any, port: int, viewport: Any, options: Any) -> None:
        self.context = browser.new_context(viewport=viewport, **options)
        self.url = f"http://127.0.0.1:{port}/"

    def __enter__(self) -> PageObserver:
        phone = PageObserver(self.context.new_page())
        phone.page.goto(self.url)
        phone.page.wait_for_selector("body[data-state=fine]")
        return phone

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (360, 640)])
def test_a_phone_is_a_legible_reader(
    browser: Any, port: int, width: int, height: int, scheme: str
) -> None:
    with _open_phone(browser, port, width, height, color_scheme=scheme) as phone:
        assert phone.size == [width, height]
        sizes = phone.page.evaluate(SIZES)
        assert len(sizes) >= 3
        assert min(sizes) >= 28
        assert phone.violations() == []


def test_a_wide_screen_goes_on_to_the_whole_page(browser: Any, port: int) -> None:
    with open_page(browser, f"http://127.0.0.1:{port}/") as seen:
        assert seen.page.url.endswith("/screen")


def test_the_room_bets_and_the_lab_measures(
    leading: PageObserver, phones: list[PageObserver]
) -> None:
    page = leading.page
    left, right = phones
    page.keyboard.press("i")
    page.wait_for_selector("#invitation .qr")
    leading.wait_for_text("#invitation .url", "http://")
    page.keyboard.press("Escape")
    page.wait_for_selector("#invitation", state="hidden")
    page.keyboard.press("a")
    page.wait_for_selector("#ask[open]")
    assert leading.violations() == []
    page.keyboard.press("1")
    for phone, answer in ((left, "only async-bus"), (right, "both")):
        phone.page.click(f"#answers button:has-text('{answer}')")
        phone.wait_for_text("#thanks", "Counted")
        assert phone.size[0] == 390
        assert phone.violations() == []
    leading.wait_for_text("#bet .bet-count", "2 of 2 phones have answered")
    assert page.locator("#bet .count:visible").count() == 0
    page.wait_for_selector("#bet .qr")
    asked_for = [url for url in leading.requested_urls if url.endswith("/api/room")]
    assert len(asked_for) <= 3  # for the invitation, the dialog, the bet
    assert leading.violations() == []

    page.keyboard.press("a")
    page.wait_for_selector("body[data-bet=closed]")
    leading.wait_for_text("#bet", "Now the key")
    counts = page.locator("#bet .count").all_text_contents()
    assert counts == ["0", "1", "1", "0"]
    assert leading.size == [1280, 720]
    page.keyboard.press("k")
    page.wait_for_selector("#bet [data-holds]:has-text('only async-bus')")
    leading.wait_for_text("#bet .bet-side", "Measured, comments down")
    assert leading.violations() == []
    left.page.wait_for_selector("body[data-state=failing]")
    left.wait_for_text("#code", "503")
    left.wait_for_text("#outage", "comments DOWN")
    left.wait_for_text("#thanks", "You were right: only async-bus (1 of 2 said so)")
    right.page.wait_for_selector("#feed:visible")
    right.wait_for_text("#thanks", "You said: both. It is: only async-bus (1 of 2 said so)")
    for phone in phones:
        assert phone.violations() == []
        assert min(phone.page.evaluate(SIZES)) >= 28
        assert phone.size == [390, 844]

    page.keyboard.press("u")
    left.page.wait_for_selector("body[data-state=fine]")
    page.keyboard.press("a")
    page.wait_for_selector("body[data-bet=none]")
    leading.wait_for_text(".log", "only async-bus. 1 of 2 said so")


def test_a_question_of_the_presenter_stays_text(
    leading: PageObserver, phones: list[PageObserver]
) -> None:
    page = leading.page
    page.keyboard.press("a")
    page.fill("#ask [name=question]", HOSTILE[0])
    for number, text in enumerate(HOSTILE[1:5]):
        page.locator("#ask [name=answer]").nth(number).fill(text[:80])
    page.click("#ask button:has-text('Ask it')")
    for phone in phones:
        phone.wait_for_text("#question", HOSTILE[0])
        phone.page.locator("#answers button").nth(1).click()
        phone.wait_for_text("#thanks", "Counted")
        assert phone.page.evaluate("window.ran") is None
        assert phone.size[0] == 390
    page.keyboard.press("a")
    page.wait_for_selector("body[data-bet=closed]")
    page.click("#bet li:nth-child(2) button")
    page.wait_for_selector("#bet li:nth-child(2)[data-holds]")
    phones[0].wait_for_text("#thanks", "You were right")
    assert page.evaluate("window.ran") is None
    assert leading.size[0] == 1280
    page.keyboard.press("a")
    page.wait_for_selector("body[data-bet=none]")


def test_a_phone_that_reloads_keeps_its_half_and_its_answer(
    leading: PageObserver, phones: list[PageObserver]
) -> None:
    page, phone = leading.page, phones[0]
    page.keyboard.press("a")
    page.wait_for_selector("#ask[open]")
    page.keyboard.press("8")
    phone.page.locator("#answers button").nth(3).click()
    phone.wait_for_text("#thanks", "Counted")
    phone.page.reload()
    phone.page.wait_for_selector("#answers [aria-pressed=true]:has-text('neither')")
    assert phone.page.get_attribute("body", "data-side") == "left"
    for state in ("closed", "none"):
        page.keyboard.press("a")
        page.wait_for_selector(f"body[data-bet={state}]")


def test_a_phone_that_does_not_get_in_is_told_so(browser: Any, port: int) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    body = '{"detail": "1000 phones are connected already. Watch the projector."}'
    page.route(re.compile("/api/phone"), lambda route: route.fulfill(status=409, body=body))
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector("body[data-state=full]")
    eventually(
        page, "document.getElementById('notice').textContent", lambda text: "projector" in text
    )
    context.close()


def test_comments_are_in_view_and_their_absence_is_told(leading: PageObserver) -> None:
    leading.set_rate(20)
    for half in (LEFT, RIGHT):
        eventually(leading.page, COMMENTS_IN_VIEW, bool, half)
    leading.page.keyboard.press("k")
    leading.wait_for_text(f"{RIGHT} .pinned", "No comment in view for")
    leading.page.wait_for_selector(figure(RIGHT, 1, True))
    leading.page.keyboard.press("u")
    eventually(leading.page, COMMENTS_IN_VIEW, bool, RIGHT)
    leading.set_rate(5)


def test_the_address_is_printed(typed_console: ConsoleProcess, port: int) -> None:
    assert re.search(rf":{port}/$", typed_console.addresses[1])
