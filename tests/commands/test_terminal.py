"""`lab run` in a terminal and in a pipe: no control codes in a pipe; a signal ends it cleanly."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import UNHURRIED, invoke_lab, unhurried_lab
from tests.support.laboratory import PATIENCE_S, eventually
from tests.support.small import (
    FALSE,
    SLOW_POSTS,
    environment,
    find_processes,
    join_lines,
    scenario_file,
)

HOSTILE = (
    "[/red][bold]\x1b]0;owned\x07\x1b[2J\x1b[31mT\u202eitle\u2066\x9b5m\u200b\n[link=http://x]"
)
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|9[0-7]|4[0-8])(?:;[0-9;]*)?m")


@pytest.mark.slow
def test_a_hostile_title_is_only_text_in_a_terminal(tmp_path: Path) -> None:
    name = scenario_file(
        tmp_path, "own", variants=("sync-chain",), title=HOSTILE, question=HOSTILE, expect=FALSE
    )
    words = ("run", name, "--keep", "x[/red]")
    ended = unhurried_lab(*words, cwd=tmp_path, FORCE_COLOR="1", NO_COLOR="1")
    assert ended.returncode == 1
    for text in (ended.stdout, ended.stderr, invoke_lab("show", name, cwd=tmp_path).stdout):
        assert not set("\x07\x9b\u202e\u2066\u200b") & set(text)
        assert not COLOUR.search(text)
        assert "\x1b]" not in text
        assert "\x1b[2J" not in text
        assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) <= 80
    assert "[/RED][BOLD]TITLE [LINK=HTTP://X]" in join_lines(ended.stdout)
    assert "0 of 1 expectations hold" in join_lines(ended.stdout)
    # FORCE_COLOR turns on colours, not a progress display in a pipe.
    assert re.fullmatch(r"Saved in x\[/red\]/\S+-own\n", ended.stderr)


def test_progress_goes_to_stderr_and_only_results_to_stdout(tmp_path: Path) -> None:
    name = scenario_file(tmp_path, "own", SLOW_POSTS, variants=("sync-chain",), title=HOSTILE)

    terminal, program_end = pty.openpty()
    with (
        os.fdopen(terminal, "rb", buffering=0) as screen,
        subprocess.Popen(
            [*UNHURRIED, "run", name],
            cwd=tmp_path,
            env=environment(NO_COLOR="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=program_end,
            encoding="utf-8",
        ) as process,
    ):
        os.close(program_end)
        seen = b"".join(_until_closed(screen)).decode()
        assert process.stdout is not None
        code, out = process.wait(), process.stdout.read()
    assert code == 0
    assert "[/red][bold]Title [link=http://x]" in seen
    assert "starting the processes" in seen
    assert "sync-chain" in seen
    assert "\x1b]0" not in seen
    assert "\u202e" not in seen
    assert not COLOUR.search(seen)
    assert "warming up" not in out
    assert "\x1b" not in out
    assert "expectations hold" in out


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_in_the_middle_ends_everything_in_order(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    name = scenario_file(
        tmp_path,
        "long",
        {"fault": "hang", "target": "comments"},
        {"fault": "down", "target": "query"},
        phases="before = 0.5, during = 600, after = 0.5",
    )
    pipe = subprocess.PIPE
    command = [*UNHURRIED, "run", name, name, "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, encoding="utf-8"
    ) as process:
        try:
            eventually(lambda: len(list(find_processes(process.pid))) >= 9, "nine processes")
            eventually(lambda: _is_broken(tmp_path), "the middle of the run")
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()  # only if it ignored the signal
    assert (process.returncode, out) == (code, "")
    assert err == "Stopped. All faults are removed and all processes have ended.\n"
    assert not list(find_processes(process.pid))
    (saved,) = (tmp_path / "runs").iterdir()
    assert not (saved / "data").exists()
    assert not (saved / "result.json").exists()


def _is_broken(folder: Path) -> bool:
    """Whether the load has reached the phase with the faults."""
    return any('"during"' in path.read_text() for path in folder.glob("runs/*/progress.ndjson"))


def _until_closed(screen: Any) -> Iterator[bytes]:
    with suppress(OSError):  # Linux raises EIO once the last program has closed the terminal
        while part := screen.read(65_536):
            yield part
