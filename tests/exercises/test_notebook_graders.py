"""Notebooks graded by nbgrader and otter-grader: a right answer is a point, another is none.

The slow tests need these tools, each in a separate environment with this lab: NBGRADER_ENV and
OTTER_ENV name the folders. They pin other versions than the lab, so they are in no extra of it.
"""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.exercises import notebook_graders as graders
from lab.exercises.catalogue import ExerciseNotFound
from tests.support.command_line import invoke_lab
from tests.support.small import ROOT, environment
from tests.support.solutions_of_notebooks import SOLUTIONS

NAME = "01_one_request"
NOTEBOOK = ROOT / "notebooks" / f"{NAME}.ipynb"
TIMEOUT_S = 1200
STUDENTS = {"ada": 2, "bob": 1, "eve": 0}
"""The points of each: `bob` solves the first exercise only, `eve` none."""


def all_notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", all_notebooks(), ids=lambda path: path.stem)
def test_each_notebook_has_two_cells_that_can_be_graded(notebook: Path) -> None:
    saved = json.loads(notebook.read_text("utf-8"))
    before = [cell for cell in saved["cells"] if "checks." in "".join(cell["source"])]
    for made in (graders.for_nbgrader(saved), graders.for_otter(saved)):
        changed = [
            "".join(cell["source"])
            for cell, old in zip(made["cells"], saved["cells"], strict=True)
            if cell != old
        ]
        assert [text.count("= checks.") + text.count("= await checks.") for text in changed] == [
            1,
            1,
        ]
        for number, text in enumerate(changed, 1):
            assert f"feedback_{number} = " in text
    assert len(before) >= 2


def test_a_call_over_several_lines_is_kept_whole() -> None:
    cell = {
        "cell_type": "code",
        "metadata": {},
        "source": ["x = 1\n", "await checks.one(\n", "    x,\n", ")"],
    }
    made = graders.for_otter({"cells": [cell]})
    assert made["cells"][0]["source"] == (
        "x = 1\nfeedback_1 = await checks.one(\n    x,\n)\nfeedback_1"
    )


def test_a_file_without_exercises_is_refused(tmp_path: Path) -> None:
    for text in ("no notebook", '{"cells": []}'):
        (tmp_path / "a.ipynb").write_text(text)
        with pytest.raises(ExerciseNotFound):
            graders.write_notebook_graders(tmp_path / "a.ipynb", tmp_path / "graders")
    assert not (tmp_path / "graders").exists()


# ── With the tools themselves


def tool(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or "/nonexistent")
    if not (folder / "bin" / name).exists():
        pytest.skip(f"{variable} names no environment with {name} and this lab")
    return folder / "bin"


def run(*words: object, cwd: Path, bin_: Path) -> str:
    path = f"{bin_}{os.pathsep}{os.environ['PATH']}"
    env = environment(PATH=path, JUPYTER_PATH="", LAB_RUNS_DIR=str(cwd / "runs"), HOME=str(cwd))
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answered(notebook: Path, points: int) -> str:
    """The notebook's text with the first exercises solved."""
    document: dict[str, Any] = json.loads(notebook.read_text("utf-8"))
    solutions = list(SOLUTIONS[NAME].items())[: {0: 0, 1: 1, 2: None}[points]]
    for cell in document["cells"]:
        text = "".join(cell["source"])
        for old, new in solutions:
            text = text.replace(old, new)
        cell["source"] = text
    return json.dumps(document)


def written(folder: Path) -> Path:
    said = invoke_lab("exercise", "autograder", str(NOTEBOOK), "graders", cwd=folder)
    assert (said.returncode, said.stderr) == (0, "")
    return folder / "graders"


@pytest.mark.slow
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_nbgrader_gives_a_point_for_each_right_answer(tmp_path: Path) -> None:
    bin_ = tool("NBGRADER_ENV", "nbgrader")
    course = written(tmp_path) / "nbgrader"
    run(bin_ / "nbgrader", "generate_assignment", NAME, cwd=course, bin_=bin_)
    for student, points in STUDENTS.items():
        handed_in = course / "submitted" / student / NAME
        shutil.copytree(course / "release" / NAME, handed_in)
        file = handed_in / NOTEBOOK.name
        file.write_text(answered(file, points), "utf-8")
    run(bin_ / "nbgrader", "autograde", NAME, cwd=course, bin_=bin_)
    run(bin_ / "nbgrader", "export", cwd=course, bin_=bin_)
    with (course / "grades.csv").open() as file_:
        rows = list(csv.DictReader(file_))
    assert {row["student_id"]: float(row["score"]) for row in rows} == STUDENTS
    assert {float(row["max_score"]) for row in rows} == {2.0}


@pytest.mark.slow
@pytest.mark.timeout(3 * TIMEOUT_S)
def test_otter_gives_a_point_for_each_right_answer(tmp_path: Path) -> None:
    bin_ = tool("OTTER_ENV", "otter")
    folder = written(tmp_path) / "otter"
    files = [*folder.glob("checks/*.py"), *folder.glob("*.whl")]
    support = [file.relative_to(folder) for file in files]
    words = ("generate", "-t", "tests", "-r", "requirements.txt", *support)
    run(bin_ / "otter", *words, cwd=folder, bin_=bin_)
    found = {}
    for student, points in STUDENTS.items():
        file = tmp_path / student / NOTEBOOK.name
        file.parent.mkdir()
        file.write_text(answered(folder / NOTEBOOK.name, points), "utf-8")
        words = ("run", file, "-a", "autograder.zip", "-o", file.parent, "--no-logo")
        run(bin_ / "otter", *words, cwd=folder, bin_=bin_)
        tests = json.loads((file.parent / "results.json").read_text())["tests"]
        found[student] = sum(test.get("score", 0) for test in tests)
    assert found == STUDENTS
