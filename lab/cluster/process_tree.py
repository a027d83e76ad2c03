"""Finds and ends the descendants of a process, and processes that an earlier run left behind.

A descendant may be orphaned, or in another session. On Linux a wrapper (`lab.external.wrapper`)
becomes the parent of its orphans, so the tree below it is complete. Elsewhere an orphan leaves the
tree and is found by the mark in its environment. A process is identified by pid and start time,
never by the pid alone.

No run should leave processes behind; `lab doctor` checks it. Every process of a run has
LAB_RUN=<pid of the lab>:<begin of the run>:<identity of the lab> in the environment with which it
was started. The lab of a run is alive while the process with that pid has that identity
(`lab.support.process_identity`): another process only got the same number.
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGKILL, SIGSTOP

import psutil

from lab.cluster.forkserver_client import LAB_RUN
from lab.support.process_identity import process_identity

# ── Descendants

MARK = "LAB_KEPT_BY"
KILLED_WITHIN_S = 2.0
_POLL_EVERY_S = 0.002


def mark_of(wrapper_pid: int) -> str:
    """The value of MARK for all that a wrapper starts. It includes the run: pids are reused."""
    return f"{os.environ.get('LAB_RUN', '')}:{wrapper_pid}"


def descendants(root_pid: int) -> list[psutil.Process]:
    """The living descendants of a process, without itself."""
    processes: dict[psutil.Process, None] = {}
    with suppress(psutil.Error):
        processes = dict.fromkeys(psutil.Process(root_pid).children(recursive=True))
    if sys.platform != "linux":
        processes |= dict.fromkeys(_find_marked(mark_of(root_pid)))
    return [process for process in processes if process.pid != root_pid and _is_alive(process)]


def signal_tree(root_pid: int, number: int) -> list[psutil.Process]:
    """Send a signal to all descendants, also to those that start meanwhile; return them."""
    signalled: dict[psutil.Process, None] = {}
    while new := [process for process in descendants(root_pid) if process not in signalled]:
        for process in new:
            with suppress(psutil.Error):
                process.send_signal(number)
        signalled |= dict.fromkeys(new)
    return list(signalled)


def kill_tree(root_pid: int, groups: Sequence[int] = ()) -> None:
    """Send SIGKILL to all descendants and to `groups`; wait until the descendants have ended.

    Waits at most KILLED_WITHIN_S seconds: a process in an uninterruptible wait for a disk can't be
    ended.
    """
    processes = signal_tree(root_pid, SIGSTOP)  # so that none starts another process meanwhile
    for group in groups:
        with suppress(OSError):
            os.killpg(group, SIGKILL)
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    wait_until_ended(processes)


def wait_until_ended(
    processes: Iterable[psutil.Process], within_s: float = KILLED_WITHIN_S
) -> bool:
    """Wait until all have ended, with all their threads; False if that takes too long."""
    give_up_at_s = time.perf_counter() + within_s
    while any(map(_may_hold_files, processes)):
        if time.perf_counter() > give_up_at_s:
            return False
        time.sleep(_POLL_EVERY_S)
    return True


def all_stopped(root_pid: int) -> bool:
    """Whether every descendant is suspended."""
    return all(_status(process) == psutil.STATUS_STOPPED for process in descendants(root_pid))


def _is_alive(process: psutil.Process) -> bool:
    return _status(process) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, None)


def _may_hold_files(process: psutil.Process) -> bool:
    """Whether the process may still hold its files: its first thread may end before the others."""
    if _is_alive(process):
        return True
    with suppress(psutil.Error):
        return process.is_running() and process.num_threads() > 1
    return False


def _status(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        if process.is_running():
            return str(process.status())
    return None


def _find_marked(mark: str) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                yield process


# ── Leftovers


@dataclass(frozen=True)
class Leftover:
    """A process whose lab has ended: its pid, its name in `ps`, and the LAB_RUN of its run."""

    pid: int
    name: str
    run: str
    _process: psutil.Process = field(repr=False, compare=False)


def find_leftovers() -> list[Leftover]:
    """Every process whose lab has ended, among those that this user may inspect."""
    found = []
    for process in psutil.process_iter():
        try:
            run = process.environ().get(LAB_RUN)
            if run and process.pid != os.getpid() and not _belongs_to_living_lab(process, run):
                found.append(Leftover(process.pid, process.name(), run, process))
        except (psutil.Error, OSError):
            continue  # It has just ended, or this user may not inspect it.
    return found


def kill_leftover(leftover: Leftover, timeout_s: float = 3.0) -> bool:
    """Kill the process, suspended or not; return whether it has ended.

    psutil checks that the pid still belongs to the same process.
    """
    deadline = time.perf_counter() + timeout_s
    try:
        leftover._process.kill()
        # A zombie has ended; its parent has to reap it, and may be slow.
        while leftover._process.status() != psutil.STATUS_ZOMBIE:
            if time.perf_counter() > deadline:
                return False
            time.sleep(0.005)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return True


def _belongs_to_living_lab(process: psutil.Process, run: str) -> bool:
    pid, _, rest = run.partition(":")
    if not pid.isdecimal():
        return True  # In doubt, the lab may be alive.
    actual_identity = process_identity(int(pid))
    if actual_identity is None:
        return False
    identity = rest.partition(":")[2]
    if identity in ("", actual_identity):  # In doubt as well: an earlier version wrote no identity.
        return True
    return int(pid) in (ancestor.pid for ancestor in process.parents())
