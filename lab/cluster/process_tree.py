"""All that a process has started, however far it has gone: forked, orphaned, in another session.

On Linux a keeper (`lab.external.wrapper`) is given the orphans of all that stands below it, so the
tree below it is whole. Elsewhere an orphan leaves the tree, and is known by the mark in its
environment. Who is signalled is known by pid and start time, never by the pid alone.

Processes that an earlier run left behind. There should be none; `lab doctor` looks all the same.

Every process of a run carries LAB_RUN=<pid of the lab>:<begin of the run> in its environment, which
nothing the process does can remove from what the system shows. The lab of a run still lives when a
process with that pid does, and it is not younger than the run: a younger one was only given the
number again.
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

# ── All that a process has started, however far it has gone: forked, orphaned, in another session.

MARK = "LAB_KEPT_BY"
ENDED_WITHIN_S = 2.0
_LOOK_AGAIN_S = 0.002


def mark_of(keeper: int) -> str:
    """What MARK is in the environment of all that a keeper starts. A pid alone is given again."""
    return f"{os.environ.get('LAB_RUN', '')}:{keeper}"


def family(keeper: int) -> list[psutil.Process]:
    """The living processes that this one has started, and those started by them. Not itself."""
    members: dict[psutil.Process, None] = {}
    with suppress(psutil.Error):
        members = dict.fromkeys(psutil.Process(keeper).children(recursive=True))
    if sys.platform != "linux":
        members |= dict.fromkeys(_marked(mark_of(keeper)))
    return [one for one in members if one.pid != keeper and _lives(one)]


def tell_family(keeper: int, number: int) -> list[psutil.Process]:
    """Send a signal to all of them, and to those who came while it was sent; who they were."""
    told: dict[psutil.Process, None] = {}
    while new := [one for one in family(keeper) if one not in told]:
        for one in new:
            with suppress(psutil.Error):
                one.send_signal(number)
        told |= dict.fromkeys(new)
    return list(told)


def end_family(keeper: int, also: Sequence[int] = ()) -> None:
    """SIGKILL for all of them, and for the process groups `also`. Returns when they have ended, or
    have not within ENDED_WITHIN_S: who waits for a disk can't be ended by anybody."""
    members = tell_family(keeper, SIGSTOP)  # so that nobody starts another one meanwhile
    for group in also:
        with suppress(OSError):
            os.killpg(group, SIGKILL)
    for one in members:
        with suppress(psutil.Error):
            one.kill()
    until_ended(members)


def until_ended(members: Iterable[psutil.Process], within_s: float = ENDED_WITHIN_S) -> bool:
    """Whether all have ended within that time, threads and all."""
    give_up_at_s = time.perf_counter() + within_s
    while any(map(_holds_on, members)):
        if time.perf_counter() > give_up_at_s:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


def stand_still(keeper: int) -> bool:
    """Whether every one of them is suspended."""
    return all(_status(one) == psutil.STATUS_STOPPED for one in family(keeper))


def _lives(one: psutil.Process) -> bool:
    return _status(one) not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, None)


def _holds_on(one: psutil.Process) -> bool:
    """Whether it still has what it had open: its first thread may be a zombie before the others."""
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


# ── Processes that an earlier run left behind. There should be none; `lab doctor` looks all the
# same.

CLOCK_SLACK_S = 2.0


@dataclass(frozen=True)
class Leftover:
    """A process without its lab: its pid, its name as `ps` shows it, the run it belonged to."""

    pid: int
    name: str
    run: str
    _process: psutil.Process = field(repr=False, compare=False)


def leftovers() -> list[Leftover]:
    """Every process (of those this user may look at) whose lab no longer lives."""
    found = []
    for process in psutil.process_iter():
        try:
            run = process.environ().get(LAB_RUN)
            if run and process.pid != os.getpid() and not _lab_lives(run):
                found.append(Leftover(process.pid, process.name(), run, process))
        except (psutil.Error, OSError):
            continue  # It has just ended, or is none of our business.
    return found


def end(leftover: Leftover, timeout_s: float = 3.0) -> bool:
    """Kill it, suspended or not; whether it is gone. psutil checks that the pid is still the same
    process's."""
    deadline = time.perf_counter() + timeout_s
    try:
        leftover._process.kill()
        # A zombie has ended; to reap it is its parent's part, and its parent may be slow.
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
        return True  # In doubt, it is somebody's.
