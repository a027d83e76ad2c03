"""Which process has which database open, and what comes of a service that opens another one's.

Looked at from outside, in the files that a process holds: what a service says of itself is no
proof. Reaching in is tried with the service's own program, on a folder in which its database is a
link to the other one's. It does what it does at every start, and opens what it takes for its own.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from lab.cluster.forkserver_client import tail
from lab.cluster.program import Program
from lab.cluster.supervisor import Supervisor

GIVEN_UP_AFTER_S = 3.0
_NOT_YOURS = 3

Databases = dict[str, list[str]]
"""The database files that each process has open."""

OwnerIs = Literal["running", "gone"]


@dataclass(frozen=True)
class ReachedIn:
    """`who` was started on the database of `into`. `says`: the last line of its log."""

    who: str
    into: str
    owner: OwnerIs
    refused: bool
    says: str


def open_databases(pids: Mapping[str, int], folder: Path) -> Databases:
    """By name: the databases in `folder` that the process and those it started have open.

    A process that has ended has none open. Raises psutil.AccessDenied where the system hides them.
    """
    return {name: sorted(_open_in(pid, folder.resolve())) for name, pid in pids.items()}


def _open_in(pid: int, folder: Path) -> set[str]:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        paths = [Path(file.path) for one in family for file in one.open_files()]
    except psutil.NoSuchProcess:
        return set()
    # What SQLite keeps beside a database belongs to it.
    names = [path.name.removesuffix("-wal").removesuffix("-shm") for path in paths]
    here = [name for name, path in zip(names, paths, strict=True) if path.parent == folder]
    return {name for name in here if name.endswith(".db")}


def owners(folder: Path) -> dict[str, str]:
    """The part that each database in `folder` belongs to, as the file itself says.

    To be asked when the processes have ended: the rule that nobody reaches in holds for the lab.
    A file that names no owner (the log of the bus does not) belongs to the part it is named after.
    """
    return {path.name: _owner(path) for path in sorted(folder.glob("*.db"))}


def _owner(path: Path) -> str:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (source,) = database.execute("SELECT name FROM owner").fetchone()
    except (sqlite3.Error, TypeError):
        return path.stem
    return str(source).rpartition("/")[2]


async def reach_in(
    supervisor: Supervisor, who: Program, into: str, data: Path, owner: OwnerIs
) -> ReachedIn:
    """Start another `who` (a service's program) whose database is a link to that of `into`.

    `data`: the folder of the stack's databases. Raises StartFailed, SignalFailed.
    """
    name = who.name.rpartition(".")[2]
    folder = data.with_name(f"{data.name}-{name}-in-{into}")
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / f"{name}.db"
    if not link.is_symlink():
        link.symlink_to((data / f"{into}.db").resolve())
    stranger = replace(
        who,
        name=f"{who.name}-in-{into}",
        # Said twice on a command line, the last one counts: all else stays as the service has it.
        argv=(*who.argv, "--port", "0", "--data", str(folder), *_spans_of(who, into)),
        log=who.log.with_name(f"{who.name}-in-{into}.log"),
        health=None,
        may_fail=True,
    )
    await supervisor.start(stranger)
    try:
        refused = await supervisor.wait(stranger.name, GIVEN_UP_AFTER_S) == _NOT_YOURS
    except TimeoutError:
        refused = False
        await supervisor.kill(stranger.name)
    last = await asyncio.to_thread(_last_line, stranger.log)
    return ReachedIn(name, into, owner, refused, last)


def _spans_of(who: Program, into: str) -> Sequence[str]:
    return ("--spans", str(who.log.with_name(f"{who.name}-in-{into}.spans.ndjson")))


def _last_line(log: Path) -> str:
    return next(reversed(tail(log)), "")
