"""A lab that the tests kill, observed from outside."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from lab.cluster.errors import PortTaken
from lab.cluster.ports import reserve

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0


def assert_ended(*processes: psutil.Process) -> None:
    """Wait until none of the processes runs.

    A zombie counts as ended: a process that outlives its parent is reaped by the system's init,
    which may take its time.
    """
    deadline = time.perf_counter() + WITHIN_S
    while left := [process for process in processes if _runs(process)]:
        assert time.perf_counter() < deadline, left
        time.sleep(0.002)


def _runs(process: psutil.Process) -> bool:
    try:
        # psutil detects a reused pid.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _can_be_had(port: int) -> bool:
    try:
        reserve(port).close()
    except PortTaken:
        return False
    return True


class ALab:
    """A lab in a new process, with one running service and one suspended."""

    def __init__(self, folder: Path, then: str) -> None:
        command = [sys.executable, "-m", "tests.programs.a_lab", str(folder), then]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1].decode()
        told: dict[str, Any] = json.loads(line)
        self.ports: list[int] = told["ports"]
        self.fork_server = psutil.Process(told["fork_server"])
        self.services = [psutil.Process(pid) for pid in told["pids"]]
        self.fork = psutil.Process(told["fork"]) if told["fork"] else None

    def wait(self) -> str:
        """Wait until the lab has ended; returns its stderr."""
        return self.process.communicate(timeout=WITHIN_S)[1].decode()

    def assert_nothing_is_left(self) -> None:
        """Assert that its processes have ended and its ports are free again."""
        assert_ended(self.fork_server, *self.services)
        deadline = time.perf_counter() + WITHIN_S
        for port in self.ports:
            while not _can_be_had(port):
                # Any program may use the port for a while once it is free.
                assert time.perf_counter() < deadline, f"port {port} is still taken"
                time.sleep(0.01)

    def clear_away(self) -> None:
        """Kill what a failed test has left, so that it cannot disturb the next one."""
        for process in (self.fork, *self.services, self.fork_server):
            if process is not None:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.kill()
        self.process.communicate()
