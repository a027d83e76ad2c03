"""The page for those who only look on, and the page with a script to go by."""

import json
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
    is_down,
    is_well,
    opened,
)

SCRIPT = ("--script", "downed-service")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with console(tmp_path_factory.mktemp("live"), "--share", *SCRIPT) as urls:
        yield urls


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def leading(browser: Any, addresses: list[str]) -> Iterator[Seen]:
    with opened(browser, addresses[0]) as seen:
        yield seen
        seen.page.keyboard.press("0")
        seen.page.wait_for_selector(is_well(LEFT, "comments"))


@pytest.fixture
def watching(browser: Any, addresses: list[str]) -> Iterator[Seen]:
    port = addresses[1].rstrip("/").rpartition(":")[2]
    with opened(browser, f"http://127.0.0.1:{port}/") as seen:
        yield seen


def has_text(selector: str) -> str:
    return f"() => document.querySelector('{selector}')?.textContent ?? ''"


def test_who_watches_sees_what_is_done_and_can_do_nothing(leading: Seen, watching: Seen) -> None:
    page = watching.page
    assert "watching" in page.text_content("#connection")
    assert page.locator("form, input, select").count() == 0
    labels = page.locator("button:visible span").all_text_contents()
    assert set(labels) == {"Pause", "Last minute", "Large", "Light/dark", "Keys"}
    for key in ("k", "h", "r", "0"):
        page.keyboard.press(key)
    assert [
        url
        for url in watching.asked
        if "/api/" in url and "stream" not in url and "blog" not in url
    ] == []
    leading.page.keyboard.press("k")
    page.wait_for_selector(is_down(LEFT, "comments"))
    page.wait_for_selector(is_down(RIGHT, "comments"))
    page.wait_for_selector(f"{LEFT} .error-page:visible")


HALF = {"side": "ask", "engine": None, "nodes": ["posts", "comments", "moderation", "query"]}
HELLO = {
    "role": "watcher",
    "epoch": 1,
    "window_s": 60,
    "halves": [
        {"name": name, "arrangement": "sync-chain", "edges": [["query", "posts"]], **HALF}
        for name in ("one", "other")
    ],
    "load": {"rate": 40, "mix": {}},
    "faults": [],
    "script": None,
    "history": [],
    "done": [{"t": 0, "says": "<b onclick=alert(1)>bold</b>", "half": None, "kind": "fault"}],
    "claims": {},
}


def test_a_screen_that_missed_something_says_so(browser: Any, addresses: list[str]) -> None:
    tick = {"t": 1.0, "halves": {}, "dropped": 7}
    stream = f"event: hello\ndata: {json.dumps(HELLO)}\n\nevent: tick\ndata: {json.dumps(tick)}\n\n"
    context = browser.new_context()
    page = context.new_page()
    page.route(
        "**/api/stream",
        lambda route: route.fulfill(body=stream, headers={"Content-Type": "text/event-stream"}),
    )
    page.goto(addresses[0])
    page.wait_for_selector("#missed:has-text('7 pictures missed')")
    # And what was done is told as it was written.
    page.wait_for_selector(".log:has-text('<b onclick=alert(1)>bold</b>')")
    context.close()


def test_the_space_bar_goes_through_a_script(leading: Seen) -> None:
    page = leading.page
    page.keyboard.press(" ")
    page.wait_for_selector("#sheet:has-text('killed')")
    page.keyboard.press(" ")
    for half in (LEFT, RIGHT):
        page.wait_for_selector(is_down(half, "comments"))
    page.wait_for_selector("#sheet", state="hidden")
    page.keyboard.press(" ")
    for half in (LEFT, RIGHT):
        page.wait_for_selector(is_well(half, "comments"))
    page.keyboard.press(" ")
    eventually(page, has_text("#script-says"), lambda text: "last step" in text)
    assert page.is_hidden("#script-next")
    wide, high = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert (wide, high) == (1280, 720)
