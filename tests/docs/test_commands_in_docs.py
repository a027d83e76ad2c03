"""What the pages under docs/ tell people to type works, and what they name is there.

Every command is read by the real command line, and the scenarios it names are looked up. Those in
the blocks of a page are run besides, in the page's order: here, unless the very same words are run
by another test. A built-in scenario is not run again for each page that names it in a sentence or a
table; that they come out as said was measured for docs/scenarios.md.
"""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from shutil import copytree

import pytest

from lab.exercises.catalogue import EXERCISES
from lab.scenarios import catalogue
from lab.scenarios.claims import CLAIMS
from tests.support.documents import (
    in_blocks,
    in_passing,
    lines_in_blocks,
    linked_from,
    text_of,
    understood,
)
from tests.support.small import ROOT, honest_lab

PAGES = [f"docs/{one.name}" for one in sorted((ROOT / "docs").glob("*.md"))]
WITH_BLOCKS = [page for page in PAGES if in_blocks(page)]
COMMANDS = sorted({tuple(one) for page in PAGES for one in (*in_blocks(page), *in_passing(page))})
IN_THE_PLACE_OF_A_NAME = {"NAME", "…", "a", "b"}
RUN_BY = {
    "test_readme.py": {tuple(words) for words in in_blocks("README.md")},
    "test_exercises.py": {("exercise", "check", "mine")},  # there it also writes its verdict down
    "test_foreign_check.py": {
        ("check", "my-blog.toml"),
        ("check", "docs/targets/node-blog/node-blog.toml"),
    },
    "test_foreign_run.py": {("run", "downed-service", "--with", "my-blog.toml")},
}
SET_UP = {"make", ".", "pip", "jupyter"}
"""What else stands in blocks: no test can repeat it without a network."""

COURSE, GLOSSARY = "docs/course.md", "docs/glossary.md"
MINUTES, SESSIONS = 90, 3
SHOWN_BY_DESIGN = "design-steps"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_understood_and_the_scenarios_that_it_names_exist(
    words: tuple[str, ...],
) -> None:
    said = understood(words)
    named = {"run": said.get("names") or (), "show": [said.get("name")]}.get(words[0], ())
    for name in named:
        known = {*catalogue.names(), "all", *IN_THE_PLACE_OF_A_NAME}
        assert name in known or name.endswith(".toml")


@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_the_blocks_of_a_page_work_one_after_the_other(page: str, tmp_path: Path) -> None:
    assert {line[0] for line in lines_in_blocks(page)} <= {"lab", *SET_UP}
    here = tmp_path / "here"
    here.mkdir()
    copytree(ROOT / "docs" / "targets" / "node-blog", tmp_path / "my-blog")
    elsewhere = set().union(*RUN_BY.values())
    for words in in_blocks(page):
        if tuple(words) not in elsewhere:
            said = honest_lab(*words, cwd=here)
            assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_exists(page: str) -> None:
    for target in linked_from(page):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_extras_that_are_named_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for page in PAGES:
        for name in re.findall(r"(?:\.|sync-async-lab)\[([a-z]+)\]", text_of(page)):
            assert name in extras["optional-dependencies"]


@pytest.mark.parametrize("page", [COURSE, "docs/tour.md"])
def test_every_notebook_has_its_place_in_the_course_and_in_the_tour(page: str) -> None:
    named = re.findall(r"`(\d\d_[a-z_]+)`", text_of(page))
    assert sorted(named) == sorted(one.stem for one in (ROOT / "notebooks").glob("*.ipynb"))


def sessions() -> list[str]:
    return re.split(r"^## Session \d: ", text_of(COURSE), flags=re.MULTILINE)[1:]


def test_each_session_of_the_course_is_as_long_as_it_says() -> None:
    assert len(sessions()) == SESSIONS
    for session in sessions():
        assert sum(map(int, re.findall(r"^\| (\d+) \|", session, re.MULTILINE))) == MINUTES


def test_every_claim_is_shown_in_the_course_and_every_exercise_given() -> None:
    text = "".join(sessions())
    run = [catalogue.find(name) for name in re.findall(r"`lab run ([a-z-]+) --quick`", text)]
    shown = {expectation.claim for scenario in run for expectation in scenario.expect}
    assert "`lab design`" in text
    assert {*shown, SHOWN_BY_DESIGN} >= set(CLAIMS)
    assert all(f"`{name}`" in text for name in EXERCISES)


def glossary() -> list[tuple[str, str, str]]:
    rows = re.findall(r"^\| (.+?) \| (.+) \| (`.+`) \|$", text_of(GLOSSARY), re.MULTILINE)
    assert len(rows) == text_of(GLOSSARY).count("\n| ") - 1  # the heading
    return rows


def test_the_terms_of_the_glossary_are_in_order_and_none_is_there_twice() -> None:
    terms = [term.casefold() for term, _, _ in glossary()]
    assert len(terms) >= 50
    assert all(one < next_ for one, next_ in pairwise(terms))


@pytest.mark.parametrize(("term", "means", "where"), glossary(), ids=lambda text: text[:20])
def test_a_term_is_said_in_a_sentence_or_two_and_happens_in_a_file_that_is_there(
    term: str, means: str, where: str
) -> None:
    assert means.endswith(".")
    files = re.findall(r"`([^`]+)`", where)
    assert files
    for file in files:
        assert file.startswith("lab/")
        assert (ROOT / file).exists(), file
