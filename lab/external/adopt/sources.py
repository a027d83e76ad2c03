"""Reads the source files of a folder, within limits, and holds what was found in them."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from re import Match, Pattern

from lab.domain.services import BUS
from lab.external.adopt.languages import Language

# ── Files

DEEPEST = 4
MOST_FILES = 2_000
MOST_BYTES = 256 * 1024

_NOT_THEIRS = frozenset(
    {
        *("node_modules", "bower_components", "vendor", "site-packages", "venv", "env"),
        *("dist", "build", "target", "coverage", "__pycache__", "test", "tests", "__tests__"),
    }
)
_SUFFIXES = frozenset((".js", ".mjs", ".cjs", ".ts", ".py", ".go", ".sh", ".yaml", ".yml"))
_NAMES = frozenset(("package.json", "go.mod", "Dockerfile"))


@dataclass(frozen=True)
class Source:
    """A file: its path relative to the folder, and the first MOST_BYTES of its text."""

    path: Path
    text: str

    def place(self, offset: int) -> str:
        """File and line of an offset for messages: `posts/index.js:33`."""
        return f"{self.path.as_posix()}:{self.text.count(chr(10), 0, offset) + 1}"

    def line(self, offset: int) -> str:
        """The line that contains an offset, with single blanks, at most 70 characters of it."""
        begin = self.text.rfind("\n", 0, offset) + 1
        return " ".join(self.text[begin:].split("\n", 1)[0].split())[:70]

    @cached_property
    def without_comments(self) -> str:
        """The text with blanks in place of comment lines, so that all offsets stay the same."""
        marks = ("#", "//", "*", "/*")
        return "\n".join(
            " " * len(line) if line.lstrip().startswith(marks) else line
            for line in self.text.split("\n")
        )


def read_folder(root: Path) -> list[Source]:
    """Source files down to DEEPEST folders, the top ones first. Raises OSError for no folder."""
    if not root.is_dir():
        raise NotADirectoryError(f"There is no folder {root}.")
    found: list[Source] = []
    for path in _files(root):
        if len(found) == MOST_FILES:
            break
        try:
            with path.open("rb") as file:
                text = file.read(MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        found.append(Source(path.relative_to(root), text.replace("\r\n", "\n")))
    return sorted(found, key=lambda one: (len(one.path.parts), one.path.as_posix()))


def _files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):  # follows no links
        deep = len(Path(folder).relative_to(root).parts)
        below[:] = sorted(
            name
            for name in below
            if deep < DEEPEST and name.lower() not in _NOT_THEIRS and not name.startswith(".")
        )
        for name in sorted(names):
            path = Path(folder, name)
            wanted = name in _NAMES or path.suffix in _SUFFIXES
            if wanted and path.is_file() and not path.is_symlink():
                yield path


# ── Findings


@dataclass(frozen=True)
class Guess:
    """A value that was found, the reason for it, and whether it is almost certain."""

    value: str
    why: str
    sure: bool = True


@dataclass(frozen=True)
class Route:
    """`method` is "" if the code does not give it. `place`: file and line."""

    method: str
    path: str
    place: str


@dataclass
class Found:
    """A service that was found. `cwd` is relative to the folder."""

    name: str
    cwd: Path
    command: Guess
    sources: list[Source]
    language: Language
    port: Guess | None = None
    port_env: Guess | None = None
    routes: list[Route] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read_code(self) -> None:
        """Find its port and its routes in its sources."""
        if found := first(self.language.ports, self.sources):
            source, match = found
            why = f"{source.place(match.start())}: {source.line(match.start())}"
            groups = match.groupdict()
            if groups.get("env"):
                self.port_env = Guess(groups["env"], why)
            if groups.get("port"):
                self.port = Guess(groups["port"], why)
        self.routes = [
            Route((match.groupdict().get("method") or "").upper(), match["path"], where)
            for source in self.sources
            for pattern in self.language.routes
            for match in pattern.finditer(source.without_comments)
            for where in (source.place(match.start()),)
        ]


def first(
    patterns: Iterable[Pattern[str]], sources: Iterable[Source]
) -> tuple[Source, Match[str]] | None:
    """The first match of the first pattern that matches in any source; None for no match."""
    given = list(sources)
    for pattern in patterns:
        for source in given:
            if match := pattern.search(source.without_comments):
                return source, match
    return None


def slug_of(name: str) -> str:
    """A valid service name, made from the name of a folder or file."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    slug = BUS if slug in ("eventbus", "bus", "event-broker") else slug
    return slug if slug[:1].isalpha() else f"service-{slug}".strip("-")
