"""Which process has which database open, and what happens when a service opens a foreign one.

The lab reads the open files from outside: what a service reports about itself is no proof. To try a
foreign open, it starts the service's own program on a folder in which the database is a link to
that of another service. The program does what it does at every start, and opens the link as its own
database.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from lab.cluster.forkserver_client import log_tail
from lab.cluster.program import Program
from lab.cluster.supervisor import Supervisor

GIVEN_UP_AFTER_S = 3.0
_FOREIGN_DATABASE_STATUS = 3

Databases = dict[str, list[str]]
"""The database files that each process has open."""

OwnerState = Literal["running", "gone"]


@dataclass(frozen=True)
class ForeignOpenAttempt:
    """The result of starting `who` on the database of `into`. `says`: the last line of its log.

    `owner`: whether the database's owner was running. `refused`: the program saw that the database
    is foreign, and exited.
    """

    who: str
    into: str
    owner: OwnerState
    refused: bool
    says: str


def open_databases(pids: Mapping[str, int], folder: Path) -> Databases:
    """By process name: the databases in `folder` that a process and its descendants have open.

    Empty for a process that has ended. Raises psutil.AccessDenied where the system hides open
    files.
    """
    return {name: sorted(_find_open_databases(pid, folder.resolve())) for name, pid in pids.items()}


def _find_open_databases(pid: int, folder: Path) -> set[str]:
    try:
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
        paths = [Path(file.path) for process in processes for file in process.open_files()]
    except psutil.NoSuchProcess:
        return set()
    # SQLite's -wal and -shm files belong to the database.
    names = [path.name.removesuffix("-wal").removesuffix("-shm") for path in paths]
    here = [name for name, path in zip(names, paths, strict=True) if path.parent == folder]
    return {name for name in here if name.endswith(".db")}


def read_owners(folder: Path) -> dict[str, str]:
    """The process that each database in `folder` belongs to, according to the file itself.

    Call it after the processes have ended: the rule not to open a foreign database holds for the
    lab, too. A file without a recorded owner (the bus's log) belongs to the process of that name.
    """
    return {path.name: _read_owner(path) for path in sorted(folder.glob("*.db"))}


def _read_owner(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (source,) = database.execute("SELECT name FROM owner").fetchone()
    except (sqlite3.Error, TypeError):
        return path.stem
    return str(source).rpartition("/")[2]


async def try_foreign_open(
    supervisor: Supervisor, program: Program, target: str, data: Path, owner_state: OwnerState
) -> ForeignOpenAttempt:
    """Start another process of `who` (a service's program) whose database links to that of `into`.

    `data`: the folder of the stack's databases. Raises StartFailed, SignalFailed.
    """
    name = program.name.rpartition(".")[2]
    folder = data.with_name(f"{data.name}-{name}-in-{target}")
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / f"{name}.db"
    if not link.is_symlink():
        link.symlink_to((data / f"{target}.db").resolve())
    attempt = replace(
        program,
        name=f"{program.name}-in-{target}",
        # The last of two equal options counts; all other arguments are the service's.
        argv=(*program.argv, "--port", "0", "--data", str(folder), *_spans_argv(program, target)),
        log=program.log.with_name(f"{program.name}-in-{target}.log"),
        health=None,
        may_fail=True,
    )
    await supervisor.start(attempt)
    try:
        refused = await supervisor.wait(attempt.name, GIVEN_UP_AFTER_S) == _FOREIGN_DATABASE_STATUS
    except TimeoutError:
        refused = False
        await supervisor.kill(attempt.name)
    last = await asyncio.to_thread(_last_line, attempt.log)
    return ForeignOpenAttempt(name, target, owner_state, refused, last)


def _spans_argv(program: Program, target: str) -> Sequence[str]:
    return ("--spans", str(program.log.with_name(f"{program.name}-in-{target}.spans.ndjson")))


def _last_line(log: Path) -> str:
    return next(reversed(log_tail(log)), "")
