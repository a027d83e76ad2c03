"""Messages break between words on a terminal, and not at all in a pipe; what `--set` passes on."""

import io
from pathlib import Path
from typing import Any

import pytest

from lab.commands import console
from tests.support.command_line import invoke_lab


class TtyBuffer(io.StringIO):
    def isatty(self) -> bool:
        return True


SENTENCE = "The load sent 60 of 236 requests more than 10 ms late, so it has measured itself."


def test_no_line_is_broken_within_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stderr", screen := TtyBuffer())
    path = "/a/very-long/path/" + "x" * 40
    console.echo_error(f"  {SENTENCE}\n{path} is written.")
    lines = screen.getvalue().splitlines()
    assert [line for line in lines if len(line) > 40] == [path]
    assert " ".join(screen.getvalue().split()) == f"{SENTENCE} {path} is written."
    assert lines[0].startswith("  The load")
    assert lines[1].startswith("      ")


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout", pipe := io.StringIO())
    console.echo(SENTENCE)
    assert pipe.getvalue() == f"{SENTENCE}\n"


def test_notes_are_silent_with_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", pipe := io.StringIO())
    monkeypatch.setattr(console.VERBOSITY, "level", -1)
    console.note("Saved.")
    console.echo_error("Wrong.")
    assert pipe.getvalue() == "Wrong.\n"


def test_what_is_being_done_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, level, shown in (
        (TtyBuffer(), 0, True),
        (TtyBuffer(), -1, False),
        (io.StringIO(), 0, False),
    ):
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr(console.VERBOSITY, "level", level)
        with console.progress_line("Starting the monolith ..."):
            pass
        assert ("Starting the monolith" in stream.getvalue()) is shown


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--set", "workers=3"], [{"workers": 3}, {"workers": 3}]),
        (["--set", "timeout_ms=90"], [{"timeout_ms": 90}, {}]),
        (["--set", "bus=course"], [{}, {"bus": "course"}]),
        (["--script", "slow-service", "--set", "retries=1"], [{"retries": 1}, {}]),
    ],
)
def test_live_gives_each_side_the_switches_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], wanted: list[dict[str, Any]]
) -> None:
    given: list[Any] = []

    async def run_nothing(options: Any, *_: Any) -> None:
        given.extend(dict(pane.options) for pane in options.panes)

    monkeypatch.setattr("lab.live.app.run_live", run_nothing)
    ended = invoke_lab("live", *words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert given == wanted
