"""Demonstrations from the page: the list, the start, one step back, and one step again."""

from collections.abc import Iterator
from typing import Any

import pytest

from lab.live.panes import make_panes
from tests.support.browser import eventually, is_down, is_healthy, open_page
from tests.support.live_world import ConsoleThread, run_console, run_console_process


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleThread]:
    panes = make_panes(("monolith", "sync-chain"), None)
    with run_console(tmp_path_factory.mktemp("live"), panes=panes) as console:
        yield console


def hello(live: ConsoleThread) -> Any:
    with live.stream() as stream:
        return stream.until("hello")


def broken(live: ConsoleThread) -> list[tuple[str, str]]:
    return [(fault["target"], fault["kind"]) for fault in hello(live)["faults"]]


def test_a_demonstration_is_started_and_stepped_through(live: ConsoleThread) -> None:
    names = [one["name"] for one in live.get("/api/scenarios")]
    assert "downed-service" in names
    assert live.request("POST", "/api/step", {})[0] == 400
    for wrong in ("nothing", "../downed-service", "mine.toml"):
        assert live.request("POST", "/api/script", {"name": wrong})[0] == 400

    live.post("/api/script", name="downed-service")
    start = hello(live)
    assert [half["name"] for half in start["halves"]] == ["sync-chain", "async-bus"]
    assert (start["script"]["at"], start["load"]["rate"]) == (0, 20)
    assert live.request("POST", "/api/step", {"do": "back"})[0] == 409
    assert live.request("POST", "/api/step", {"do": "jump"})[0] == 400

    down = [("comments", "down")] * 2
    assert live.post("/api/step")["at"] == 1  # the question
    assert live.post("/api/step", do="next")["at"] == 2
    assert broken(live) == down
    assert live.post("/api/step", do="back")["at"] == 1
    assert broken(live) == []
    live.post("/api/step")
    live.post("/api/fault", kind="down", target="posts")
    assert live.post("/api/step", do="again")["at"] == 2
    assert broken(live) == down
    live.post("/api/step")
    assert broken(live) == []
    assert live.post("/api/step", do="back")["at"] == 2
    assert broken(live) == down
    live.post("/api/heal")


@pytest.mark.slow
def test_o_lists_them_and_a_click_starts_one(browser: Any, tmp_path: Any) -> None:
    with (
        run_console_process(tmp_path, "--rate", "5") as console,
        open_page(browser, console.addresses[0]) as seen,
    ):
        page = seen.page
        page.keyboard.press("o")
        page.wait_for_selector("#scenarios[open]")
        assert seen.violations() == []
        page.locator("#scenarios [data-name=downed-bus]").click()
        seen.wait_for_text("#script-says", "step 0 of")
        seen.wait_for_text(".log", "A downed bus")  # both blogs are up again
        page.keyboard.press("Space")
        seen.wait_for_text("#script-says", "step 1 of")
        page.keyboard.press("Space")
        page.wait_for_selector(is_down(".half[data-side=right]", "event-bus"))
        page.keyboard.press("Backspace")
        page.wait_for_selector(is_healthy(".half[data-side=right]", "event-bus"))
        page.keyboard.press("Space")
        seen.wait_for_text("#script-says", "step 2 of")
        page.keyboard.press("g")
        log = "document.querySelector('.log').textContent"
        eventually(page, log, lambda text: text.count("Step 2 of") >= 3)
        assert seen.errors == []
