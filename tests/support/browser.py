"""A headless browser that shows a running console: shared by the tests of the page.

The tests are skipped, with the reason, where Playwright or Chromium is missing: the lab needs
neither.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.programs.patient import PATIENCE_S

_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
_NAMES = ("chromium", "chromium-browser", "google-chrome")

LEFT = ".half[data-side=left]"
RIGHT = ".half[data-side=right]"


def is_down(pane: str, target: str) -> str:
    return f'{pane} [data-node="{target}"][data-how=down]'


def is_healthy(pane: str, target: str) -> str:
    return f'{pane} [data-node="{target}"][data-how=well]'


def figure(pane: str, number: int, well: bool) -> str:
    """The selector of a figure of a pane: 1 reads, 2 posts, 3 comments, 4 feed lag."""
    return f"{pane} .figure:nth-child({number})[data-well={'yes' if well else 'no'}]"


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; skips the test if there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def eventually(
    page: Any,
    script: str,
    holds: Callable[[Any], object],
    argument: Any = None,
    within_s: float = PATIENCE_S,
) -> None:
    """Wait until `holds` is true of the script's result.

    Playwright's own `wait_for_function` needs `unsafe-eval`, which the page forbids.
    """
    deadline = time.perf_counter() + within_s
    while not holds(found := page.evaluate(script, argument)):
        assert time.perf_counter() < deadline, (found, argument)
        page.wait_for_timeout(20)


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
"""Titles that would run as code, reverse the text direction, or overflow the layout."""

_DRAWN = """half => {
    const canvas = document.querySelector(`${half} canvas`);
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return data.some(value => value > 0);
}"""
_LISTEN = """() => {
    window.heard = '';
    const box = document.getElementById('spoken');
    const hear = () => { window.heard += box.textContent; };
    new MutationObserver(hear).observe(box, {childList: true, characterData: true, subtree: true});
}"""
_SET_RATE = """rate => fetch('/api/load', {
    method: 'POST',
    headers: {'Content-Type': 'application/json', 'Lab-Page': '1'},
    body: JSON.stringify({rate}),
}).then(answer => answer.status)"""


class PageObserver:
    """The requests and the error messages of a page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requested_urls: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1_000)
        page.on("request", lambda request: self.requested_urls.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog {dialog.message}"))
        page.on("console", self._record_console_error)

    def wait_for(
        self, selector_of: Callable[..., str], *arguments: Any, panes: Sequence[str] = (LEFT, RIGHT)
    ) -> None:
        """Wait until `how` is true in each of the panes; `how` is one of the functions above."""
        for half in panes:
            self.page.wait_for_selector(selector_of(half, *arguments))

    def wait_for_text(self, selector: str, part: str) -> None:
        script = "s => document.querySelector(s)?.textContent ?? ''"
        eventually(self.page, script, lambda text: part in text, selector)

    @property
    def size(self) -> list[int]:
        """Width and height of the document in pixels, including what is scrolled out of view."""
        root = "document.documentElement"
        found: list[int] = self.page.evaluate(f"[{root}.scrollWidth, {root}.scrollHeight]")
        return found

    def is_drawn(self, pane: str) -> bool:
        """Whether anything is drawn on the canvas of a pane."""
        return bool(self.page.evaluate(_DRAWN, pane))

    def wait_until_drawn(self, pane: str) -> None:
        eventually(self.page, _DRAWN, bool, pane)

    def set_rate(self, rate: float) -> None:
        """Change the load, with the request that the page itself would send."""
        assert self.page.evaluate(_SET_RATE, rate) == 200

    def record_announcements(self) -> None:
        """From now on, record what a screen reader announces."""
        self.page.evaluate(_LISTEN)

    def wait_for_announcement(self, part: str) -> None:
        eventually(self.page, "window.heard", lambda heard: part in heard)

    def violations(self) -> list[str]:
        """The violations that axe-core finds, one line each."""
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="no axe-core here"
        )
        found = axe.Axe().run(self.page, options=_RULES).response
        assert len(found["passes"]) > 10  # axe-core did check something
        return [
            f"{violation['id']}: {node['target']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def _record_console_error(self, message: Any) -> None:
        # A 409 is a regular answer; the browser logs an error for it all the same.
        if message.type == "error" and "status of 409" not in message.text:
            self.errors.append(message.text)


@contextmanager
def open_page(
    browser: Any, url: str, width: int = 1280, height: int = 720, **options: Any
) -> Iterator[PageObserver]:
    """The console's page in its own window, once it shows traffic."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        observer = PageObserver(context.new_page())
        observer.page.goto(url)
        observer.page.wait_for_selector("body[data-state=open]")
        observer.wait_for(figure, 1, True)
        yield observer
    finally:
        context.close()
