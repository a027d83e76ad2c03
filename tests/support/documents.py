"""The commands in the documentation, split into words."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from lab.commands.app import app
from tests.support.small import ROOT

README = "README.md"
PAGES = [README, *(f"docs/{one.name}" for one in sorted((ROOT / "docs").glob("*.md")))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    """The text of a page, given as a path from the project's folder: `docs/tour.md`."""
    return (ROOT / page).read_text("utf-8")


def lines_in_blocks(page: str) -> list[list[str]]:
    """Every line of the page's sh blocks, in order, split into words."""
    lines = "\n".join(BLOCK.findall(text_of(page))).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def in_blocks(page: str) -> list[list[str]]:
    """The `lab …` commands in the sh blocks, without `lab`."""
    return [words[1:] for words in lines_in_blocks(page) if words[0] == "lab" and words[1:]]


def in_passing(page: str) -> list[list[str]]:
    """The `lab …` commands in sentences and tables, with at least one word after `lab`."""
    prose = ANY_BLOCK.sub("", text_of(page))
    return [shlex.split(found) for found in re.findall(r"`lab\s+([^`]+)`", prose)]


def needs_a_blog(words: Sequence[str]) -> str:
    """ "starts", "stays up" or "acts on one": what the command does with a blog; "" if nothing."""
    if words[0] in ("run", "check", "trace", "design") or list(words[:2]) == ["exercise", "check"]:
        return "starts"
    if words[0] in ("up", "live"):
        return "stays up"
    return "acts on one" if words[0] in ("fault", "heal", "events", "redrive") else ""


def every_command() -> list[tuple[str, ...]]:
    """All commands in README and docs/, each once."""
    found = (one for page in PAGES for one in (*in_blocks(page), *in_passing(page)))
    return sorted({tuple(one) for one in found})


def linked_from(page: str) -> list[str]:
    """The files that a page links, as written there."""
    return sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text_of(page))))


def understood(words: Sequence[str]) -> Mapping[str, Any]:
    """The arguments and options that the command line parses from these words, by name.

    A single word only names a command, so its required arguments may be missing.
    """
    # Typed as Any: typer bundles its own Click, which has no public name.
    command: Any = typer.main.get_command(app)
    left = list(words)
    while hasattr(command, "commands"):
        assert left, f"a group and no command: lab {' '.join(words)}"
        assert left[0] in command.commands
        command = command.commands[left.pop(0)]
    context = command.make_context(words[0], left, resilient_parsing=not left)
    assert context.args == []
    params: Mapping[str, Any] = context.params
    return params
