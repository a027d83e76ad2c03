"""`lab live` as a command: its output, a second one next to it, and how it ends."""

import signal
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from lab.cluster.ports import reserve
from lab.commands.live import app
from lab.sandbox.instances import find_running_labs
from tests.programs.labs import assert_ended
from tests.programs.ups import assert_free
from tests.support.live_world import run_console_process


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the runs and instance files of these tests apart from those of other labs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def run_refused(*words: str) -> tuple[int, str]:
    before = psutil.Process().children()
    done = CliRunner().invoke(app, ["--no-open", *words])
    assert psutil.Process().children() == before
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def test_two_consoles_run_side_by_side_and_leave_nothing(tmp_path: Path) -> None:
    with run_console_process(tmp_path) as one, run_console_process(tmp_path) as other:
        for asked in (one, other):
            asked.log_in(asked.token)
        assert one.port != other.port
        assert one.cookie.partition("=")[0] != other.cookie.partition("=")[0]
        both = {"Cookie": f"{one.cookie}; {other.cookie}"}
        for asked in (one, other):
            assert asked.request("GET", "/api/blog?half=async-bus", None, both)[0] == 200
            assert len(asked.tree) >= 11
            for process in asked.tree:
                assert asked.token not in " ".join(process.cmdline())
                assert asked.token not in str(process.environ())
        assert (
            one.request("GET", "/api/blog?half=async-bus", None, {"Cookie": other.cookie})[0] == 403
        )
        labs = find_running_labs()
        assert len(labs) == 2
        assert other.end(signal.SIGKILL) == -signal.SIGKILL
        assert [lab.pid for lab in find_running_labs()] == [one.process.pid]
        killed = set(tmp_path.glob("runs/*"))
        assert one.end(signal.SIGINT) == 128 + signal.SIGINT
        assert find_running_labs() == []
        assert len(killed - set(tmp_path.glob("runs/*"))) == 1  # a killed one cannot clean up
        assert_ended(*one.tree, *other.tree)
        assert_free(*(url for lab in labs for urls in lab.stacks.values() for url in urls.values()))
        assert_free(*(f"http://127.0.0.1:{asked.port}" for asked in (one, other)))


def test_a_taken_port_is_named_and_nothing_starts() -> None:
    with reserve() as taken:
        status, said = run_refused("--port", str(taken.port))
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
    status, said = run_refused(*words)
    assert status == 2
    assert says in said
