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

MIN_PYTHON = (3, 11)
MIN_VERSIONS = {
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

MIN_CORES = 2
MIN_OPEN_FILES = 1024
COMMIT_COUNT = 9
SLOW_COMMIT_MS = 20.0
COARSE_CLOCK_S = 1e-5
REMOTE_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "fuse.",
    "afs",
    "sshfs",
    "webdav",
    "davfs",
    "vboxsf",
)
"""Prefixes of file systems on which SQLite's write-ahead log is unreliable."""
SYNCED_FOLDERS = (
    "onedrive",
    "dropbox",
    "icloud",
    "mobile documents",
    "google drive",
    "googledrive",
)
"""Parts of the names of folders that another program synchronises."""


@dataclass(frozen=True)
class Diagnosis:
    """`what` was seen and, unless the level is "ok", what to `try_next`."""

    level: Level
    message: str
    hint: str = ""


Check = Callable[[bool, Path], Iterator[Diagnosis]]


def run_checks(fix: bool = False, folder: Path = Path("runs")) -> list[Diagnosis]:
    """Run all checks; with `fix`, repair what can be repaired. `folder` is where runs are saved.

    Takes about a second and leaves no files. Never raises.
    """
    diagnoses = []
    for check in CHECKS:
        try:
            for diagnosis in check(fix, folder):
                diagnoses.append(diagnosis)
        except Exception as error:
            what = f"{check.__name__.strip('_')}: could not be looked at ({error!r})."
            diagnoses.append(Diagnosis("warn", what, "Install what is missing, then look again."))
    return diagnoses


def exit_code(diagnoses: list[Diagnosis]) -> int:
    """3 if a finding is "bad" (the lab could not run properly), else 0."""
    return 3 if any(finding.level == "bad" for finding in diagnoses) else 0


