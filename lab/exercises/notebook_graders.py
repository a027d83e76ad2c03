"""Graders for the exercises in a notebook: an assignment for nbgrader, tests for otter-grader.

An exercise is a cell whose last expression calls `checks`: its value becomes a variable
`feedback_N`, which nbgrader's cell asserts, and otter's test reads.
"""

import ast
import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

from lab.exercises.autograder import KIT, make_folder
from lab.exercises.catalogue import ExerciseNotFound
from lab.exercises.wheel import write_wheel

_CHECK = re.compile(r"\bchecks\.\w+\(")
_CELL_TIMEOUT_S = 600
_NBGRADER_CONFIG = f"""c = get_config()
c.CourseDirectory.course_id = "sync-async-lab"
c.Execute.timeout = {_CELL_TIMEOUT_S}  # s: some cells run the blog under load
"""


def write_notebook_graders(notebook: Path, folder: Path) -> list[Path]:
    """Write the graders of a notebook's exercises into a folder, which must be empty.

    `checks` must be in the folder of the notebook. Raises ExerciseNotFound, NotInstalled, OSError.
    """
    checks = notebook.parent / "checks"
    cells = _read(notebook)
    if not (found := _exercise_cells(cells["cells"])) or not checks.is_dir():
        raise ExerciseNotFound(
            f"{notebook} has no exercises: no cell calls checks, or there is no folder {checks}. "
            "The notebooks of this lab are in its folder notebooks."
        )
    make_folder(folder)
    name = notebook.stem
    readme = KIT.joinpath("README-notebook.md").read_text("utf-8").replace("NOTEBOOK", name)
    (folder / "README.md").write_text(readme, "utf-8")
    nbgrader, otter = folder / "nbgrader", folder / "otter"
    source = nbgrader / "source" / name
    for place in (source, otter / "tests"):
        place.mkdir(parents=True)
    for place in (source, otter):
        shutil.copytree(checks, place / "checks", ignore=shutil.ignore_patterns("__pycache__"))
    (nbgrader / "nbgrader_config.py").write_text(_NBGRADER_CONFIG)
    _write(source / notebook.name, for_nbgrader(cells))
    _write(otter / notebook.name, for_otter(cells))
    for number in range(1, len(found) + 1):
        (otter / "tests" / f"exercise_{number}.py").write_text(_otter_test(number))
    wheel = write_wheel(otter)
    requirement = f"/autograder/source/files/{wheel.name}[notebooks]\n"
    (otter / "requirements.txt").write_text(requirement)
    return [folder / "README.md", nbgrader, otter]


def for_nbgrader(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with a locked cell of one point for each exercise."""
    made = copy.deepcopy(notebook)
    for number, cell in enumerate(_exercise_cells(made["cells"]), 1):
        feedback = f"feedback_{number}"
        cell["source"] = f"{_kept_as(feedback, _text(cell))}\nassert {feedback}.right, {feedback}"
        cell["metadata"]["nbgrader"] = {
            "grade": True,
            "grade_id": f"exercise-{number}",
            "locked": True,
            "points": 1,
            "schema_version": 3,
            "solution": False,
            "task": False,
            "cell_type": "code",
        }
    return made


def for_otter(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook whose exercises keep and show their feedback."""
    made = copy.deepcopy(notebook)
    for number, cell in enumerate(_exercise_cells(made["cells"]), 1):
        feedback = f"feedback_{number}"
        cell["source"] = f"{_kept_as(feedback, _text(cell))}\n{feedback}"
    return made


def _otter_test(number: int) -> str:
    """A test file in otter's OK format; where it fails, it shows the feedback."""
    feedback = f"feedback_{number}"
    case = {
        "code": f">>> {feedback}.right or {feedback}\nTrue",
        "hidden": False,
        "locked": False,
    }
    suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
    test = {"name": f"exercise_{number}", "points": 1, "suites": [suite]}
    return f"OK_FORMAT = True\n\ntest = {test!r}\n"


def _read(notebook: Path) -> dict[str, Any]:
    try:
        found = json.loads(notebook.read_text("utf-8"))
        _ = found["cells"]
    except (ValueError, KeyError, TypeError):
        raise ExerciseNotFound(f"{notebook} is no notebook.") from None
    return dict(found)


def _write(file: Path, notebook: dict[str, Any]) -> None:
    file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _exercise_cells(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [cell for cell in cells if cell["cell_type"] == "code" and _CHECK.search(_text(cell))]


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])  # nbformat: a string, or a list of lines


def _kept_as(name: str, source: str) -> str:
    """The cell's code with its last expression assigned to a name."""
    last = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).body[
        -1
    ]
    lines = source.splitlines()
    lines[last.lineno - 1] = f"{name} = {lines[last.lineno - 1]}"
    return "\n".join(lines)
