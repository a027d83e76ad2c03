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
SH_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANY_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def page_text(page: str) -> str:
    """The text of a page, given as a path from the project's folder: `docs/tour.md`."""
    return (ROOT / page).read_text("utf-8")


def block_lines(page: str) -> list[list[str]]:
    """Every line of the page's sh blocks, in order, split into words."""
    lines = "\n".join(SH_BLOCK.findall(page_text(page))).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def block_commands(page: str) -> list[list[str]]:
    """The `lab …` commands in the sh blocks, without `lab`."""
    return [words[1:] for words in block_lines(page) if words[0] == "lab" and words[1:]]


def inline_commands(page: str) -> list[list[str]]:
    """The `lab …` commands in sentences and tables, with at least one word after `lab`."""
    prose = ANY_BLOCK.sub("", page_text(page))
    return [shlex.split(found) for found in re.findall(r"`lab\s+([^`]+)`", prose)]


def blog_use(words: Sequence[str]) -> str:
    """ "starts", "stays up" or "acts on one": what the command does with a blog; "" if nothing."""
    if words[0] in ("run", "check", "trace", "design") or list(words[:2]) == ["exercise", "check"]:
        return "starts"
    if words[0] in ("up", "live"):
        return "stays up"
    return "acts on one" if words[0] in ("fault", "heal", "events", "redrive") else ""


def every_command() -> list[tuple[str, ...]]:
    """All commands in README and docs/, each once."""
    found = (one for page in PAGES for one in (*block_commands(page), *inline_commands(page)))
    return sorted({tuple(dependency) for dependency in found})


def linked_files(page: str) -> list[str]:
    """The files that a page links, as written there."""
    return sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", page_text(page))))


def parse_command(words: Sequence[str]) -> Mapping[str, Any]:
    """The arguments and options that the command line parses from these words, by name.

    A single word only names a command, so its required arguments may be missing.
    """
    # Typed as Any: typer bundles its own Click, which has no public name.
    command: Any = typer.main.get_command(app)
    remaining = list(words)
    while hasattr(command, "commands"):
        assert remaining, f"a group and no command: lab {' '.join(words)}"
        if remaining[0].startswith("-"):  # an option of the group itself
            assert remaining[0] in [name for param in command.params for name in param.opts]
            return {}
        assert remaining[0] in command.commands
        command = command.commands[remaining.pop(0)]
    context = command.make_context(words[0], remaining, resilient_parsing=not remaining)
    assert context.args == []
    params: Mapping[str, Any] = context.params
    return params
