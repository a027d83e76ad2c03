"""What the supervisor starts, and what it remembers of it."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.cluster.forkserver_client import tail


@dataclass(frozen=True)
class Program:
    """`python -m module argv…`, its output appended to `log`. `health`: the URL that answers 200
    when it is ready; None for a program that has nothing to get ready. `may_fail`: nobody wonders
    if it ends with another status than 0. `measures`: the others give way to it. `keeps`: it is
    nothing by itself, and what befalls it is meant for all that it has started. `ready_within_s`:
    how long it may take, where that is its own affair. `instead`: of its pid, what it does instead
    of getting ready, in a sentence."""

    name: str
    module: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    health: str | None = None
    may_fail: bool = False
    measures: bool = False
    keeps: bool = False
    ready_within_s: float | None = None
    instead: Callable[[int], str | None] | None = field(default=None, compare=False)

    def order(self) -> dict[str, Any]:
        """What the nursery is told of it (`lab.cluster.forkserver`)."""
        return {
            "name": self.name,
            "module": self.module,
            "argv": self.argv,
            "log": os.path.abspath(self.log),
            "env": dict(self.env),
            "keeps": self.keeps,
            "measures": self.measures,
        }


@dataclass(frozen=True)
class Exit:
    """A program ended and nobody had told it to. `status`: exit code, or minus the signal."""

    name: str
    status: int
    last_lines: tuple[str, ...]


@dataclass
class Child:
    """A started program, as the supervisor knows it. `log_begin`: the log's size before the start;
    `status` stays None while it runs, and when the nursery was lost and nobody could tell."""

    program: Program
    log_begin: int
    pid: int = 0
    status: int | None = None
    told_to_end: bool = False
    suspended: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def why_not_ready(self, waits_for: str | None) -> str | None:
        """What it waits for, and what it does instead, in sentences."""
        instead = self.program.instead(self.pid) if self.program.instead else None
        return ". ".join(one for one in (waits_for, instead) if one) or None

    def last_lines(self) -> list[str]:
        """The last ten lines that it wrote since this start."""
        return tail(self.program.log, self.log_begin)
