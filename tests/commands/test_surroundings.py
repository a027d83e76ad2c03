"""What surrounds a command: closed streams, a full disk, few open files, odd file names."""

import errno
import os
import resource
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cluster.errors import NoReusePort
from lab.cluster.ports import reserve
from lab.commands import surroundings
from lab.commands.console import fail
from lab.external.adopt.write import adopt
from lab.scenarios.template import create_scenario_file
from lab.support.files import write_new
from tests.support.command_line import invoke_lab
from tests.support.corpora import course, write_files

LAB = shlex.join([sys.executable, "-m", "lab"])


def run_in_shell(command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_crash(closing: str) -> None:
    done = run_in_shell(f"{LAB} version {closing}")
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_input_leaves_a_question_without_an_answer() -> None:
    done = run_in_shell(f"{LAB} run slow-service --quick --predict <&-")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "the input has ended" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["list", "version", "doctor --json", "validate --schema"])
def test_output_to_a_full_disk_is_said_in_a_sentence(command: str) -> None:
    done = run_in_shell(f"{LAB} {command} > /dev/full")
    assert done.returncode == 3
    assert done.stderr.startswith("The output could not be written to its end")
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_no_half_written_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))  # Python ignores SIGXFSZ
    write_files({name: text[:999] for name, text in course().items()}, tmp_path / "theirs")
    try:
        with pytest.raises(OSError, match="too large"):
            write_new(tmp_path / "a.txt", "x" * 2_000)
        with pytest.raises(OSError, match="too large"):
            create_scenario_file("mine", tmp_path)
        with pytest.raises(OSError, match="too large"):
            adopt(tmp_path / "theirs", tmp_path / "mine.toml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_a_full_disk_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(surroundings, "ENOUGH_BYTES", 10**18)
    assert "There is hardly any space left in" in (surroundings.space_note() or "")
    monkeypatch.setattr(surroundings, "_redirect_to_null", lambda number: None)
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x.json")
    said = surroundings.why_not_written(error) or ""
    assert said == "No space is left for runs/x.json."
    with pytest.raises(SystemExit):
        fail("posts exited with status 1.", 3)
    assert "status 1.\nThere is hardly any space left in" in capsys.readouterr().err
    assert surroundings.why_not_written(OSError(errno.EACCES, "no")) is None


def test_too_few_open_files_are_said_before_anything_starts() -> None:
    done = run_in_shell(f"ulimit -n 24; {LAB} run light-load --quick")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == (
        "This shell allows 24 open files for each process, and the lab needs at least 64. "
        "Open a new shell, and try there: ulimit -n 1024"
    )


def test_a_system_without_shared_ports_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldSocket(socket.socket):
        def setsockopt(self, *arguments: object) -> None:
            if arguments[1] == socket.SO_REUSEPORT:
                raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

    monkeypatch.setattr(socket, "socket", OldSocket)
    with pytest.raises(NoReusePort, match=r"WSL 1 and gVisor lack it"):
        reserve()


def test_printed_commands_can_be_pasted(tmp_path: Path) -> None:
    folder = "my $blog (1) isn't [odd]"
    write_files(course(), tmp_path / folder)
    adopted = invoke_lab("adopt", folder, cwd=tmp_path)
    assert adopted.returncode == 0, adopted.stderr
    command = adopted.stdout.splitlines()[-1].removeprefix("Next: ")
    assert shlex.split(command) == ["lab", "validate", f"{folder}.toml"]
    text = (tmp_path / f"{folder}.toml").read_text("utf-8")
    assert f"# Next: lab validate {shlex.quote(f'{folder}.toml')}" in text
    validated = invoke_lab(*shlex.split(command)[1:], cwd=tmp_path)
    assert validated.returncode == 0, validated.stderr
    following = validated.stdout.splitlines()[-1].removeprefix("Next: ")
    assert shlex.split(following) == ["lab", "check", f"{folder}.toml"]
