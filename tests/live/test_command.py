"""`lab live` as a command: its output, a second one next to it, and how it ends."""

import signal
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from lab.cluster.ports import reserve
from lab.commands.live import app
from lab.live.recording import PAGE_NAME
from lab.live.sandbox.instances import find_running_labs
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
    with run_console_process(tmp_path) as first, run_console_process(tmp_path) as second:
        for console in (first, second):
            console.log_in(console.token)
        assert first.port != second.port
        assert first.cookie.partition("=")[0] != second.cookie.partition("=")[0]
        both = {"Cookie": f"{first.cookie}; {second.cookie}"}
        for console in (first, second):
            assert console.request("GET", "/api/blog?half=async-bus", None, both)[0] == 200
            assert len(console.tree) >= 11
            for process in console.tree:
                assert console.token not in " ".join(process.cmdline())
                assert console.token not in str(process.environ())
        assert (
            first.request("GET", "/api/blog?half=async-bus", None, {"Cookie": second.cookie})[0]
            == 403
        )
        labs = find_running_labs()
        assert len(labs) == 2
        assert second.end(signal.SIGKILL) == -signal.SIGKILL
        assert [lab.pid for lab in find_running_labs()] == [first.process.pid]
        assert first.end(signal.SIGINT) == 128 + signal.SIGINT
        assert find_running_labs() == []
        kept = [[path.name for path in run.iterdir()] for run in tmp_path.glob("runs/*")]
        assert [PAGE_NAME] in kept
        assert len(kept) == 2  # the other one was killed, and could not clean up
        assert_ended(*first.tree, *second.tree)
        assert_free(*(url for lab in labs for urls in lab.stacks.values() for url in urls.values()))
        assert_free(*(f"http://127.0.0.1:{console.port}" for console in (first, second)))


def test_a_taken_port_is_named_and_nothing_starts() -> None:
    with reserve() as taken:
        status, output = run_refused("--port", str(taken.port))
    assert status == 3
    assert f"Port {taken.port} is taken" in output


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
    status, output = run_refused(*words)
    assert status == 2
    assert says in output


@pytest.mark.parametrize("name", ["nothing.html", "other.html"])
def test_what_is_no_session_is_not_played(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.html").write_text("<html></html>")
    status, output = run_refused("--replay", name)
    assert status == 2
    assert name in output
