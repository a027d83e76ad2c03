"""How the page looks, to whom: on small and large screens, to those who see little or no colour, to
those whom motion troubles; and what it fetches for that."""

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

SIZE = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with console(tmp_path_factory.mktemp("live"), "--rate", "20") as (url, *_):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


def violations(seen: Seen) -> list[str]:
    """What axe-core finds, in a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    found = axe.Axe().run(seen.page, options=RULES).response
    assert len(found["passes"]) > 10  # it has looked
    return [
        f"{one['id']}: {node['target']}" for one in found["violations"] for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_calm_or_broken_in_any_dress(
    browser: Any, address: str, theme: str
) -> None:
    with opened(browser, address, color_scheme=theme) as seen:
        assert seen.page.get_attribute("html", "data-theme") == theme
        assert violations(seen) == []
        seen.page.keyboard.press("k")
        seen.page.wait_for_selector(is_down(LEFT, "comments"))
        seen.page.wait_for_selector(f"{LEFT} .error-page:visible")
        assert violations(seen) == []
        seen.page.keyboard.press("u")
        seen.page.wait_for_selector(is_well(LEFT, "comments"))
        for key in ("p", "?", "r"):
            seen.page.keyboard.press(key)
            assert violations(seen) == []
            seen.page.keyboard.press("Escape")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (1366, 768), (1024, 768)])
@pytest.mark.parametrize("presenting", [False, True])
def test_it_fits_without_scrolling(
    browser: Any, address: str, width: int, height: int, presenting: bool
) -> None:
    with opened(browser, address, width, height) as seen:
        if presenting:
            seen.page.keyboard.press("p")
        wide, high = seen.page.evaluate(SIZE)
        assert wide == width
        assert high == height
        for half in (LEFT, RIGHT):
            for part in (".picture", ".blog", ".figures", ".chart"):
                box = seen.page.locator(f"{half} {part}").bounding_box()
                assert box["height"] > 50
                assert box["y"] + box["height"] <= height


def test_a_narrow_window_scrolls_down_and_not_sideways(browser: Any, address: str) -> None:
    with opened(browser, address, 800, 500) as seen:
        assert seen.page.evaluate(SIZE)[0] == 800


def test_who_asks_for_less_motion_sees_none(browser: Any, address: str) -> None:
    with opened(browser, address, reduced_motion="reduce") as seen:
        frames = "() => Number(document.body.dataset.frames)"
        later = seen.page.evaluate(frames) + 60
        eventually(seen.page, frames, lambda n: n > later)
        blank = """half => {
            const canvas = document.querySelector(`${half} canvas`);
            const pen = canvas.getContext('2d');
            return pen.getImageData(0, 0, canvas.width, canvas.height).data.every(v => v === 0);
        }"""
        for half in (LEFT, RIGHT):
            assert seen.page.evaluate(blank, half)


def test_nothing_is_asked_of_any_other_host(browser: Any, address: str) -> None:
    with opened(browser, address) as seen:
        seen.page.keyboard.press("k")
        seen.page.wait_for_selector(is_down(RIGHT, "comments"))
        seen.page.keyboard.press("u")
        seen.page.wait_for_selector(is_well(RIGHT, "comments"))
        own = address.partition("#")[0]
        assert [url for url in seen.asked if not url.startswith(own)] == []
        assert seen.complaints == []


def test_the_end_of_the_lab_is_said(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    with console(tmp_path_factory.mktemp("ends")) as (url, *_):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("body[data-state=open]")
    page.wait_for_selector("#connection[data-state=lost]")
    assert "Trying again" in page.text_content("#connection")
    context.close()
