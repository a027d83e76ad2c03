"""Processes that an earlier run left behind are recognised by their LAB_RUN variable."""

import os

import psutil

from lab.cluster.process_tree import CLOCK_SLACK_S, _lab_lives


def test_a_lab_lives_only_as_the_process_that_began() -> None:
    began_s = psutil.Process().create_time()
    assert _lab_lives(f"{os.getpid()}:{began_s}")
    long_before_s = began_s - CLOCK_SLACK_S - 60
    assert not _lab_lives(f"{os.getpid()}:{long_before_s}")  # the pid has been reused
