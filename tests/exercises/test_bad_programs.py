"""Student programs that are no services: they crash, hang, flood their output, answer nonsense.

In every case the verdict is one clear message with the last lines of the program's log, the lab is
not at fault, and no process is left running.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from lab.cluster.errors import LabCannotRun
from lab.exercises import catalogue, grader
from lab.exercises.exercise import LIMIT_S, Exercise, Grade, Submission
from lab.exercises.testbed import ExerciseTestbed
from tests.programs.unhurried import HANGS_AFTER_S, PATIENCE_S
from tests.support.bad_programs import COMMON_MISTAKES, HEAD, FaultyProgram, answering
from tests.support.handed_in import (
    FileTexts,
    give_up_after_first_output,
    grade_all,
    grade_one,
    selected_params,
    solution,
    start_exercise,
)

SHUTDOWN_S = 2
SPAWNING_PROGRAM = """
import subprocess, sys
def main(argv):
    sleep = [sys.executable, '-c', 'import time; time.sleep(600)']
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True)
"""
NO_SERVICE_PROGRAMS = {
    "does not compile": FaultyProgram("def main(argv:", "exited with status 1", "SyntaxError"),
    "has no main": FaultyProgram("print('hello')", "exited with status 1", "no function main"),
    "ends at once": FaultyProgram(
        "def main(argv): pass", "exited with status 0 before it was ready"
    ),
    "is killed": FaultyProgram(
        "import os\ndef main(argv): os.kill(os.getpid(), 9)", "was ended by signal 9"
    ),
    "starts others": FaultyProgram(SPAWNING_PROGRAM, "before it was ready"),
    "is not HTTP": answering(r"taken.sendall(b'\x00\xff' * 10000)"),
    "is not JSON": answering(rf"taken.sendall(b'{HEAD}Content-Length: 4\r\n\r\nyes!')"),
    "breaks off": answering("pass"),
    "has no end": answering(
        rf"taken.sendall(b'{HEAD}\r\n')"
        "\n                while True: taken.sendall(b'[' * 65536)"
    ),
}
HANDLER = "    posts = know_posts(limit, before)\n"
FAILS_WHEN_CALLED = {
    ("timeout", "ends in the middle"): (
        *("query.py", HANDLER, "    import os; os._exit(7)\n"),
        "Your query.py exited with status 7 while it was checked.",
    ),
    ("timeout", "stands still"): (
        *("query.py", HANDLER, "    import os; os.kill(os.getpid(), 19)\n"),
        "",
    ),
    ("likes", "can be started only once"): (
        *("async_bus/likes.py", "TABLE IF NOT EXISTS likes", "TABLE likes"),
        "Your async_bus/likes.py exited with status 1 before it was ready.",
    ),
}
"""A right program with one changed line, and the expected message about it."""

Case = tuple[str, str]
GradesByCase = Mapping[Case, Grade | BaseException]
CASES = {
    **{(name, case): bad for name in catalogue.EXERCISES for case, bad in COMMON_MISTAKES.items()},
    **{("timeout", case): bad for case, bad in NO_SERVICE_PROGRAMS.items()},
}
FAST_CASES = {("timeout", "crashes"), ("timeout", "ends in the middle")}


def some_slow(cases: Mapping[Case, object]) -> pytest.MarkDecorator:
    chosen = [
        pytest.param(one, marks=[] if one in FAST_CASES else pytest.mark.slow, id=", ".join(one))
        for one in cases
    ]
    return pytest.mark.parametrize("case", chosen)


def submission_of(case: Case) -> tuple[str, FileTexts]:
    if case in CASES:  # replaces the exercise's last file
        return case[0], {catalogue.find(case[0]).files[-1]: CASES[case].program}
    file, line, instead, _ = FAILS_WHEN_CALLED[case]
    files = solution(case[0])
    assert line in files[file]
    return case[0], {**files, file: files[file].replace(line, instead)}


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GradesByCase:
    these = {case: submission_of(case) for case in selected_params(request, "case")}
    with pytest.MonkeyPatch.context() as patch:
        give_up_after_first_output(patch)
        return grade_all(these, tmp_path_factory.mktemp("bad"), patience=3)


@pytest.mark.timeout(1800)
@some_slow(CASES)
def test_a_program_that_is_no_service_is_one_clear_message(seen: GradesByCase, case: Case) -> None:
    found, bad = seen[case], CASES[case]
    assert isinstance(found, Grade), found
    assert not found.passed
    assert found.score == 0
    assert bad.message in found.trouble
    if bad.message:
        assert found.trouble.startswith(f"Your {catalogue.find(found.exercise).files[-1]} ")
    elif found.exercise == "timeout":
        # On a busy machine an endless answer may use up the whole time; then a sentence says so.
        tested = [step.tested for step in found.results]
        assert tested == [True] + [False] * 5 or (found.trouble and not any(tested)), found
    assert bad.log_tail in " ".join(found.log)
    assert all(len(line) <= grader.MAX_LINE for line in found.log)


@pytest.mark.timeout(1800)
@some_slow(FAILS_WHEN_CALLED)
def test_a_program_that_breaks_later_is_one_message(seen: GradesByCase, case: Case) -> None:
    found = seen[case]
    assert isinstance(found, Grade)
    assert not found.passed
    assert found.trouble == FAILS_WHEN_CALLED[case][-1]


def test_the_student_s_program_has_no_key_to_another_door(tmp_path: Path) -> None:
    """Otherwise it could remove the fault from `comments`, and so appear to be patient."""
    peek = (
        "import os, time, urllib.request, urllib.error\n"
        "def main(argv):\n"
        "    comments = next(word for word in argv if word.startswith('comments='))\n"
        "    url = comments.partition('=')[2]\n"
        "    request = urllib.request.Request(url + '/_lab/faults',\n"
        "        headers={'Lab-Token': os.environ['LAB_TOKEN']})\n"
        "    while True:\n"
        "        try:\n"
        "            urllib.request.urlopen(request)\n"
        "            return print('open')\n"
        "        except urllib.error.HTTPError as error:\n"
        "            return print('closed', error.code)\n"
        "        except OSError:\n"
        "            time.sleep(0.05)  # comments is not there yet\n"
    )
    assert grade_one("timeout", tmp_path, {"query.py": peek}).log == ("closed 403",)


def run_check_with(look: Callable[[ExerciseTestbed], Awaitable[None]], folder: Path) -> None:
    """A begun exercise whose check does only this."""
    start_exercise("timeout", folder)
    exercise = Exercise("x", "X", (Submission("sync-chain", "query", "query.py"),), (), look)
    asyncio.run(grader.check(exercise, folder, HANGS_AFTER_S, PATIENCE_S))


def test_where_the_lab_is_at_fault_there_is_no_verdict(tmp_path: Path) -> None:
    """The student's program is healthy, and another one of the stack is killed."""

    async def kill_another(bench: ExerciseTestbed) -> None:
        name = bench.stack.program_name("comments")
        os.kill(bench.stack.supervisor.pid(name), signal.SIGKILL)
        await bench.stack.supervisor.wait(name)

    with pytest.raises(LabCannotRun, match="comments was ended by signal 9"):
        run_check_with(kill_another, tmp_path)


def test_a_check_that_takes_too_long_is_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is up as soon as the check looks: before that a busy machine may need all of it."""
    limits, timeout = [], asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        made = timeout(seconds)
        if seconds == HANGS_AFTER_S:
            limits.append(made)
        return made

    async def for_ever(bench: ExerciseTestbed) -> None:
        (limit,) = limits
        limit.reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    monkeypatch.setattr(grader.asyncio, "timeout", noted)
    with pytest.raises(LabCannotRun, match="this machine may be too busy"):
        run_check_with(for_ever, tmp_path)
    assert LIMIT_S + SHUTDOWN_S <= 30  # as in docs/guarantees.md
