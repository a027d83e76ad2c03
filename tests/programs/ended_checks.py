"""Ends checks of an external system in every possible way, and looks for leftover processes.

Each service of the system leaves a process in a new session; only the lab can find those. All
processes that a check starts have its LAB_RUN variable, by which they are found here.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import psutil

from lab.cluster.forkserver_client import LAB_RUN
from tests.programs.labs import ROOT, assert_ended
from tests.support.foreign_blog import PROGRAM, SERVICES

WITHIN_S = 180.0
STRAYS = '(setsid sleep 600 &); exec "$0" "$@"'
SLEEPERS = len(SERVICES) + 1


def write_target(folder: Path) -> Path:
    """A target file of a tiny blog whose services leave stray processes."""
    everybody = " ".join(f"{{url:{one}}}/events" for one in SERVICES)
    lines = []
    for role in (*SERVICES, "event-bus"):
        command = ["sh", "-c", STRAYS, sys.executable, str(PROGRAM), role, "{port}"]
        env = {"BUS": "{url:event-bus}/events", "DATA": "{data}", "EVERYBODY": everybody}
        inner = ", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())
        lines += [f"[services.{role}]", f"command = {json.dumps(command)}", "port = 0"]
        lines += [f"env = {{ {inner} }}", ""]
    file = folder / "strays.toml"
    file.write_text("\n".join(lines))
    return file


@dataclass
class ACheck:
    """`lab check` in a new process; `said` are its progress lines."""

    file: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [sys.executable, str(ROOT / "cli.py"), "check", str(self.file), "--json"]
        # A killed check cannot remove its folder: it goes with the test's own.
        env = os.environ | {"TMPDIR": str(self.file.parent)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env
        )
        self._reading = Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def started(self) -> list[psutil.Process]:
        """All living processes that the check has started."""
        mark, found = f"{self.process.pid}:", []
        for one in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if one.environ().get(LAB_RUN, "").startswith(mark):
                    found.append(one)
        return found

    def until(self, so: Callable[[], object], says: str) -> None:
        give_up_at_s = time.perf_counter() + WITHIN_S
        while not so():
            assert time.perf_counter() < give_up_at_s, f"{says}: {self.said}"
            assert self.process.poll() is None, f"{says}, and it has ended: {self.said}"
            time.sleep(0.005)

    def until_broken(self, outage: int) -> None:
        """Wait until the system and its strays run for that outage (0: for the contract)."""
        self.until(lambda: len(self.said) > outage, f"outage {outage} did not begin")
        self.until(lambda: self.strays() >= SLEEPERS, "the system did not stand")

    def strays(self) -> int:
        return sum(_name(one) == "sleep" for one in self.started())

    def end(self, way: str) -> None:
        """End the check, and assert that no process is left."""
        before = self.started()
        WAYS[way](self)
        self.process.wait(WITHIN_S)
        self._reading.join()
        assert_ended(*before, *self.started())

    def one_of(self, name: str) -> psutil.Process:
        return next(one for one in self.started() if _name(one) == name)

    def clear_away(self) -> None:
        """Kill what a failed test has left, so that it cannot disturb the next one."""
        for one in self.started():
            with suppress(psutil.Error):
                one.kill()
        self.process.kill()
        self.process.wait()
        self._reading.join()


def _name(one: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(one.name())
    return ""


def _fork_server(check: ACheck) -> None:
    check.one_of("lab-fork-server").kill()


def _a_sidecar(check: ACheck) -> None:
    check.one_of("lab-sidecar").kill()


def _a_service(check: ACheck) -> None:
    check.one_of("sleep").parent().kill()  # type: ignore[union-attr]  # its wrapper


def _everybody_of_the_labs(check: ACheck) -> None:
    check.process.kill()
    _fork_server(check)


WAYS: dict[str, Callable[[ACheck], None]] = {
    "ctrl-c": lambda check: check.process.send_signal(signal.SIGINT),
    "sigterm": lambda check: check.process.send_signal(signal.SIGTERM),
    "sigkill": lambda check: check.process.kill(),
    "sigkill of the fork server": _fork_server,
    "sigkill of the fork server, too": _everybody_of_the_labs,
    "sigkill of a sidecar": _a_sidecar,
    "sigkill of a keeper": _a_service,
    "by itself": lambda check: None,
}


def try_out(folder: Path, number: int) -> None:
    """One try; its number chooses the way and the moment."""
    chance = random.Random(number)
    check = ACheck(write_target(folder))
    try:
        check.until_broken(chance.randrange(6))
        time.sleep(chance.uniform(0, 1.5))  # during the calm, the outage, or the recovery
        check.end(list(WAYS)[number % len(WAYS)])
    finally:
        check.clear_away()
