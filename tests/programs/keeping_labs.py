"""Ends labs that run a stray-making service, in every way, and checks what they leave."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from lab.cluster.ports import reserve
from tests.programs.labs import ROOT, WITHIN_S, assert_ended


class AKeepingLab:
    """A lab in a new process, with the fork server, the wrapper, and the strays of its service."""

    def __init__(self, folder: Path, *how: str) -> None:
        with reserve() as free:
            port = free.port
        words = ["-m", "tests.programs.a_keeping_lab", str(folder), str(port), *how]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=pipe, stderr=pipe
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        told = json.loads(line)
        self.fork_server = psutil.Process(told["fork_server"])
        self.keeper = psutil.Process(told["keeper"])
        started = (folder / "family.txt").read_text().split()
        self.strays = [psutil.Process(int(pid)) for pid in started]

    def end(self, how: str) -> None:
        WAYS_TO_END[how](self)
        if "of the lab" not in how and "of the" in how:  # the lab lives and waits
            assert_ended(self.keeper, *self.strays)
            self.process.terminate()
        self.process.communicate(timeout=WITHIN_S)
        assert_ended(self.fork_server, self.keeper, *self.strays)

    def clear_away(self) -> None:
        """Kill what a failed test has left, so that it cannot disturb the next one."""
        for one in (self.fork_server, self.keeper, *self.strays):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.kill()
        self.process.communicate()


def _both(lab: AKeepingLab) -> None:
    lab.process.kill()
    lab.fork_server.kill()


def _suspended_keeper(lab: AKeepingLab) -> None:
    lab.keeper.suspend()
    lab.fork_server.kill()


WAYS_TO_END: dict[str, Callable[[AKeepingLab], None]] = {
    "sigterm": lambda lab: lab.process.send_signal(signal.SIGTERM),
    "ctrl-c": lambda lab: lab.process.send_signal(signal.SIGINT),
    "sigkill of the lab": lambda lab: lab.process.kill(),
    "sigkill of the fork server": lambda lab: lab.fork_server.kill(),
    "sigkill of the keeper": lambda lab: lab.keeper.kill(),
    "sigkill of the lab and of the fork server": _both,
    "sigkill of the fork server, the keeper suspended": _suspended_keeper,
}
STRAYS = (("forks", "daemonises", "ignores_sigterm"), ("daemonises", "suspended"))


def until_ended(pids: Iterable[int]) -> None:
    """Wait until all the recorded strays have ended. The system may have reused a pid for another
    process since."""
    living = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            one = psutil.Process(pid)
            if "python" in one.name():
                living.append(one)
    assert_ended(*living)


def try_out(folder: Path, number: int) -> None:
    """One try, chosen by its number: start a lab, end it, and assert that no process is left."""
    chance = random.Random(number)
    way = list(WAYS_TO_END)[number % len(WAYS_TO_END)]
    lab = AKeepingLab(folder, *chance.choice(STRAYS))
    try:
        lab.end(way)
    finally:
        lab.clear_away()
