"""docs/scenarios.md has the texts of the scenario files, and a measured table for each."""

import re

import pytest

from lab.report import markdown
from lab.scenarios import catalogue
from tests.docs.write_scenarios import PLACE, words

TEXT = PLACE.read_text("utf-8") if PLACE.exists() else ""
MEASURED = markdown.extract_blocks(TEXT)


def test_its_words_are_those_of_the_scenario_files() -> None:
    assert words(MEASURED) == TEXT, "write it anew: make docs"


@pytest.mark.parametrize("name", catalogue.builtin_names())
def test_every_scenario_has_been_measured(name: str) -> None:
    table = MEASURED[name]
    expected = len(catalogue.find(name).expect)
    assert len(re.findall(r"^\| ✓ holds \|", table, re.MULTILINE)) == expected
    assert "| variant | phase |" in table
    predicted = re.findall(r"^\| theory \|", table, re.MULTILINE)
    assert bool(predicted) == bool(catalogue.find(name).predict)


def test_a_cell_can_not_break_its_table() -> None:
    assert markdown._table(("a",), [("x | y\nz",)]).splitlines()[-1] == "| x \\| y z |"
