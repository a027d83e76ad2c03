"""What the supervisor starts (`Program`), and its state afterwards (`ManagedProcess`, `Exit`)."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from lab.cluster.forkserver_client import log_tail


@dataclass(frozen=True)
class Program:
    """`python -m module argv…`, with its output appended to `log`.

    `health`: the URL that responds with 200 when the program is ready; None: there is nothing to
    wait for. `may_fail`: without `health`, any exit status is expected. `high_priority`: the
    program keeps the normal priority; the others run at a lower one. `owns_tree`: the program is a
    wrapper, and SIGSTOP and SIGCONT go to its descendants instead. `ready_within_s`: how long its
    start may take, where that differs from the supervisor's default. `diagnose`: a function of the
    pid that says in a sentence what the program does instead of getting ready.
    """

    name: str
    module: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    health: str | None = None
    may_fail: bool = False
    high_priority: bool = False
    owns_tree: bool = False
    ready_within_s: float | None = None
    diagnose: Callable[[int], str | None] | None = field(default=None, compare=False)

    def start_message(self) -> dict[str, Any]:
        """The `start` message for the fork server (`lab.cluster.forkserver`)."""
        return {
            "name": self.name,
            "module": self.module,
            "argv": self.argv,
            "log": os.path.abspath(self.log),
            "env": dict(self.env),
            "keeps": self.owns_tree,
            "measures": self.high_priority,
        }


@dataclass(frozen=True)
class Exit:
    """An exit that the supervisor did not cause. `status`: exit code, or minus the signal."""

    name: str
    status: int
    last_lines: tuple[str, ...]


@dataclass
class ManagedProcess:
    """A started program and its state.

    `log_begin`: size of the log before the start, in bytes. `status`: None while the program runs,
    and after the fork server was lost. `answered_s`: when it answered first, of `perf_counter`.
    """

    program: Program
    log_begin: int
    answered_s: float = inf
    pid: int = 0
    status: int | None = None
    stop_requested: bool = False
    suspended: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def explain_not_ready(self, reason: str | None) -> str | None:
        """What the program waits for and what it does instead; None if both are unknown."""
        diagnosis = self.program.diagnose(self.pid) if self.program.diagnose else None
        return ". ".join(text for text in (reason, diagnosis) if text) or None

    def last_lines(self) -> list[str]:
        """The last ten lines of the log since this start."""
        return log_tail(self.program.log, self.log_begin)
