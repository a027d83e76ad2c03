"""Shared by all commands: print, fail, and run a coroutine. Heavy imports are in the functions."""

import shutil
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

T = TypeVar("T")
COULD_NOT_RUN = 3


@dataclass
class Verbosity:
    """What goes to stderr in addition to errors: -1 nothing, 0 notes and progress, 1 the steps."""

    level: int = 0


VERBOSITY = Verbosity()


def load_scenario(name: str) -> Any:
    """The scenario of that name or file; exits with code 2 if there is none or it is not valid."""
    from lab.scenarios.catalogue import UnknownName, find
    from lab.scenarios.lecture import is_lecture
    from lab.scenarios.scenario import ScenarioError
    from lab.support.text import shell_word

    try:
        if is_lecture(name):
            fail(f"{name} is a lecture. Show it: lab live --script {shell_word(name)}", 2)
        return find(name)
    except (UnknownName, ScenarioError) as error:
        fail(error, 2)


def read_lecture_file(name: str) -> Any:
    """The lecture in that file, None if it is something else; exits with code 2 if not valid."""
    from lab.scenarios.lecture import is_lecture, read_lecture
    from lab.scenarios.scenario import ScenarioError

    try:
        return read_lecture(Path(name)) if is_lecture(name) else None
    except ScenarioError as error:
        fail(error, 2)


def or_usage_error(function: Any, *arguments: Any) -> Any:
    """Call the function; a ValueError ends the command with its sentence and exit code 2."""
    try:
        return function(*arguments)
    except ValueError as error:
        fail(error, 2)


def make_run_folder(create: Any, *arguments: Any) -> Path:
    """The folder that `create(*arguments)` makes; an OSError ends the command with code 3."""
    try:
        folder: Path = create(*arguments)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else error
        fail(f"The folder of the run can't be created: {why}. Try --keep with another folder.", 3)
    return folder


ALL_ENDED = "All faults are removed and all processes have ended."


def run_until_done(coroutine: Coroutine[Any, Any, T], stopped: str = ALL_ENDED) -> T:
    """Run a coroutine; Ctrl-C, SIGTERM and SIGHUP cancel it, so that it ends its processes.

    `stopped`: what is then true.
    """
    import asyncio

    from lab.cluster.errors import FaultsRemain, LabCannotRun
    from lab.commands.surroundings import too_few_open_files

    if few := too_few_open_files():
        coroutine.close()
        fail(few, 3)
    received: list[int] = []

    async def run_with_handlers() -> T:
        task = asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        return await coroutine

    try:
        done = asyncio.run(run_with_handlers())
        if not received:
            return done
    except (asyncio.CancelledError, LabCannotRun) as error:
        if not received:
            raise
        if isinstance(error, FaultsRemain):
            stopped = str(error)
    fail(f"Stopped. {stopped}", 128 + received[0])


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP end the block as an exception, so that it can clean up."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        fail("Stopped. The runs on other machines are cancelled.", 128 + received[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)


@contextmanager
def progress_line(doing: str) -> Iterator[None]:
    """Show what is being done, on stderr, while the block runs; only on a terminal."""
    if VERBOSITY.level < 0 or not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(doing):
        yield


def print_json(data: Any) -> None:
    """Print one JSON document to stdout: always UTF-8, whatever the terminal is."""
    from json import dumps

    sys.stdout.buffer.write(f"{dumps(data, indent=2, ensure_ascii=False)}\n".encode())


def echo(text: object) -> None:
    """Print the lines to stdout, without control characters."""
    _write(text, sys.stdout)
    sys.stdout.flush()


def echo_error(problem: object) -> None:
    _write(problem, sys.stderr)


def note(text: object) -> None:
    """Print what is neither a result nor an error to stderr; nothing with -q."""
    if VERBOSITY.level >= 0:
        _write(text, sys.stderr)


def _write(text: object, stream: TextIO) -> None:
    """Print each line, broken between words where a terminal would break it within one."""
    import textwrap

    from lab.support.text import plain, to_ascii

    shows_all = (stream.encoding or "utf-8").lower().startswith("utf")
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    for line in str(text).splitlines() or [""]:
        indent = " " * (len(line) - len(line.lstrip(" ")))
        whole = f"{indent}{plain(line) if shows_all else to_ascii(plain(line))}"
        if width and len(whole) > width:
            hanging = f"{indent}    "
            whole = "\n".join(
                textwrap.wrap(
                    *(whole, width),
                    subsequent_indent=hanging,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
        stream.write(f"{whole}\n")


def echo_failure(problem: object) -> None:
    """Print why the lab could not run, and whether the disk is full, which is often the reason."""
    from lab.commands.surroundings import space_note

    echo_error(problem)
    if (lacking := space_note()) is not None:
        echo_error(lacking)


def fail(problem: object, code: int) -> NoReturn:
    """Print the problem to stderr and exit with this code."""
    (echo_failure if code == COULD_NOT_RUN else echo_error)(problem)
    raise SystemExit(code)
