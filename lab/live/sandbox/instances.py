"""The labs that run on this machine: how `lab fault` in one terminal finds `lab up` in another.

A running lab writes an instance file into a folder that only its user can read: the URL of its
control server, and the token that the server requires. A lab that was killed leaves its file
behind, and another process may have its pid by now. So a file is valid while the process with that
pid has the identity of the lab (`lab.support.process_identity`), or while a process has that pid
and the control server accepts connections. All other files are stale, and are removed.
"""

import json
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.cluster.errors import LabCannotRun
from lab.support.files import write_private
from lab.support.process_identity import process_identity

FOLDER = "sync-async-lab"
CONNECTED_WITHIN_S = 1.0


@dataclass(frozen=True)
class RunningLab:
    """A running lab. `started`: seconds since 1970; `url`, `token`: of its control server;
    `stacks`: the URL of each target of each stack; `folder`: its data and logs; `identity`: that of
    its process."""

    pid: int
    started: float
    url: str
    token: str = field(repr=False)
    stacks: Mapping[str, Mapping[str, str]]
    folder: Path
    identity: str = ""

    def __str__(self) -> str:
        since = time.strftime("%H:%M", time.localtime(self.started))
        return f"pid {self.pid}: {' and '.join(self.stacks)}, since {since}, in {self.folder}"


@dataclass(frozen=True)
class InstanceFile:
    """An instance file, and the lab it describes: None if that lab no longer runs."""

    path: Path
    lab: RunningLab | None


@contextmanager
def registered_instance(lab: RunningLab) -> Iterator[Path]:
    """Write the instance file of this process's lab, and remove it when the context ends.

    Fills in `pid`, `started` and `identity`. Raises LabCannotRun if there is no private folder for
    the file.
    """
    pid = os.getpid()
    lab = replace(lab, pid=pid, started=time.time(), identity=process_identity(pid) or "")
    path = _private_folder() / f"{lab.pid}.json"
    write_private(path, json.dumps(asdict(lab), indent=2, default=str))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def find_running_labs() -> list[RunningLab]:
    """This user's running labs, the oldest first. Removes stale instance files."""
    labs = []
    for note in read_instance_files():
        if note.lab is not None:
            labs.append(note.lab)
        else:
            with suppress(OSError):
                note.path.unlink(missing_ok=True)
    return sorted(labs, key=lambda lab: lab.started)


def read_instance_files() -> list[InstanceFile]:
    """All instance files, those of running labs and stale ones."""
    files = []
    for folder in _folders():
        with suppress(OSError):
            if _is_private(folder):
                files += [
                    InstanceFile(path, _read_running_lab(path))
                    for path in sorted(folder.glob("*.json"))
                ]
    return files


def _folders() -> list[Path]:
    """Where instance files may be, the preferred folder first. Readers search all of them, because
    two terminals may have a different XDG_RUNTIME_DIR."""
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
    # `lstat`, because a symbolic link is not private: its author could read the token at its end.
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o077


def _read_running_lab(path: Path) -> RunningLab | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        lab = RunningLab(**{**data, "folder": Path(data["folder"])})
        return lab if _is_alive(lab) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_alive(lab: RunningLab) -> bool:
    actual_identity = process_identity(lab.pid)
    if actual_identity is None:
        return False
    return actual_identity == lab.identity or _accepts_connections(lab.url)


def _accepts_connections(url: str) -> bool:
    parts = urlsplit(url)
    with suppress(OSError), socket.socket() as client:
        client.settimeout(CONNECTED_WITHIN_S)
        return client.connect_ex((parts.hostname or "", parts.port or 0)) == 0
    return False
