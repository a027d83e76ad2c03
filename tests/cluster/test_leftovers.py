"""Processes that an earlier run left behind are recognised by their LAB_RUN variable."""

import os

import psutil

from lab.cluster.process_tree import CLOCK_SLACK_S, _is_lab_alive


def test_a_lab_lives_only_as_the_process_that_began() -> None:
    began_s = psutil.Process().create_time()
    assert _is_lab_alive(f"{os.getpid()}:{began_s}")
    long_before_s = began_s - CLOCK_SLACK_S - 60
    assert not _is_lab_alive(f"{os.getpid()}:{long_before_s}")  # the pid has been reused
