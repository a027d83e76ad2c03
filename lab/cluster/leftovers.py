"""Processes that an earlier run left behind. There should be none; `lab doctor` looks all the same.

Every process of a run carries LAB_RUN=<pid of the lab>:<begin of the run> in its environment, which
nothing the process does can remove from what the system shows. The lab of a run still lives when a
process with that pid does, and it is not younger than the run: a younger one was only given the
number again.
"""

import os
import time
from dataclasses import dataclass, field

import psutil

from lab.cluster.link import LAB_RUN

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
