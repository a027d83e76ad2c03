"""Which labs run on this machine: how `lab fault` in one terminal finds `lab up` in another.

A running lab leaves a note in a folder that only its user can read: where its control server
listens, and the token that the server asks for. The note is no proof of life. A lab that was killed
leaves its note behind, and its pid may be somebody else's by now; so a note counts only while a
process with that pid lives *and* began when the lab did. All others are stale, and removed.
"""

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun

FOLDER = "sync-async-lab"
CLOCK_SLACK_S = 2.0


@dataclass(frozen=True)
class RunningLab:
    """A lab that runs. `started`: seconds since 1970; `url`, `token`: of its control server;
    `stacks`: the URL of each target of each stack; `folder`: its data and logs."""

    pid: int
    started: float
    url: str
    token: str = field(repr=False)
    stacks: Mapping[str, Mapping[str, str]]
    folder: Path

    def __str__(self) -> str:
        since = time.strftime("%H:%M", time.localtime(self.started))
        return f"pid {self.pid}: {' and '.join(self.stacks)}, since {since}, in {self.folder}"


@dataclass(frozen=True)
class Note:
    """A file in the private folder, and the lab it tells of: None when that is gone."""

    path: Path
    lab: RunningLab | None


@contextmanager
def announced(lab: RunningLab) -> Iterator[Path]:
    """The note of this process's lab (`pid` and `started` are filled in here), removed at the end.

    Raises LabCannotRun when there is no private folder for it.
    """
    started = _began_at(os.getpid())
    assert started is not None
    lab = replace(lab, pid=os.getpid(), started=started)
    path = _private_folder() / f"{lab.pid}.json"
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    # Written aside and moved: whoever looks finds a whole note, or none.
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(lab), file, indent=2, default=str)
    unfinished.replace(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def running_labs() -> list[RunningLab]:
    """The labs of this user that run now, the oldest first. Stale notes are removed in passing."""
    labs = []
    for note in notes():
        if note.lab is not None:
            labs.append(note.lab)
        else:
            with suppress(OSError):
                note.path.unlink(missing_ok=True)
    return sorted(labs, key=lambda lab: lab.started)


def notes() -> list[Note]:
    """Every note there is, of labs that run and of those that don't any more."""
    found = []
    for folder in _folders():
        with suppress(OSError):
            if _is_private(folder):
                found += [Note(path, _read(path)) for path in sorted(folder.glob("*.json"))]
    return found


def _folders() -> list[Path]:
    """Where notes may be, the best place first. Two terminals need not agree on the first one."""
    caches = Path.home() / ".cache" / FOLDER
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return [Path(runtime) / FOLDER, caches] if os.path.isabs(runtime) else [caches]


def _private_folder() -> Path:
    problems = []
    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(folder) and os.access(folder, os.W_OK):
                return folder
            problems.append(f"{folder} is not this user's alone")
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
    raise LabCannotRun(
        "There is no private folder in which this lab could say where it runs "
        f"({'; '.join(problems)}). Make one of them yours, with mode 0700."
    )


def _is_private(folder: Path) -> bool:
    # Not followed if it is a link: whoever made the link could read the token at its other end.
    seen = folder.lstat()
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and not seen.st_mode & 0o077


def _read(path: Path) -> RunningLab | None:
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        lab = RunningLab(**{**told, "folder": Path(told["folder"])})
        began = _began_at(lab.pid)
        alive = began is not None and abs(began - lab.started) <= CLOCK_SLACK_S
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return lab if alive else None


def _began_at(pid: int) -> float | None:
    """When the process began, in seconds since 1970; None when there is none (any more)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
