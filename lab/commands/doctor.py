"""`lab doctor`: finds what keeps this machine from running the lab or from measuring well.

With `fix` it also removes, without asking, the processes and instance files that an earlier lab
left behind. It never raises: a check that fails is a finding. So each check imports what it needs
itself, because a missing package is one of the possible findings.
"""

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.domain.services import BY_HAND_PORTS
from lab.support.text import styled

if TYPE_CHECKING:
    from rich.console import Console

# ── Checks

Level = Literal["ok", "warn", "bad"]

PYTHON = (3, 11)
PACKAGES = {
    "aiohttp": "3.14.4",
    "httptools": "0.6",
    "psutil": "6",
    "pybreaker": "1.3",
    "pydantic": "2.11",
    "requests": "2.32.3",
    "rich": "14",
    "stamina": "25.1",
    "typer": "0.20",
}
"""The oldest accepted version of each package, as in pyproject.toml."""

CORES = 2
OPEN_FILES = 1024
COMMITS = 9
SLOW_COMMIT_MS = 20.0
COARSE_CLOCK_S = 1e-5
REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.", "afs", "sshfs", "webdav", "davfs", "vboxsf")
"""Prefixes of file systems on which SQLite's write-ahead log is unreliable."""
SYNCED = ("onedrive", "dropbox", "icloud", "mobile documents", "google drive", "googledrive")
"""Parts of the names of folders that another program synchronises."""


@dataclass(frozen=True)
class Finding:
    """`what` was seen and, unless the level is "ok", what to `try_next`."""

    level: Level
    what: str
    try_next: str = ""


Check = Callable[[bool, Path], Iterator[Finding]]


def examine(fix: bool = False, folder: Path = Path("runs")) -> list[Finding]:
    """Run all checks; with `fix`, repair what can be repaired. `folder` is where runs are saved.

    Takes about a second and leaves no files. Never raises.
    """
    found = []
    for check in CHECKS:
        try:
            for finding in check(fix, folder):
                found.append(finding)
        except Exception as error:
            what = f"{check.__name__.strip('_')}: could not be looked at ({error!r})."
            found.append(Finding("warn", what, "Install what is missing, then look again."))
    return found


def exit_code(findings: list[Finding]) -> int:
    """3 if a finding is "bad" (the lab could not run properly), else 0."""
    return 3 if any(finding.level == "bad" for finding in findings) else 0


def _python(fix: bool, folder: Path) -> Iterator[Finding]:
    level: Level = "ok" if sys.version_info >= PYTHON else "bad"
    needed = ".".join(map(str, PYTHON))
    what = f"Python {sys.version.split()[0]} ({sys.executable}); it needs {needed} or newer."
    yield Finding(level, what, "" if level == "ok" else "Make a venv with a newer Python.")


def _packages(fix: bool, folder: Path) -> Iterator[Finding]:
    install = "In the lab's folder and venv: pip install -e ."
    present = []
    for name, oldest in PACKAGES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("bad", f"{name} is not installed.", install)
            continue
        if _numbers(version) < _numbers(oldest):
            yield Finding("bad", f"{name} {version} is older than {oldest}.", install)
        else:
            present.append(f"{name} {version}")
    if present:
        yield Finding("ok", f"Installed: {', '.join(present)}.")


def _leftovers(fix: bool, folder: Path) -> Iterator[Finding]:
    from lab.cluster.process_tree import end, leftovers

    found = leftovers()
    for one in found:
        seen = f"{one.name} (process {one.pid}) was left behind by a lab that is gone"
        if fix and end(one):
            yield Finding("ok", f"{seen}; ended now.")
        else:
            by_hand = f"It could not be ended. Try: kill -9 {one.pid}"
            yield Finding("bad", f"{seen}.", by_hand if fix else "lab doctor --fix ends it.")
    if not found:
        yield Finding("ok", "No process of an earlier lab is left.")


def _notes(fix: bool, folder: Path) -> Iterator[Finding]:
    from lab.sandbox.instances import notes

    for note in notes():
        if note.lab is not None:
            yield Finding("ok", f"A lab runs: {note.lab}.")
        elif fix:
            note.path.unlink(missing_ok=True)
            yield Finding("ok", f"{note.path} told of a lab that is gone; removed now.")
        else:
            what = f"{note.path} tells of a lab that is gone."
            yield Finding("warn", what, "lab doctor --fix removes it.")


def _ports(fix: bool, folder: Path) -> Iterator[Finding]:
    from lab.cluster.errors import PortTaken
    from lab.cluster.ports import reserve
    from lab.sandbox.instances import notes

    labs = [note.lab for note in notes() if note.lab is not None]
    owner = {url: lab.pid for lab in labs for of in lab.stacks.values() for url in of.values()}
    free = []
    for arrangement, ports in BY_HAND_PORTS.items():
        for target, port in ports.items():
            if pid := owner.get(f"http://127.0.0.1:{port}"):
                yield Finding("ok", f"Port {port} is {target} of the running lab, pid {pid}.")
                continue
            try:
                reserve(port).close()
                free.append(str(port))
            except PortTaken as taken:
                holder = taken.by or "a program of another user"
                what = f"Port {port} ({target} of {arrangement}) is taken by {holder}."
                yield Finding("bad", what, "End that program; only `lab up` needs the port.")
    if free:
        yield Finding("ok", f"Free for `lab up`: ports {', '.join(free)}.")


