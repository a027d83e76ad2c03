"""Grades many folders, one after the other: checks are about time, so they share no machine.

Each folder is checked on a copy, by a lab in a separate process. Whatever a student's program
does, it costs that folder's time only, and no folder is changed.
"""

import asyncio
import csv
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from lab.cluster.user_service import kill_all_of
from lab.exercises import catalogue, formats
from lab.exercises.exercise import LIMIT_S, Grade
from lab.support.junit import JUnitCase, JUnitSuite, render_suites
from lab.support.text import plain

SCHEMA = "lab.grades/1"
FOLDER_LIMIT_S = LIMIT_S + 15
"""The time limit of a folder: a check ends itself before, unless its own process is stopped."""
RETRIES = 1
"""How often a check is repeated where the lab was at fault, as on a machine that was too busy."""
LAB_AT_FAULT = 3
_ENDS_WITHIN_S = 5.0
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "venv")
_COLUMNS = (
    *("folder", "exercise", "passed", "score", "max_score", "seconds", "not_yet", "trouble"),
)


@dataclass(frozen=True)
class FolderGrade:
    """The outcome for one folder. `problem`: why there is no grade, "" if there is one."""

    folder: str
    exercise: str
    seconds: float
    grade: Grade | None = None
    problem: str = ""

    @property
    def passed(self) -> bool:
        return self.grade is not None and self.grade.passed


async def grade_folders(
    folders: Iterable[Path], name: str = "", on_done: Callable[[FolderGrade], None] = lambda _: None
) -> list[FolderGrade]:
    """The grades of all folders, in their order; `on_done` gets each as soon as it is there.

    With a `name`, all are graded as this exercise, whatever they say themselves.
    """
    grades = []
    for folder in folders:
        grades.append(await _grade_folder(folder, name))
        on_done(grades[-1])
    return grades


async def _grade_folder(folder: Path, name: str) -> FolderGrade:
    began_s = perf_counter()

    def without_grade(problem: object) -> FolderGrade:
        return FolderGrade(str(folder), name, perf_counter() - began_s, problem=str(problem))

    with TemporaryDirectory(prefix="lab-grading-", ignore_cleanup_errors=True) as work_folder:
        copy = Path(work_folder, "handed-in")
        try:
            name = catalogue.exercise_in(folder, name).name
            # Links stay links, so that one to a large folder is not followed.
            shutil.copytree(folder, copy, symlinks=True, ignore=_NOT_COPIED)
        except catalogue.ExerciseNotFound as error:
            return without_grade(error)
        except OSError as error:  # also shutil.Error, which lists all files
            return without_grade(f"{folder} can't be copied: {plain(str(error), 200)}")
        temporary = Path(work_folder, "tmp")
        temporary.mkdir()
        for _ in range(1 + RETRIES):
            status, output, errors = await _run_check(copy, name, temporary)
            if status != LAB_AT_FAULT:
                break
    if status is None:
        return without_grade(f"The check did not end within {FOLDER_LIMIT_S:g} s and was killed.")
    try:
        grade = formats.from_json(json.loads(output), catalogue.find(name))
    except (ValueError, KeyError, TypeError):
        last = plain(errors.strip().rpartition("\n")[2], 300)
        return without_grade(last or f"The check ended with exit code {status}, without a verdict.")
    return FolderGrade(str(folder), name, perf_counter() - began_s, grade)


async def _run_check(folder: Path, name: str, temporary: Path) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a lab that checks this folder; no exit code if it hung."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    # Files, and no pipes: whoever holds a pipe open delays the end of its reader.
    output, errors = temporary / "stdout", temporary / "stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(*CHECK_COMMAND, str(folder), "--exercise", name, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary)},
            start_new_session=True,  # A Ctrl-C in the terminal reaches only this lab.
        )
    try:
        status = await asyncio.wait_for(process.wait(), FOLDER_LIMIT_S)
    except TimeoutError:
        status = None
    finally:
        if process.returncode is None:
            await _end(process)
        kill_all_of(process.pid)
    return status, output.read_text("utf-8", "replace"), errors.read_text("utf-8", "replace")


CHECK_COMMAND = (sys.executable, "-P", "-m", "lab", "exercise", "check")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a check that is still running; at first it may end its own processes."""
    process.send_signal(signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _ENDS_WITHIN_S)
    if process.returncode is None:
        process.kill()
        await process.wait()


# ── Formats


def to_json(grades: Sequence[FolderGrade]) -> dict[str, Any]:
    """One document: the verdict of each folder as `check --json` prints it, and its folder."""
    return {
        "schema": SCHEMA,
        "grades": [
            {
                "folder": one.folder,
                "exercise": one.exercise,
                "problem": one.problem,
                "seconds": round(one.seconds, 2),
                "grade": formats.to_json(one.grade) if one.grade else None,
            }
            for one in grades
        ],
    }


def to_csv(grades: Sequence[FolderGrade]) -> str:
    """A line for each folder; score and passed are empty where there is no grade."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for one in grades:
        grade = one.grade
        figures = (grade.passed, grade.score, grade.max_score) if grade else ("", "", "")
        not_yet = "; ".join(_not_yet(grade)) if grade else ""
        trouble = grade.trouble if grade else one.problem
        lines.writerow((one.folder, one.exercise, *figures, f"{one.seconds:.1f}", not_yet, trouble))
    return text.getvalue()


def to_junit(grades: Sequence[FolderGrade]) -> str:
    """JUnit XML: a suite for each folder, a test case for each criterion."""
    return render_suites(
        *(
            formats.junit_suite(one.grade, one.folder)
            if one.grade
            else JUnitSuite(
                one.folder,
                one.exercise or "exercise",
                [],
                one.seconds,
                [JUnitCase("the folder", one.problem)],
            )
            for one in grades
        )
    )


def to_line(one: FolderGrade) -> str:
    """One line for people."""
    if one.grade is None:
        return f"no grade  {one.folder}: {one.problem}"
    label = "ok      " if one.passed else "not yet "
    score = f"{one.grade.score} of {one.grade.max_score} points"
    why = one.grade.trouble or ", ".join(_not_yet(one.grade))
    return f"{label}  {one.folder}: {one.exercise}, {score}, in {one.seconds:.1f} s" + (
        f": {why}" if why else ""
    )


def to_summary(grades: Sequence[FolderGrade], seconds: float) -> str:
    """The last line for people."""
    counted = f"{sum(one.passed for one in grades)} of {len(grades)} folders have all points"
    without = sum(one.grade is None for one in grades)
    return f"{counted}{f', {without} have no grade' if without else ''}. {seconds:.0f} s in all."


def _not_yet(grade: Grade) -> list[str]:
    return [step.criterion.key for step in grade.results if not step.passed]
