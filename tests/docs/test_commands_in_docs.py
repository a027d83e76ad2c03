"""The commands in README and docs/ work, and what they name exists.

The real command line parses every command, and the scenarios it names are looked up. The commands
in a page's blocks are also executed, in the page's order, in this process if they only read and
print. Built-in scenarios are not run again for each page: their outcomes were measured for
docs/scenarios.md.
"""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from shutil import copytree

import pytest

from lab.exercises.catalogue import EXERCISES
from lab.results.claims import CLAIMS
from lab.scenarios import catalogue
from tests.programs.ups import up
from tests.support.command_line import invoke_lab, unhurried_lab
from tests.support.documents import (
    PAGES,
    README,
    block_commands,
    block_lines,
    blog_use,
    every_command,
    linked_files,
    page_text,
    parse_command,
)
from tests.support.small import ROOT, join_lines, run_lab

COURSE, GLOSSARY = "docs/course.md", "docs/glossary.md"
WITH_BLOCKS = [page for page in PAGES if block_commands(page)]
TYPED = sorted({tuple(one) for page in PAGES for one in block_commands(page)})
IN_THE_PLACE_OF_A_NAME = {"NAME", "…", "a", "b"}
RUN_BY = {
    "commands/test_help_and_words.py": {("design",)},
    "exercises/test_exercises.py": {("exercise", "check", "mine")},
    "conformance/test_report_card.py": {
        ("check", "my-blog.toml"),
        ("check", "docs/targets/node-blog/node-blog.toml"),
    },
    "external/test_run.py": {("run", "downed-service", "--with", "my-blog.toml")},
}
QUICK = ("run", "slow-service", "--quick")
SET_UP = {"make", ".", "pip", "jupyter"}
"""Other commands in blocks: a test cannot repeat them without a network."""
MINUTES, SESSIONS = 90, 3
SHOWN_BY_DESIGN = "design-steps"
WORDS_OF_THE_COURSE = """
publish, subscribe, consume, request, response, event, event bus, outbox, inbox, success rate,
p50 (median), eventual consistency, staleness, consumer lag, tail latency, open-loop load,
coordinated omission, head-of-line blocking, backpressure, idempotency, dead letter queue
"""


# ── Commands


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_is_understood_and_its_scenarios_exist(words: tuple[str, ...]) -> None:
    said = parse_command(words)
    named = {"run": said.get("names") or (), "show": [said.get("name")]}.get(words[0], ())
    for name in named:
        known = {*catalogue.builtin_names(), "all", *IN_THE_PLACE_OF_A_NAME}
        assert name in known or name.endswith(".toml")


def test_the_readme_says_how_to_begin() -> None:
    said = {words[0] for words in block_commands(README)}
    assert {"list", "show", "run", "diff", "claims", "fault", "heal"} <= said


# A fleet of a thousand services is half a minute of computation, after that of the compiler.
HEAVY = {"docs/simulation.md": [pytest.mark.slow, pytest.mark.timeout(1_200)]}


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=HEAVY.get(page, [])) for page in WITH_BLOCKS]
)
def test_the_blocks_of_a_page_work_in_order(page: str, tmp_path: Path) -> None:
    assert {line[0] for line in block_lines(page)} <= {"lab", *SET_UP}
    here = tmp_path / "here"
    here.mkdir()
    copytree(ROOT / "docs" / "targets" / "node-blog", tmp_path / "my-blog")
    for words in block_commands(page):
        if blog_use(words):
            continue
        said = invoke_lab(*words, cwd=here)
        # The doctor's findings about this machine say nothing about the docs; a search that has
        # found something ends with 1.
        found = words == ["doctor"] or (words[0] == "search" and said.returncode == 1)
        assert said.returncode == 0 or found, said.stdout + said.stderr
        assert said.stdout
        assert max(map(len, said.stdout.splitlines())) <= 80 + len(str(here))


def of_running_stacks() -> list[object]:
    """The commands that start a blog: one in `make test`, the others are slow."""
    known = set().union(*RUN_BY.values())
    found = [one for one in TYPED if blog_use(one) == "starts" and one not in known]
    return [
        pytest.param(one, marks=[] if one == QUICK else pytest.mark.slow, id=" ".join(one))
        for one in found
    ]


