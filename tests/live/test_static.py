"""The page's files on disk: small, complete, and without anything from other sites."""

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
"""Calls by which a text could become markup or code."""


TEXTS = {path.name: path.read_text(encoding="utf-8") for path in CODE}
EACH = pytest.mark.parametrize("name", TEXTS)


def test_the_page_weighs_at_most_200_kb() -> None:
    assert sum(path.stat().st_size for path in FILES) <= MOST_BYTES


@EACH
def test_no_text_can_become_markup(name: str) -> None:
    assert [word for word in FORBIDDEN if word in TEXTS[name]] == []


@EACH
def test_nothing_is_fetched_from_elsewhere(name: str) -> None:
    found = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"'`]*", TEXTS[name])
    # A namespace URI is a name; no program fetches it.
    assert [url for url in found if not url.endswith("www.w3.org/2000/svg")] == []


@EACH
def test_each_file_says_what_it_is_and_is_short(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= MOST_LINES
    assert TEXTS[name].startswith(("//", "/*", "<!doctype html>"))


def test_the_page_has_no_inline_script_or_style() -> None:
    inline = r"\son\w+\s*=|\sstyle\s*=|<style|<script(?![^>]*src=)"
    assert re.findall(inline, TEXTS["index.html"] + TEXTS["phone.html"]) == []


def test_every_module_is_needed_and_there() -> None:
    asked = set(re.findall(r"(?:\./|/static/)([\w-]+\.\w+)", "".join(TEXTS.values())))
    assert asked == {path.name for path in FILES} - {"index.html", "phone.html"}
