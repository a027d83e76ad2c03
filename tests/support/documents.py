"""The commands that a page of the documentation tells people to type, in words."""

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
    """`page` from the project's folder: `README.md`, `docs/tour.md`."""
    return (ROOT / page).read_text("utf-8")


def lines_in_blocks(page: str) -> list[list[str]]:
    """Every line of the page's sh blocks, in order."""
    lines = "\n".join(BLOCK.findall(text_of(page))).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def in_blocks(page: str) -> list[list[str]]:
    """The `lab …` commands of these lines, without `lab`."""
    return [words[1:] for words in lines_in_blocks(page) if words[0] == "lab" and words[1:]]


def in_passing(page: str) -> list[list[str]]:
    """Those that stand in a sentence or a table: `lab …` with at least one word behind it."""
    prose = ANY_BLOCK.sub("", text_of(page))
    return [shlex.split(found) for found in re.findall(r"`lab\s+([^`]+)`", prose)]


def needs_a_blog(words: Sequence[str]) -> str:
    """Whether a command "starts" a blog, "stays up" with one, "acts on one", or needs none ("")."""
    if words[0] in ("run", "check", "trace", "design") or list(words[:2]) == ["exercise", "check"]:
        return "starts"
    if words[0] in ("up", "live"):
        return "stays up"
    return "acts on one" if words[0] in ("fault", "heal", "events", "redrive") else ""


def every_command() -> list[tuple[str, ...]]:
    """All that README and docs/ mention, each once."""
    found = (one for page in PAGES for one in (*in_blocks(page), *in_passing(page)))
    return sorted({tuple(one) for one in found})


def linked_from(page: str) -> list[str]:
    """The files that it links, as they stand there."""
    return sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text_of(page))))


def understood(words: Sequence[str]) -> Mapping[str, Any]:
    """What the command line makes of these words: its arguments and options, by name. A command
    alone is named and not typed, so what it would need besides may be missing."""
    # Typed as Any: typer carries a Click of its own, which has no public name.
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
