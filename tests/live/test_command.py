"""`lab live` as it is typed: what it says, that a second one just works, and how it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from lab.byhand.notes import running_labs
from lab.cluster.ports import reserve
from tests.programs.labs import ROOT, assert_ended
from tests.support.live_world import PATIENCE_S, Asker

COMMAND = [sys.executable, "-c", "from lab.live.commands import app; app()", "--no-open"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and notes of the tests are nobody's but theirs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


class Typed(Asker):
    """The command in a process of its own, up until it is ended."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.said = ""
        while "Both halves are up" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            self.said += line
        found = re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", self.said)
        assert found
        super().__init__(int(found[1]))
        self.enter(found[2])
        self.tree = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@contextmanager
def typed(*words: str) -> Iterator[Typed]:
    one = Typed(*words)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.end()


def refused(*words: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stderr


def test_a_second_one_just_works_and_neither_opens_the_others_door() -> None:
    with typed() as one, typed() as other:
        assert one.port != other.port
        assert one.cookie.partition("=")[0] != other.cookie.partition("=")[0]
        assert len(running_labs()) == 2
        both = {"Cookie": f"{one.cookie}; {other.cookie}"}
        for asked in (one, other):
            assert asked.ask("GET", "/api/blog?half=async-bus", None, both)[0] == 200
        assert one.ask("GET", "/api/blog?half=async-bus", None, {"Cookie": other.cookie})[0] == 403


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_it_however_it_ends(tmp_path: Path, number: int) -> None:
    with typed() as live:
        assert len(live.tree) >= 11
        (lab,) = running_labs()
        status = live.end(number)
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    assert_ended(*live.tree)
    assert running_labs() == []
    reserve(live.port).close()
    for urls in lab.stacks.values():
        for url in urls.values():
            reserve(int(url.rpartition(":")[2])).close()
    if number != signal.SIGKILL:
        assert not list(tmp_path.glob("runs/*"))


def test_a_port_that_is_taken_is_told_in_a_sentence_and_nothing_is_started() -> None:
    with reserve() as taken:
        status, said = refused("--port", str(taken.port))
    assert status == 3
    assert f"Port {taken.port} is taken" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["microlith"], "There is no arrangement 'microlith'"),
        (["--bus", "kafka"], "There is no bus 'kafka'"),
        (["request-reply", "async-bus", "--bus", "course"], "need the log"),
        (["--script", "nothing"], "nothing"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(words: list[str], says: str) -> None:
    status, said = refused(*words)
    assert status == 2
    assert says in said
    assert "Traceback" not in said


def test_the_token_is_in_no_command_line_and_in_no_environment() -> None:
    with typed() as live:
        token = live.said.partition("#token=")[2].split()[0]
        for process in live.tree:
            assert token not in " ".join(process.cmdline())
            assert token not in str(process.environ())
        assert os.environ.get("LAB_TOKEN") is None