def _python(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    level: Level = "ok" if sys.version_info >= MIN_PYTHON else "bad"
    needed = ".".join(map(str, MIN_PYTHON))
    what = f"Python {sys.version.split()[0]} ({sys.executable}); it needs {needed} or newer."
    yield Diagnosis(level, what, "" if level == "ok" else "Make a venv with a newer Python.")


def _packages(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    install = "In the lab's folder and venv: pip install -e ."
    present = []
    for name, oldest in MIN_VERSIONS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Diagnosis("bad", f"{name} is not installed.", install)
            continue
        if _version_tuple(version) < _version_tuple(oldest):
            yield Diagnosis("bad", f"{name} {version} is older than {oldest}.", install)
        else:
            present.append(f"{name} {version}")
    if present:
        yield Diagnosis("ok", f"Installed: {', '.join(present)}.")


def _leftovers(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.cluster.process_tree import find_leftovers, kill_leftover

    found = find_leftovers()
    for process in found:
        description = (
            f"{process.name} (process {process.pid}) was left behind by a lab that is gone"
        )
        if fix and kill_leftover(process):
            yield Diagnosis("ok", f"{description}; ended now.")
        else:
            manual_hint = f"It could not be ended. Try: kill -9 {process.pid}"
            yield Diagnosis(
                "bad", f"{description}.", manual_hint if fix else "lab doctor --fix ends it."
            )
    if not found:
        yield Diagnosis("ok", "No process of an earlier lab is left.")


def _instance_files(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.sandbox.instances import read_instance_files

    for note in read_instance_files():
        if note.lab is not None:
            yield Diagnosis("ok", f"A lab runs: {note.lab}.")
        elif fix:
            note.path.unlink(missing_ok=True)
            yield Diagnosis("ok", f"{note.path} told of a lab that is gone; removed now.")
        else:
            what = f"{note.path} tells of a lab that is gone."
            yield Diagnosis("warn", what, "lab doctor --fix removes it.")


def _ports(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.cluster.errors import PortTaken
    from lab.cluster.ports import reserve
    from lab.sandbox.instances import read_instance_files

    labs = [note.lab for note in read_instance_files() if note.lab is not None]
    owner = {url: lab.pid for lab in labs for of in lab.stacks.values() for url in of.values()}
    free = []
    for arrangement, ports in BY_HAND_PORTS.items():
        for target, port in ports.items():
            if pid := owner.get(f"http://127.0.0.1:{port}"):
                yield Diagnosis("ok", f"Port {port} is {target} of the running lab, pid {pid}.")
                continue
            try:
                reserve(port).close()
                free.append(str(port))
            except PortTaken as taken:
                holder = taken.owner or "a program of another user"
                what = f"Port {port} ({target} of {arrangement}) is taken by {holder}."
                yield Diagnosis("bad", what, "End that program; only `lab up` needs the port.")
    if free:
        yield Diagnosis("ok", f"Free for `lab up`: ports {', '.join(free)}.")


def _processor(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    few = f"Take low arrival rates: it needs {MIN_CORES} to keep the load and the services apart."
    yield _warn_if(cores < MIN_CORES, f"Cores: {cores}.", few)
    load = os.getloadavg()[0]
    what = f"In the last minute {load:.1f} processes wanted the cores."
    yield _warn_if(load > cores, what, "Close what keeps them busy: it will be in the figures.")


def _folder(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    import psutil

    place = _nearest_existing(folder)
    elsewhere = "Run the lab from a folder of your own, on a local disk."
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        yield Diagnosis("bad", f"Nothing can be written to {place}.", elsewhere)
        return
    mounts = [p for p in psutil.disk_partitions(all=True) if place.is_relative_to(p.mountpoint)]
    # The deepest mount; of two on the same folder the later one covers the earlier.
    deepest = max(reversed(mounts), key=lambda mount: len(mount.mountpoint), default=None)
    kind = deepest.fstype if deepest else "of an unknown kind"
    if kind.lower().startswith(REMOTE_FILE_SYSTEMS):
        yield Diagnosis("bad", f"{place} is on a network or user-space disk ({kind}).", elsewhere)
    elif synced := next((part for part in place.parts if _is_synced(part)), None):
        yield Diagnosis("bad", f"{place} is in {synced!r}, which is synchronised.", elsewhere)
    else:
        yield Diagnosis("ok", f"Runs are kept in {folder.absolute()} (file system: {kind}).")


def _disk(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    ms = _commit_ms(_nearest_existing(folder))
    what = f"A commit to disk takes {ms:.1f} ms (median of {COMMIT_COUNT})."
    slow = "Every write will be slow, in both arrangements. Is there another disk?"
    yield _warn_if(ms > SLOW_COMMIT_MS, what, slow)


def _open_files(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    what = f"Open files for each process: {'no limit' if unlimited else soft}."
    few = f"In this shell, before the lab: ulimit -n {MIN_OPEN_FILES}"
    yield _warn_if(not unlimited and soft < MIN_OPEN_FILES, what, few)


def _clock(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    clock = time.get_clock_info("perf_counter")
    what = f"The clock has steps of {clock.resolution * 1e9:.0f} ns."
    coarse = "Too coarse for latencies below a millisecond: mind it when you read the tables."
    yield _warn_if(clock.resolution > COARSE_CLOCK_S or not clock.monotonic, what, coarse)


# Leftovers before ports: ending a process may free its port.
# fmt: off
CHECKS: tuple[Check, ...] = (
    _python, _packages, _leftovers, _instance_files, _ports, _processor, _folder, _disk, _open_files, _clock
)
# fmt: on


def _warn_if(condition: bool, message: str, hint: str) -> Diagnosis:
    return Diagnosis("warn", message, hint) if condition else Diagnosis("ok", message)


def _version_tuple(version: str) -> tuple[int, ...]:
    """ "3.14.4" as (3, 14, 4); the first part that is no number ends it."""
    return tuple(int(part) for part in takewhile(str.isdecimal, version.split(".")))


def _nearest_existing(folder: Path) -> Path:
    """The folder itself, or its nearest ancestor that exists."""
    return next(at for at in (folder.resolve(), *folder.resolve().parents) if at.exists())


def _is_synced(folder_name: str) -> bool:
    return any(name in folder_name.lower() for name in SYNCED_FOLDERS)


def _commit_ms(place: Path) -> float:
    """The median time in ms of a commit as the services do it: WAL, synchronous FULL."""
    durations_ms = []
    with (
        tempfile.TemporaryDirectory(dir=place, prefix=".lab-doctor-") as folder,
        closing(sqlite3.connect(f"{folder}/commits.db", isolation_level=None)) as database,
    ):
        for line in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            database.execute(f"PRAGMA {line}")
        database.execute("CREATE TABLE commits (number INTEGER)")
        for number in range(COMMIT_COUNT):
            started_s = time.perf_counter()
            database.execute("INSERT INTO commits VALUES (?)", (number,))
            durations_ms.append((time.perf_counter() - started_s) * 1_000)
    return statistics.median(durations_ms)


# ── Output

_SIGNS = {"ok": ("✓ ok  ", "green"), "warn": ("! warn", "yellow"), "bad": ("✗ bad ", "bold red")}


def show_diagnoses(diagnoses: Sequence[Diagnosis], console: "Console") -> None:
    """Print the findings."""
    from rich.padding import Padding
    from rich.text import Text

    for diagnosis in diagnoses:
        console.print(Text.assemble(_SIGNS[diagnosis.level], "  ", styled(diagnosis.message)))
        if diagnosis.hint:
            console.print(Padding(styled(f"try: {diagnosis.hint}"), (0, 0, 0, 8)))
