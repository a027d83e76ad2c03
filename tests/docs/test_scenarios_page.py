"""docs/scenarios.md has the texts of the scenario files, and a measured table for each."""

import re

import pytest

from lab.scenarios import catalogue
from tests.docs import write_scenarios
from tests.docs.write_scenarios import PAGE, README
from tests.support import kept_runs

TEXT = PAGE.read_text("utf-8") if PAGE.exists() else ""
MEASURED = write_scenarios.extract_blocks(TEXT)


def test_it_shows_the_scenario_files_and_the_kept_results() -> None:
    assert write_scenarios.document(write_scenarios.kept_blocks()) == TEXT, (
        "docs/scenarios.md is out of date: run make docs"
    )


def test_the_readme_shows_a_kept_screen() -> None:
    text = README.read_text("utf-8")
    assert "A DOWNED SERVICE" in text
    assert write_scenarios.readme(text) == text, "README.md is out of date: run make docs"


@pytest.mark.parametrize("name", catalogue.builtin_names())
def test_a_screen_has_at_most_35_lines_and_the_answer_first(name: str) -> None:
    screen = re.findall(r"```text\n(.*?)```", MEASURED[name], re.DOTALL)[0].splitlines()
    assert len(screen) <= 35
    assert max(map(len, screen)) <= 80
    heads = [line.partition(":")[0] for line in screen[: screen.index("")]]
    assert [head for head in heads if head in ("Better", "Price")] == ["Better", "Price"]


@pytest.mark.parametrize("name", catalogue.builtin_names())
def test_every_scenario_has_been_measured(name: str) -> None:
    table = MEASURED[name]
    expected = len(catalogue.find(name).expect)
    assert len(re.findall(r"^\| ✓ holds \|", table, re.MULTILINE)) == expected
    assert "| variant | phase |" in table
    predicted = re.findall(r"^\| theory \|", table, re.MULTILINE)
    assert bool(predicted) == bool(catalogue.find(name).predict)


def test_a_measured_block_opens_with_the_screen_of_the_run() -> None:
    run_samples = kept_runs.samples()
    block = write_scenarios.measured_block(kept_runs.result(run_samples), run_samples)
    screen = block[block.index("```text") : block.rindex("```")]
    for words in ("A SLOW SERVICE", "read the feed", "Verdict", "lab report --full"):
        assert words in screen
    assert block.index("```text") < block.index("| variant | phase |")


def test_a_cell_cannot_break_its_table() -> None:
    assert write_scenarios._table(("a",), [("x | y\nz",)]).splitlines()[-1] == "| x \\| y z |"
