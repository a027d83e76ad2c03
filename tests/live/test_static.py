"""The page's files, read as they lie there: small, whole, and with nothing from elsewhere."""

import re
from pathlib import Path

import pytest

import lab.live

STATIC = Path(lab.live.__file__).parent / "static"
FILES = sorted(STATIC.iterdir())
CODE = [path for path in FILES if path.suffix in (".js", ".css", ".html")]
MOST_BYTES = 200_000
MOST_LINES = 250

FORBIDDEN = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "createContextualFragment"),
    *("eval(", "new Function", "setHTML", "srcdoc", "javascript:", "DOMParser"),
)
"""Ways by which a text could become markup or code."""


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_page_weighs_at_most_200_kb() -> None:
    assert sum(path.stat().st_size for path in FILES) <= MOST_BYTES


@pytest.mark.parametrize("path", CODE, ids=names(CODE))
def test_no_text_can_become_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN if word in text] == []


def test_the_page_has_no_script_or_style_of_its_own_in_it() -> None:
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"\son\w+\s*=|\sstyle\s*=|<style|<script(?![^>]*src=)", text) == []


@pytest.mark.parametrize("path", CODE, ids=names(CODE))
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    found = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"'`]*", path.read_text("utf-8"))
    # A name space is a name: nobody asks for it.
    assert [url for url in found if not url.endswith("www.w3.org/2000/svg")] == []


@pytest.mark.parametrize("path", CODE, ids=names(CODE))
def test_each_file_says_what_it_is_and_is_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert lines[0].startswith(("//", "/*", "<!doctype html>"))


def test_every_module_is_needed_and_there() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in CODE)
    asked = set(re.findall(r"(?:\./|/static/)([\w-]+\.\w+)", text))
    assert asked == {path.name for path in FILES} - {"index.html"}
