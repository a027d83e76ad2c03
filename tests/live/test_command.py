"""`lab live` as it is typed: what it says, that a second one just works, and how it ends."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from lab.byhand.notes import running_labs
from lab.cluster.ports import reserve
from lab.live.commands import app
from tests.programs.labs import ROOT, assert_ended
from tests.programs.patient import PATIENCE_S
from tests.programs.ups import assert_free
from tests.support.live_world import Asker


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the runs and notes of these tests apart from those of other labs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


class Typed(Asker):
    """The command in a process of its own, up until it is ended."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "tests.programs.patient", "--no-open", *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        self.said = ""
        while "Both halves are up" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            self.said += line
        found = re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", self.said)
        assert found
        super().__init__(int(found[1]))
        self.token = found[2]
        self.enter(self.token)
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
    before = psutil.Process().children()
    done = CliRunner().invoke(app, ["--no-open", *words])
    assert psutil.Process().children() == before
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_two_consoles_run_side_by_side_and_leave_nothing(tmp_path: Path) -> None:
    with typed() as one, typed() as other:
        assert one.port != other.port
        assert one.cookie.partition("=")[0] != other.cookie.partition("=")[0]
        both = {"Cookie": f"{one.cookie}; {other.cookie}"}
        for asked in (one, other):
            assert asked.ask("GET", "/api/blog?half=async-bus", None, both)[0] == 200
            assert len(asked.tree) >= 11
            for process in asked.tree:
                assert asked.token not in " ".join(process.cmdline())
                assert asked.token not in str(process.environ())
        assert one.ask("GET", "/api/blog?half=async-bus", None, {"Cookie": other.cookie})[0] == 403
        labs = running_labs()
        assert len(labs) == 2
        assert other.end(signal.SIGKILL) == -signal.SIGKILL
        assert [lab.pid for lab in running_labs()] == [one.process.pid]
        killed = set(tmp_path.glob("runs/*"))
        assert one.end(signal.SIGINT) == 128 + signal.SIGINT
        assert running_labs() == []
        assert len(killed - set(tmp_path.glob("runs/*"))) == 1  # a killed one can't tidy up
        assert_ended(*one.tree, *other.tree)
        assert_free(*(url for lab in labs for urls in lab.stacks.values() for url in urls.values()))
        assert_free(*(f"http://127.0.0.1:{asked.port}" for asked in (one, other)))


def test_a_taken_port_is_named_and_nothing_starts() -> None:
    with reserve() as taken:
        status, said = refused("--port", str(taken.port))
    assert status == 3
    assert f"Port {taken.port} is taken" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["microlith"], "There is no arrangement 'microlith'"),
        (["--bus", "kafka"], "There is no bus 'kafka'"),
        (["request-reply", "async-bus", "--bus", "course"], "need the log"),
        (["--script", "nothing"], "nothing"),
    ],
)
def test_a_senseless_command_line_is_answered_in_a_sentence(words: list[str], says: str) -> None:
    status, said = refused(*words)
    assert status == 2
    assert says in said
