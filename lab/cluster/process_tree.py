"""Finds and ends the descendants of a process, and processes that an earlier run left behind.

A descendant may be orphaned, or in another session. On Linux a wrapper (`lab.external.wrapper`)
becomes the parent of its orphans, so the tree below it is complete. Elsewhere an orphan leaves the
tree and is found by the mark in its environment. A process is identified by pid and start time,
never by the pid alone.

No run should leave processes behind; `lab doctor` checks it. Every process of a run has
LAB_RUN=<pid of the lab>:<begin of the run> in the environment with which it was started. The lab of
a run is alive when a process has that pid and is not younger than the run: a younger process only
got the same number.
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

# ── Descendants

MARK = "LAB_KEPT_BY"
ENDED_WITHIN_S = 2.0
_LOOK_AGAIN_S = 0.002


def mark_of(keeper: int) -> str:
    """The value of MARK for all that a wrapper starts. It includes the run: pids are reused."""
    return f"{os.environ.get('LAB_RUN', '')}:{keeper}"


def family(keeper: int) -> list[psutil.Process]:
    """The living descendants of a process, without itself."""
    members: dict[psutil.Process, None] = {}
    with suppress(psutil.Error):
        members = dict.fromkeys(psutil.Process(keeper).children(recursive=True))
    if sys.platform != "linux":
        members |= dict.fromkeys(_marked(mark_of(keeper)))
    return [one for one in members if one.pid != keeper and _lives(one)]


def tell_family(keeper: int, number: int) -> list[psutil.Process]:
    """Send a signal to all descendants, also to those that start meanwhile; return them."""
    told: dict[psutil.Process, None] = {}
    while new := [one for one in family(keeper) if one not in told]:
        for one in new:
            with suppress(psutil.Error):
                one.send_signal(number)
        told |= dict.fromkeys(new)
    return list(told)


def end_family(keeper: int, also: Sequence[int] = ()) -> None:
    """Send SIGKILL to all descendants and to the process groups `also`; wait until the descendants
    have ended.

    Waits at most ENDED_WITHIN_S seconds: a process in an uninterruptible wait for a disk can't be
    ended.
    """
    members = tell_family(keeper, SIGSTOP)  # so that none starts another process meanwhile
    for group in also:
        with suppress(OSError):
            os.killpg(group, SIGKILL)
    for one in members:
        with suppress(psutil.Error):
            one.kill()
    until_ended(members)


def until_ended(members: Iterable[psutil.Process], within_s: float = ENDED_WITHIN_S) -> bool:
    """Wait until all have ended, with all their threads; False if that takes too long."""
    give_up_at_s = time.perf_counter() + within_s
    while any(map(_holds_on, members)):
        if time.perf_counter() > give_up_at_s:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


def stand_still(keeper: int) -> bool:
    """Whether every descendant is suspended."""
    return all(_status(one) == psutil.STATUS_STOPPED for one in family(keeper))


def _lives(one: psutil.Process) -> bool:
    return _status(one) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, None)


def _holds_on(one: psutil.Process) -> bool:
    """Whether the process may still hold its files: its first thread may end before the others."""
    if _lives(one):
        return True
    with suppress(psutil.Error):
        return one.is_running() and one.num_threads() > 1
    return False


def _status(one: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        if one.is_running():
            return str(one.status())
    return None


def _marked(mark: str) -> Iterable[psutil.Process]:
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if one.environ().get(MARK) == mark:
                yield one


# ── Leftovers

CLOCK_SLACK_S = 2.0


@dataclass(frozen=True)
class Leftover:
    """A process whose lab has ended: its pid, its name in `ps`, and the LAB_RUN of its run."""

    pid: int
    name: str
    run: str
    _process: psutil.Process = field(repr=False, compare=False)


def leftovers() -> list[Leftover]:
    """Every process whose lab has ended, among those that this user may inspect."""
    found = []
    for process in psutil.process_iter():
        try:
            run = process.environ().get(LAB_RUN)
            if run and process.pid != os.getpid() and not _lab_lives(run):
                found.append(Leftover(process.pid, process.name(), run, process))
        except (psutil.Error, OSError):
            continue  # It has just ended, or this user may not inspect it.
    return found


def end(leftover: Leftover, timeout_s: float = 3.0) -> bool:
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


def _lab_lives(run: str) -> bool:
    pid, _, began = run.partition(":")
    try:
        lab = psutil.Process(int(pid))
        is_the_lab = lab.create_time() <= float(began) + CLOCK_SLACK_S
        return is_the_lab and lab.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, ValueError):
        return True  # In doubt, the lab may be alive.
