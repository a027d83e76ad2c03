"""The page of a sweep: one slider, which shows the answer of the size that it is at."""

import re
from pathlib import Path
from typing import Any

import pytest

from lab.report.html import page, sweep
from lab.scenarios.catalogue import find
from lab.simulation.fleet import runs
from lab.simulation.fleet.fleets import FleetSpec
from lab.simulation.fleet.parameters import shipped_parameters
from tests.support.browser import chromium

SIZES = (8, 80)
SHOWN = "() => [...document.querySelectorAll('[data-size]')].map(one => one.offsetHeight > 0)"
MOVE = """value => {
  const slider = document.getElementById('size');
  slider.value = value;
  slider.dispatchEvent(new Event('input'));
  return slider.nextElementSibling.value;
}"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two sizes."""
    folder, results, folders = tmp_path_factory.mktemp("sweep"), [], []
    scenario = find("downed-service").quick()
    for size in SIZES:
        spec = FleetSpec("shards", size)
        result, samples = runs.run_once(scenario, shipped_parameters(), 7, spec, None, True)
        own = folder / f"{size}"
        runs.save(result, samples, own)
        page.save(result, own)
        results.append(result)
        folders.append(own)
    return sweep.save(results, folders, folder)


def test_the_page_has_each_size_with_its_answer_and_loads_nothing(written: Path) -> None:
    text = written.read_text("utf-8")
    assert re.findall(r'data-size="(.*?)"', text) == ["8 services", "80 services"]
    assert "1 of 2 shards" in text
    assert "1 of 20 shards" in text
    assert "default-src 'none'" in text
    for link in re.findall(r'href="([^"]*)"', text):
        assert link == "data:," or (written.parent / link).is_file()
    identities = re.findall(r' id="([^"]*)"', text)
    patterns = {"lab-broken", "lab-failed"}  # each chart repeats them, the same
    assert len(set(identities) - patterns) == sum(one not in patterns for one in identities)


def test_the_slider_shows_one_size_and_a_page_without_scripts_all(written: Path) -> None:
    with chromium() as browser:
        for scripts in (True, False):
            context = browser.new_context(java_script_enabled=scripts)
            shown: Any = context.new_page()
            refused: list[str] = []
            shown.on("console", lambda message, to=refused: to.append(message.text))
            shown.goto(written.as_uri())
            assert shown.locator("#size").is_visible() is scripts
            if scripts:
                assert shown.evaluate(SHOWN) == [True, False]
                assert shown.evaluate(MOVE, "1") == "80 services"
                assert shown.evaluate(SHOWN) == [False, True]
            else:
                assert [one.is_visible() for one in shown.locator("[data-size]").all()] == [
                    True
                ] * 2
            assert refused == []
            context.close()
