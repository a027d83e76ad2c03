"""Screenshots of the console for the docs: `python -m tests.programs.screenshots docs/img`.

The lab runs; each picture is taken when the page shows what the picture's name says. Needs
Playwright and Chromium, as the tests of the page do.
"""

import sys
import tempfile
from pathlib import Path

from tests.support.browser import (
    LEFT,
    PageObserver,
    chromium,
    eventually,
    figure,
    is_down,
    is_healthy,
    open_page,
)
from tests.support.live_world import run_console_process

LOOK_S = 12
"""Seconds of history on each picture, so that its charts are not empty."""


def at_least(seen: PageObserver, seconds: float) -> None:
    """Wait until the page's clock has advanced by that much."""
    clock = "() => document.getElementById('clock').textContent"

    def reading(text: str) -> float:
        minutes, _, rest = text.partition(":")
        return 60 * float(minutes) + float(rest)

    until = reading(seen.page.evaluate(clock)) + seconds
    eventually(seen.page, clock, lambda text: reading(text) >= until, within_s=seconds + 10)


def main(folder: str) -> None:
    """Take calm, outage and recovery in the light theme at 1280×720, and outage in the dark one."""
    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        run_console_process(Path(home)) as live,
        chromium() as browser,
        open_page(browser, live.addresses[0], color_scheme="light") as seen,
    ):
        page = seen.page
        at_least(seen, LOOK_S)
        page.screenshot(path=into / "live-calm.png")
        page.keyboard.press("k")
        seen.wait_for(is_down, "comments")
        page.wait_for_selector(figure(LEFT, 1, False))
        at_least(seen, 5)
        page.screenshot(path=into / "live-outage.png")
        page.keyboard.press("d")
        at_least(seen, 1)
        page.screenshot(path=into / "live-outage-dark.png")
        page.keyboard.press("d")
        page.keyboard.press("u")
        seen.wait_for(is_healthy, "comments")
        seen.wait_for(figure, 1, True)
        at_least(seen, 4)
        page.screenshot(path=into / "live-recovery.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
