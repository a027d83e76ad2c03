"""The command line for tests: in this process if it only parses and prints, else in a new one.

A run whose load is late does not count as a result. What such a run prints, saves and returns is
tested here all the same, so `unhurried_lab` accepts it (`tests/programs/unhurried.py`).
"""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tests.support.small import ROOT, environment, run_lab

UNHURRIED = (sys.executable, str(ROOT / "tests" / "programs" / "unhurried.py"))


class CommandResult(NamedTuple):
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def invoke_lab(*arguments: str, cwd: Path, stdin: str = "", **env: str) -> CommandResult:
    """`lab words…` in this process, as the console script runs it with pipes and this `stdin`."""
    from typer import rich_utils

    from lab.commands import app

    variables = environment(**env)
    out, err = (_pipe(variables["PYTHONIOENCODING"], how) for how in ("strict", "backslashreplace"))
    before = signal.getsignal(signal.SIGINT)
    try:
        with (
            mock.patch.dict(os.environ, variables, clear=True),
            mock.patch.object(sys, "argv", ["lab", *arguments]),
            mock.patch.object(sys, "stdin", io.StringIO(stdin)),
            # Typer read these from the environment of the tests when it was imported.
            mock.patch.multiple(rich_utils, FORCE_TERMINAL=None, MAX_WIDTH=None),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = _exit_code(app.main)
    finally:
        signal.signal(signal.SIGINT, before)
    return CommandResult(code, _text(out), _text(err))


def unhurried_lab(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`lab words…` in a new process whose runs count as results even on a busy machine."""
    return run_lab(*arguments, cwd=cwd, program=UNHURRIED, **env)


def _pipe(encoding: str, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding, errors, write_through=True)


def _text(pipe: io.TextIOWrapper) -> str:
    raw: Any = pipe.buffer
    return str(raw.getvalue().decode(pipe.encoding))


def _exit_code(program: Any) -> int:
    try:
        program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
