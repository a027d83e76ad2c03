"""Reads the source files of a folder, within limits, and holds what was found in them."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from re import Match, Pattern

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, String

from lab.domain.services import BUS
from lab.external.adopt.languages import LANGUAGES

# ── Files

MAX_DEPTH = 4
MAX_FILES = 2_000
MAX_BYTES = 256 * 1024

_SKIPPED_FOLDERS = frozenset(
    (
        "node_modules",
        "bower_components",
        "vendor",
        "site-packages",
        "venv",
        "env",
        "dist",
        "build",
        "target",
        "coverage",
        "__pycache__",
        "test",
        "tests",
        "__tests__",
    )
)
_LEXERS = {suffix: each.lexer for each in LANGUAGES for suffix in each.suffixes}
_FILE_NAMES = frozenset(("package.json", "go.mod", "Dockerfile", "dockerfile", ".env", "www"))
YAML_SUFFIXES = (".yaml", ".yml")
_NO_CODE = {Comment, String.Doc}


@dataclass(frozen=True)
class SourceFile:
    """A file: its path relative to the folder, and the first MAX_BYTES of its text."""

    path: Path
    text: str

    @property
    def suffix(self) -> str:
        """How its name ends. Express calls the file that listens `bin/www`."""
        return ".js" if self.path.name == "www" else self.path.suffix

    @property
    def is_dockerfile(self) -> bool:
        """Whether it says how a container image is made."""
        return self.path.name.lower() == "dockerfile"

    def location(self, offset: int) -> str:
        """File and line of an offset for messages: `posts/index.js:33`."""
        return f"{self.path.as_posix()}:{self.text.count(chr(10), 0, offset) + 1}"

    def line_at(self, offset: int) -> str:
        """The line that contains an offset, with single blanks, at most 70 characters of it."""
        begin = self.text.rfind("\n", 0, offset) + 1
        return " ".join(self.text[begin:].split("\n", 1)[0].split())[:70]

    @cached_property
    def without_comments(self) -> str:
        """The text with blanks in place of comments and docstrings, so that offsets stay."""
        name = "docker" if self.is_dockerfile else _LEXERS.get(self.suffix)
        if name is None:
            return self.text
        tokens = get_lexer_by_name(name).get_tokens_unprocessed(self.text)
        return "".join(
            text if _NO_CODE.isdisjoint(kind.split()) else re.sub(r"[^\n]", " ", text)
            for _, kind, text in tokens
        )


@dataclass(frozen=True)
class SourceFolder:
    """A folder that may hold a service: its path, a name for the service, the files in it, and the
    files in and below it."""

    path: Path
    name: str
    files: list[SourceFile]
    files_below: list[SourceFile]


def read_folder(root: Path) -> list[SourceFile]:
    """Source files, MAX_DEPTH folders deep, the top ones first. Raises NotADirectoryError."""
    if not root.is_dir():
        raise NotADirectoryError(f"There is no folder {root}.")
    sources: list[SourceFile] = []
    for path in _source_paths(root):
        if len(sources) == MAX_FILES:
            break
        try:
            with path.open("rb") as file:
                text = file.read(MAX_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        sources.append(SourceFile(path.relative_to(root), text.replace("\r\n", "\n")))
    return sorted(sources, key=lambda source: (len(source.path.parts), source.path.as_posix()))


def _source_paths(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):  # follows no links
        deep = len(Path(folder).relative_to(root).parts)
        subfolders[:] = sorted(
            name
            for name in subfolders
            if deep < MAX_DEPTH
            and name.lower() not in _SKIPPED_FOLDERS
            and not name.startswith(".")
        )
        for name in sorted(names):
            path = Path(folder, name)
            wanted = name in _FILE_NAMES or path.suffix in (*_LEXERS, *YAML_SUFFIXES)
            if wanted and path.is_file() and not path.is_symlink():
                yield path


# ── Findings


@dataclass(frozen=True)
class GuessedValue:
    """A value that was found, the reason for it, and whether it is almost certain."""

    value: str
    reason: str
    certain: bool = True


def first_match(
    patterns: Iterable[Pattern[str]], sources: Iterable[SourceFile]
) -> tuple[SourceFile, Match[str]] | None:
    """The first match of the first pattern that matches in any source; None for no match."""
    candidates = list(sources)
    for pattern in patterns:
        for source in candidates:
            if match := pattern.search(source.without_comments):
                return source, match
    return None


def service_slug(name: str) -> str:
    """A valid service name, made from the name of a folder or file."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:40].strip("-")
    slug = BUS if slug in ("eventbus", "bus", "event-broker") else slug
    return slug if slug[:1].isalpha() else f"service-{slug}".strip("-")