def _processor(fix: bool, folder: Path) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    few = f"Take low arrival rates: it needs {CORES} to keep the load and the services apart."
    yield _unless(cores < CORES, f"Cores: {cores}.", few)
    load = os.getloadavg()[0]
    what = f"In the last minute {load:.1f} processes wanted the cores."
    yield _unless(load > cores, what, "Close what keeps them busy: it will be in the figures.")


def _folder(fix: bool, folder: Path) -> Iterator[Finding]:
    import psutil

    place = _existing(folder)
    elsewhere = "Run the lab from a folder of your own, on a local disk."
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        yield Finding("bad", f"Nothing can be written to {place}.", elsewhere)
        return
    mounts = [p for p in psutil.disk_partitions(all=True) if place.is_relative_to(p.mountpoint)]
    # The deepest mount; of two on the same folder the later one covers the earlier.
    deepest = max(reversed(mounts), key=lambda mount: len(mount.mountpoint), default=None)
    kind = deepest.fstype if deepest else "of an unknown kind"
    if kind.lower().startswith(REMOTE):
        yield Finding("bad", f"{place} is on a network or user-space disk ({kind}).", elsewhere)
    elif synced := next((part for part in place.parts if _is_synced(part)), None):
        yield Finding("bad", f"{place} is in {synced!r}, which is synchronised.", elsewhere)
    else:
        yield Finding("ok", f"Runs are kept in {folder.absolute()} (file system: {kind}).")


def _disk(fix: bool, folder: Path) -> Iterator[Finding]:
    ms = _commit_ms(_existing(folder))
    what = f"A commit to disk takes {ms:.1f} ms (median of {COMMITS})."
    slow = "Every write will be slow, in both arrangements. Is there another disk?"
    yield _unless(ms > SLOW_COMMIT_MS, what, slow)


def _open_files(fix: bool, folder: Path) -> Iterator[Finding]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    what = f"Open files for each process: {'no limit' if unlimited else soft}."
    few = f"In this shell, before the lab: ulimit -n {OPEN_FILES}"
    yield _unless(not unlimited and soft < OPEN_FILES, what, few)


def _clock(fix: bool, folder: Path) -> Iterator[Finding]:
    clock = time.get_clock_info("perf_counter")
    what = f"The clock has steps of {clock.resolution * 1e9:.0f} ns."
    coarse = "Too coarse for latencies below a millisecond: mind it when you read the tables."
    yield _unless(clock.resolution > COARSE_CLOCK_S or not clock.monotonic, what, coarse)


# Leftovers before ports: ending a process may free its port.
# fmt: off
CHECKS: tuple[Check, ...] = (
    _python, _packages, _leftovers, _notes, _ports, _processor, _folder, _disk, _open_files, _clock
)
# fmt: on


def _unless(doubtful: bool, what: str, try_next: str) -> Finding:
    return Finding("warn", what, try_next) if doubtful else Finding("ok", what)


def _numbers(version: str) -> tuple[int, ...]:
    """ "3.14.4" as (3, 14, 4); the first part that is no number ends it."""
    return tuple(int(part) for part in takewhile(str.isdecimal, version.split(".")))


def _existing(folder: Path) -> Path:
    """The folder itself, or its nearest ancestor that exists."""
    return next(at for at in (folder.resolve(), *folder.resolve().parents) if at.exists())


def _is_synced(part: str) -> bool:
    return any(name in part.lower() for name in SYNCED)


def _commit_ms(place: Path) -> float:
    """The median time in ms of a commit as the services do it: WAL, synchronous FULL."""
    took_ms = []
    with (
        tempfile.TemporaryDirectory(dir=place, prefix=".lab-doctor-") as folder,
        closing(sqlite3.connect(f"{folder}/commits.db", isolation_level=None)) as database,
    ):
        for line in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            database.execute(f"PRAGMA {line}")
        database.execute("CREATE TABLE commits (number INTEGER)")
        for number in range(COMMITS):
            began_s = time.perf_counter()
            database.execute("INSERT INTO commits VALUES (?)", (number,))
            took_ms.append((time.perf_counter() - began_s) * 1_000)
    return statistics.median(took_ms)


# ── Output

_SIGNS = {"ok": ("✓ ok  ", "green"), "warn": ("! warn", "yellow"), "bad": ("✗ bad ", "bold red")}


def show(found: Sequence[Finding], console: "Console") -> None:
    """Print the findings."""
    from rich.padding import Padding
    from rich.text import Text

    for finding in found:
        console.print(Text.assemble(_SIGNS[finding.level], "  ", styled(finding.what)))
        if finding.try_next:
            console.print(Padding(styled(f"try: {finding.try_next}"), (0, 0, 0, 8)))
