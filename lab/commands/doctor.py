"""`lab doctor`: finds what keeps this machine from running the lab or from measuring well.

With `fix` it also removes, without asking, the processes and instance files that an earlier lab
left behind. It never raises: a check that fails is a finding. So each check imports what it needs
itself, because a missing package is one of the possible findings.
"""

import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lab.commands.surroundings import ENOUGH_BYTES
from lab.domain.services import BY_HAND_PORTS
from lab.results.saved_names import RUNS
from lab.support.text import styled

if TYPE_CHECKING:
    from rich.console import Console

# ── Checks

Level = Literal["ok", "warn", "bad"]

DISTRIBUTION = "sync-async-lab"
MIN_CORES = 2
MIN_OPEN_FILES = 1024
ENOUGH_FREE_BYTES = 200_000_000
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
    """What was found and, unless the level is "ok", a hint what to do."""

    level: Level
    message: str
    hint: str = ""


Check = Callable[[bool, Path], Iterator[Diagnosis]]


def run_checks(fix: bool = False, folder: Path = RUNS) -> list[Diagnosis]:
    """Run all checks; with `fix`, repair what can be repaired. `folder` is where runs are saved.

    Takes about a second and leaves no files. Never raises.
    """
    diagnoses = []
    for check in CHECKS:
        try:
            for diagnosis in check(fix, folder):
                diagnoses.append(diagnosis)
        except Exception as error:
            what = f"{check.__name__.strip('_')}: the check failed ({error!r})."
            diagnoses.append(Diagnosis("warn", what, "Repair what is reported above; then again."))
    return diagnoses


def exit_code(diagnoses: list[Diagnosis]) -> int:
    """3 if a finding is "bad" (the lab could not run properly), else 0."""
    return 3 if any(finding.level == "bad" for finding in diagnoses) else 0


