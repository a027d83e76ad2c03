"""What the shell completes, and that completion imports nothing heavy."""

import sys
from pathlib import Path

import pytest

from tests.support.command_line import invoke_lab
from tests.support.small import ROOT, run_lab, scenario_file


def complete(line: str, cwd: Path) -> list[str]:
    """What bash offers for the last word of this line."""
    words = line.split(" ")
    position = str(len(words) - 1)
    answered = invoke_lab(
        cwd=cwd, _LAB_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=position
    )
    return answered.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lab li", ["live", "list"]),
        ("lab run slow-s", ["slow-service"]),
        ("lab run calm --tag meas", ["measuring"]),
        ("lab show downed-b", ["downed-bus"]),
        ("lab fault lat", ["latency"]),
        ("lab fault latency com", ["comments"]),
        ("lab fault partition posts --from mod", ["moderation"]),
        ("lab up bo", ["both"]),
        ("lab diff sta", ["stack"]),
        ("lab trace fe", ["feed"]),
        ("lab trace --in req", ["request-reply"]),
        ("lab exercise start tim", ["timeout"]),
        ("lab run --jun", ["--junit"]),
        ("lab run nothing-like-it", []),
    ],
)
def test_words_are_completed(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert complete(line, tmp_path) == offered


def test_files_of_scenarios_are_completed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    scenario_file(tmp_path, "calmer")
    scenario_file(tmp_path / "mine", "own")
    assert complete("lab run calm", tmp_path) == ["calm", "calmer.toml"]
    assert complete("lab run mine/", tmp_path) == ["mine/own.toml"]
    assert complete("lab run ./", tmp_path) == ["./mine/", "./calmer.toml"]


def test_saved_runs_are_completed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20260101-101500-slow-bus"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    assert complete("lab report ", tmp_path) == ["last", "slow-bus", f"runs/{folder.name}"]
    assert complete("lab compare last sl", tmp_path) == ["slow-bus"]


def test_completing_a_scenario_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['lab']; from lab.commands import app\n"
        "try: app.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'rich.console', 'asyncio', 'aiohttp', 'lab.scenarios.scenario'}\n"
        "sys.stderr.write(' '.join(heavy & set(sys.modules)))"
    )
    env = {"_LAB_COMPLETE": "complete_bash", "COMP_WORDS": "lab run calm", "COMP_CWORD": "2"}
    ended = run_lab("-c", script, cwd=ROOT, program=(sys.executable,), **env)
    assert (ended.stdout.split(), ended.stderr) == (["calm"], "")


def test_the_shell_gets_a_script_to_install(tmp_path: Path) -> None:
    shown = invoke_lab(cwd=tmp_path, _LAB_COMPLETE="source_bash").stdout
    assert "complete -o" in shown
    assert "--install-completion" in invoke_lab("--help", cwd=tmp_path).stdout
