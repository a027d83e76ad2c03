"""Processes that an earlier run left behind are recognised by their LAB_RUN variable."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from lab.cluster.forkserver_client import LAB_RUN, run_mark
from lab.cluster.process_tree import find_leftovers
from lab.support.process_identity import process_identity

OTHER_IDENTITY = "an-earlier-boot/1"


@contextmanager
def process_with(run: str) -> Iterator[int]:
    """A child of this process that has this value of LAB_RUN; its pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); import signal; signal.pause()"],
        env=os.environ | {LAB_RUN: run},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def is_leftover(run: str) -> bool:
    with process_with(run) as pid:
        return pid in [found.pid for found in find_leftovers()]


def test_a_process_of_a_running_lab_is_no_leftover() -> None:
    assert not is_leftover(run_mark())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a start time is stored for good")
@pytest.mark.parametrize("step_s", [-3_600, 10, 3_600])
def test_a_step_of_the_clock_makes_no_leftover(
    monkeypatch: pytest.MonkeyPatch, step_s: int
) -> None:
    run, boot_time_s = run_mark(), psutil.boot_time()
    with process_with(run) as pid:
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time_s + step_s)
        monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9 + step_s)
        assert pid not in [found.pid for found in find_leftovers()]


def test_a_process_whose_lab_s_pid_is_another_s_now_is_a_leftover() -> None:
    with process_with("") as other:
        assert is_leftover(f"{other}:{time.time():.2f}:{OTHER_IDENTITY}")
        assert not is_leftover(f"{other}:{time.time():.2f}:{process_identity(other)}")
        assert not is_leftover(f"{other}:{time.time():.2f}")  # of an earlier version: in doubt


def test_a_process_below_its_lab_is_no_leftover_whatever_its_identity() -> None:
    assert not is_leftover(f"{os.getpid()}:{time.time():.2f}:{OTHER_IDENTITY}")


def test_an_ended_process_has_no_identity() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # It has ended, as a zombie.
    assert process_identity(process.pid) is None
    process.wait()
    assert process_identity(process.pid) is None
