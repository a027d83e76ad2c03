"""Who ended, and why: services that exited, and services that listen no more.

A wrapper such as `npm start`, nodemon or a shell script may outlive the service that it started. A
service that listened, and listens no more, has ended.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

from lab.cluster.errors import describe_exit
from lab.external.stack import ExternalStack
from lab.support.text import plain

_GONE_FOR_S, _REPORTED_WITHIN_S, _POLL_S = 0.3, 5.0, 0.05
_MAX_LENGTH = 160
_ERROR_LINE = re.compile(
    r"^(?:<ref \*\d+> |Uncaught |\[)?(?:[\w.]+\.)?(?:[A-Z]\w*)?(?:Error|Exception|Rejection)"
    r"(?: \[\w+\])?(?:: |$)|^panic: "
)
"""Unindented: what Node prints of an error's own fields, and its causes, is indented."""

_CHANGING = re.compile(r"\b[0-9a-f]{8}[0-9a-f-]*\b|\d+")
_NOISE = re.compile(r"^\s*$|^Node\.js v|^\[nodemon\]|^npm |^\s*[\])}^]+,?;?\s*$|^\s+at ")


@dataclass(frozen=True)
class Ending:
    """A service that has ended, and how, as in "exited with status 1: Error: boom"."""

    process: str
    how: str

    @property
    def kind(self) -> tuple[str, str]:
        """Two endings of one kind have the same reason, apart from its numbers and ids."""
        return self.process, _CHANGING.sub("#", self.how)


def crash_reason(lines: Iterable[str]) -> str:
    """The error in a log, which is rarely its last line; "" if the log is empty."""
    telling = [line for line in lines if not _NOISE.search(line)]
    errors = [line for line in telling if _ERROR_LINE.search(line)]
    return plain((errors or telling or [""])[-1], _MAX_LENGTH)


async def find_endings(stack: ExternalStack, except_for: Iterable[str] = ()) -> list[Ending]:
    """The services that do not run, or do not listen, except for the processes named; the one that
    exited first is the first."""
    excluded = set(except_for)
    processes = [name for name in stack.arrangement.processes if name not in excluded]
    found = await asyncio.gather(*(_ending_of(stack, process) for process in processes))
    exited = [exit_.name for exit_ in stack.supervisor.unexpected_exits()]

    def place(ending: Ending) -> int:
        name = stack.program_name(ending.process)
        return exited.index(name) if name in exited else len(exited)

    return sorted((ending for ending in found if ending is not None), key=place)


async def _ending_of(stack: ExternalStack, process: str) -> Ending | None:
    """An ending is known when the exit is reported, or when nothing has listened for _GONE_FOR_S
    although a process still runs: a service may be about to restart itself."""
    supervisor, name = stack.supervisor, stack.program_name(process)
    began_s = perf_counter()
    while True:
        exits = [exit_ for exit_ in supervisor.unexpected_exits() if exit_.name == name]
        if exits:
            return Ending(process, f"{describe_exit(exits[-1].status)}{_because(stack, name)}")
        if not supervisor.alive(name) or await _listens(stack, process):
            return None
        gone_for_s = perf_counter() - began_s
        still_runs = bool(supervisor.descendant_pids(name))
        if gone_for_s >= (_GONE_FOR_S if still_runs else _REPORTED_WITHIN_S):
            how = "listens no more, although its command still runs"
            return Ending(process, f"{how}{_because(stack, name)}")
        await asyncio.sleep(_POLL_S)


async def _listens(stack: ExternalStack, process: str) -> bool:
    answer = await stack.call("GET", stack.urls[process], "/health")
    report = answer.data if isinstance(answer.data, dict) else {}
    return report.get("error") != "refused"


def _because(stack: ExternalStack, name: str) -> str:
    log = next(program.log for program in stack.programs if program.name == name)
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    reason = crash_reason(lines)
    return f": {reason}" if reason else ""
