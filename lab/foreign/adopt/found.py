"""What was found: guesses with their reasons, and the services that they make."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from re import Match, Pattern

from lab.domain.directory import BUS
from lab.foreign.adopt.languages import Language
from lab.foreign.adopt.sources import Source


@dataclass(frozen=True)
class Guess:
    """Something that was found, why it is believed, and whether there is little doubt."""

    value: str
    why: str
    sure: bool = True


@dataclass(frozen=True)
class Route:
    """`method` is "" where the code does not say it there."""

    method: str
    path: str
    place: str


@dataclass
class Found:
    """A service. `cwd` is as seen from the folder."""

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
        """Look into its sources for where it listens and what it answers."""
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
    """Where the first of the patterns is found that is found at all."""
    given = list(sources)
    for pattern in patterns:
        for source in given:
            if match := pattern.search(source.without_comments):
                return source, match
    return None


def slug_of(name: str) -> str:
    """What a service may be called, from what its folder or file is called."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    slug = BUS if slug in ("eventbus", "bus", "event-broker") else slug
    return slug if slug[:1].isalpha() else f"service-{slug}".strip("-")