@pytest.mark.parametrize("words", of_running_stacks())
def test_a_command_that_starts_a_blog_shows_what_it_saw(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """The run must be a valid result; whether its expectations hold depends on the machine."""
    invoke_lab("new", "my-outage", cwd=tmp_path)
    said = unhurried_lab(*words, cwd=tmp_path)
    assert said.returncode in (0, 1), said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    if "--json" in words:
        assert json.loads(said.stdout)["valid"] is True
    else:
        assert 0 < max(map(len, said.stdout.splitlines())) <= 80


@pytest.mark.slow
def test_a_running_lab_is_broken_and_healed_as_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with up(tmp_path / "by-hand"):
        for words in block_commands(README):
            if blog_use(words) == "acts on one":
                said = run_lab(*words, cwd=tmp_path)
                assert (said.returncode, said.stderr) == (0, ""), words
                assert all(f"{stack} " in said.stdout for stack in ("sync-chain", "async-bus"))
        assert "No fault is on." in join_lines(run_lab("fault", cwd=tmp_path).stdout)


# ── Names in pages


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_exists(page: str) -> None:
    for target in linked_files(page):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`((?:lab|tests)/[\w/]+\.py)`", page_text(page))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for page in PAGES:
        for name in re.findall(r"(?:\.|sync-async-lab)\[([a-z]+)\]", page_text(page)):
            assert name in extras["optional-dependencies"]


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = re.findall(r"(?:^|`)make ([a-z]+)", page_text(README), re.MULTILINE)
    assert named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert re.search(rf"^\.PHONY:.*\b{target}\b", makefile, re.MULTILINE)


@pytest.mark.parametrize("page", [COURSE, "docs/tour.md"])
def test_every_notebook_has_its_place_in_the_course(page: str) -> None:
    named = re.findall(r"`(\d\d_[a-z_]+)`", page_text(page))
    assert sorted(named) == sorted(one.stem for one in (ROOT / "notebooks").glob("*.ipynb"))


def sessions() -> list[str]:
    return re.split(r"^## Session \d: ", page_text(COURSE), flags=re.MULTILINE)[1:]


def test_each_session_is_as_long_as_it_says() -> None:
    assert len(sessions()) == SESSIONS
    for session in sessions():
        assert sum(map(int, re.findall(r"^\| (\d+) \|", session, re.MULTILINE))) == MINUTES


def test_the_course_shows_every_claim_and_gives_every_exercise() -> None:
    text = "".join(sessions())
    run = [catalogue.find(name) for name in re.findall(r"`lab run ([a-z-]+) --quick`", text)]
    shown = {expectation.claim for scenario in run for expectation in scenario.expect}
    assert "`lab design`" in text
    assert {*shown, SHOWN_BY_DESIGN} >= set(CLAIMS)
    assert all(f"`{name}`" in text for name in EXERCISES)


def glossary() -> list[tuple[str, str, str]]:
    """The rows of the glossary: term, meaning, places."""
    return re.findall(r"^\| (.+?) \| (.+) \| (`.+`) \|$", page_text(GLOSSARY), re.MULTILINE)


def test_the_glossary_is_sorted_and_whole() -> None:
    rows = glossary()
    assert len(rows) == page_text(GLOSSARY).count("\n| ") - 1  # minus the heading
    terms = [term.casefold() for term, _, _ in rows]
    assert all(term < following for term, following in pairwise(terms))
    assert set(re.split(r",\s+", WORDS_OF_THE_COURSE.strip())) <= set(terms)


@pytest.mark.parametrize(("term", "meaning", "places"), glossary(), ids=lambda text: text[:20])
def test_a_word_has_two_sentences_and_a_place_that_exists(
    term: str, meaning: str, places: str
) -> None:
    assert len(re.findall(r"\.(?= [A-Z`*]|$)", meaning)) == 2, term
    names = re.findall(r"`([^`]+)`", places)
    missing = [
        name
        for name in names
        if not ((ROOT / name).exists() if "/" in name else name in catalogue.builtin_names())
    ]
    assert names
    assert missing == []


def test_every_test_that_holds_a_guarantee_exists() -> None:
    text = page_text("docs/guarantees.md")
    defined = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"def (test_\w+)", file.read_text("utf-8")))
    assert set(re.findall(r"`(test_\w+)`", text)) <= defined
    assert all((ROOT / "tests" / name).exists() for name in re.findall(r"`(\w+/\w+\.py)`", text))