def _installation(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    install = "In the lab's folder and venv: pip install -e ."
    try:
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet

        lab = metadata.distribution(DISTRIBUTION)
    except ImportError as missing:  # metadata.PackageNotFoundError is one
        yield Diagnosis("bad", f"{missing.name} is not installed.", install)
        return
    python, needed = sys.version.split()[0], SpecifierSet(lab.metadata["Requires-Python"])
    if needed.contains(python, prereleases=True):
        yield Diagnosis("ok", f"Python {python} ({sys.executable}).")
    else:
        yield Diagnosis("bad", f"Python {python}: the lab needs {needed}.", "Make a newer venv.")
    suitable = []
    for requirement in map(Requirement, lab.requires or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Diagnosis("bad", f"{requirement.name} is not installed.", install)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            suitable.append(f"{requirement.name} {version}")
        else:
            what = f"{requirement.name} {version} is installed: the lab needs {requirement}."
            yield Diagnosis("bad", what, install)
    if suitable:
        yield Diagnosis("ok", f"Installed: {', '.join(suitable)}.")


def _leftovers(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.cluster.process_tree import find_leftovers, kill_leftover

    found = find_leftovers()
    for process in found:
        description = (
            f"{process.name} (process {process.pid}) is left over from a lab that has ended"
        )
        if fix and kill_leftover(process):
            yield Diagnosis("ok", f"{description}; it is ended now.")
        else:
            manual_hint = f"It could not be ended. Try: kill -9 {process.pid}"
            yield Diagnosis(
                "bad", f"{description}.", manual_hint if fix else "lab doctor --fix ends it."
            )
    if not found:
        yield Diagnosis("ok", "No process of an earlier lab is left.")


def _instance_files(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.live.sandbox.instances import read_instance_files

    for instance in read_instance_files():
        if instance.lab is not None:
            yield Diagnosis("ok", f"A lab runs: {instance.lab}.")
        elif fix:
            instance.path.unlink(missing_ok=True)
            yield Diagnosis("ok", f"{instance.path} named a lab that has ended; it is removed now.")
        else:
            what = f"{instance.path} names a lab that has ended."
            yield Diagnosis("warn", what, "lab doctor --fix removes it.")


def _ports(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.cluster.errors import PortTaken
    from lab.cluster.ports import reserve
    from lab.live.sandbox.instances import read_instance_files

    labs = [instance.lab for instance in read_instance_files() if instance.lab is not None]
    owner = {url: lab.pid for lab in labs for urls in lab.stacks.values() for url in urls.values()}
    free = []
    for arrangement, ports in BY_HAND_PORTS.items():
        for target, port in ports.items():
            if pid := owner.get(f"http://127.0.0.1:{port}"):
                yield Diagnosis("ok", f"Port {port} is {target} of the running lab (pid {pid}).")
                continue
            try:
                reserve(port).close()
                free.append(str(port))
            except PortTaken as taken:
                holder = taken.owner or "a program of another user"
                what = f"Port {port} ({target} of {arrangement}) is in use by {holder}."
                yield Diagnosis("bad", what, "End that program; only `lab up` needs the port.")
    if free:
        yield Diagnosis("ok", f"Free for `lab up`: ports {', '.join(free)}.")


def _processor(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    few = f"Use low arrival rates: with {MIN_CORES} cores the load does not slow the services."
    yield _warn_if(cores < MIN_CORES, f"Cores: {cores}.", few)
    load = os.getloadavg()[0]
    what = f"Load of the last minute: {load:.1f} processes."
    yield _warn_if(load > cores, what, "Close busy programs: they distort what you measure.")


def _folder(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    import psutil

    place = _nearest_existing(folder)
    elsewhere = "Run the lab in one of your folders on a local disk."
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        yield Diagnosis("bad", f"{place} is not writable.", elsewhere)
        return
    mounts = [p for p in psutil.disk_partitions(all=True) if place.is_relative_to(p.mountpoint)]
    # The deepest mount; of two on the same folder the later one covers the earlier.
    deepest = max(reversed(mounts), key=lambda mount: len(mount.mountpoint), default=None)
    kind = deepest.fstype if deepest else "unknown"
    if kind.lower().startswith(REMOTE_FILE_SYSTEMS):
        yield Diagnosis(
            "bad", f"{place} is on a network or user-space file system ({kind}).", elsewhere
        )
    elif synced := next((part for part in place.parts if _is_synced(part)), None):
        yield Diagnosis(
            "bad", f"{place} is in {synced!r}, which another program synchronises.", elsewhere
        )
    else:
        yield Diagnosis("ok", f"Runs are saved in {folder.absolute()} (file system: {kind}).")


def _disk(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    free = shutil.disk_usage(_nearest_existing(folder)).free
    room = f"Free space for runs: {free / 1e6:,.0f} MB."
    yield _warn_if(free < ENOUGH_FREE_BYTES, room, "A run writes up to 50 MB. Delete something.")
    if free < ENOUGH_BYTES:
        return
    ms = _commit_ms(_nearest_existing(folder))
    what = f"A commit to disk takes {ms:.1f} ms (median of {COMMIT_COUNT})."
    slow = "Every write will be slow, in both arrangements. Use another disk, if there is one."
    yield _warn_if(ms > SLOW_COMMIT_MS, what, slow)


def _shared_ports(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    from lab.cluster.errors import NoReusePort
    from lab.cluster.ports import reserve

    try:
        with reserve():
            yield Diagnosis("ok", "A port stays reserved while its service is down.")
    except NoReusePort as error:
        yield Diagnosis("bad", str(error))


def _open_files(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    what = f"Open files for each process: {'no limit' if unlimited else soft}."
    few = f"In this shell, before the lab: ulimit -n {MIN_OPEN_FILES}"
    yield _warn_if(not unlimited and soft < MIN_OPEN_FILES, what, few)


def _clock(fix: bool, folder: Path) -> Iterator[Diagnosis]:
    clock = time.get_clock_info("perf_counter")
    what = f"The clock has a resolution of {clock.resolution * 1e9:.0f} ns."
    coarse = "Latencies below a millisecond will be inexact."
    yield _warn_if(clock.resolution > COARSE_CLOCK_S or not clock.monotonic, what, coarse)


# Leftovers before ports: ending a process may free its port.
CHECKS: tuple[Check, ...] = (
    _installation,
    _leftovers,
    _instance_files,
    _shared_ports,
    _ports,
    _processor,
    _folder,
    _disk,
    _open_files,
    _clock,
)


def _warn_if(condition: bool, message: str, hint: str) -> Diagnosis:
    return Diagnosis("warn", message, hint) if condition else Diagnosis("ok", message)


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


def to_data(diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    """The findings as JSON values; `level` is "ok", "warn" or "bad"."""
    return {"schema": "lab.doctor/1", "findings": [asdict(finding) for finding in diagnoses]}


_SIGNS = {"ok": ("✓ ok  ", "green"), "warn": ("! warn", "yellow"), "bad": ("✗ bad ", "bold red")}


def show_diagnoses(diagnoses: Sequence[Diagnosis], console: "Console") -> None:
    """Print the findings."""
    from rich.padding import Padding
    from rich.text import Text

    for diagnosis in diagnoses:
        console.print(Text.assemble(_SIGNS[diagnosis.level], "  ", styled(diagnosis.message)))
        if diagnosis.hint:
            console.print(Padding(styled(f"try: {diagnosis.hint}"), (0, 0, 0, 8)))
