"""Graders for an exercise, as a folder: Gradescope, GitHub Classroom, and a script."""

import re
import shutil
import zipfile
from importlib.resources import files
from pathlib import Path

import yaml

from lab.exercises import catalogue
from lab.exercises.exercise import Exercise
from lab.exercises.wheel import write_wheel

KIT = files("lab.exercises").joinpath("kit")
_GRADERS = "classroom-resources/autograding-{}@v1"
_GRADE_FILE = "grade.json"
_EXECUTABLE = 0o755


def write_graders(name: str, folder: Path) -> list[Path]:
    """Write all graders of an exercise into a folder, which must not have them yet.

    Returns what is for people. Raises ExerciseNotFound, NotInstalled, OSError.
    """
    exercise = catalogue.find(name)
    make_folder(folder)
    wheel = write_wheel(folder)
    (folder / catalogue.MARKER_FILE).write_text(f"{name}\n")
    for file in ("README.md", "grade.sh"):
        (folder / file).write_text(KIT.joinpath(file).read_text("utf-8"), "utf-8")
    (folder / "grade.sh").chmod(_EXECUTABLE)
    archive, github = folder / "gradescope.zip", folder / "github"
    _write_gradescope(archive, exercise, wheel)
    catalogue.start(name, github)
    for part in ("workflows", "classroom"):
        (github / ".github" / part).mkdir(parents=True)
    shutil.copy(wheel, github / ".github" / "classroom")
    workflow = yaml.safe_dump(classroom_workflow(exercise), sort_keys=False, width=200)
    (github / ".github" / "workflows" / "classroom.yml").write_text(workflow, "utf-8")
    return [folder / "README.md", archive, github, folder / "grade.sh"]


def make_folder(folder: Path) -> None:
    """Create the folder for graders. Raises ExerciseNotFound if it has files."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise catalogue.ExerciseNotFound(
            f"{folder} has files already, and they stay as they are. Choose another folder."
        )


def _write_gradescope(archive: Path, exercise: Exercise, wheel: Path) -> None:
    """The zip for Gradescope (gradescope-autograders.readthedocs.io/en/latest/specs)."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in ("setup.sh", "run_autograder"):
            entry = zipfile.ZipInfo(file)
            entry.external_attr = _EXECUTABLE << 16
            zipped.writestr(entry, KIT.joinpath(file).read_text("utf-8"))
        zipped.writestr(catalogue.MARKER_FILE, f"{exercise.name}\n")
        zipped.write(wheel, wheel.name)


def classroom_workflow(exercise: Exercise) -> dict[str, object]:
    """The workflow for GitHub Classroom: one check, and a step with points for each criterion."""
    check = (
        "python -m pip install --quiet .github/classroom/*.whl\n"
        f"lab exercise check . --exercise {exercise.name}"
        f" --json > {_GRADE_FILE} || test $? -eq 1\n"
    )
    ids = {criterion: re.sub(r"\W+", "-", criterion.key) for criterion in exercise.criteria}
    criteria: list[dict[str, object]] = [
        {
            "name": criterion.requirement,
            "id": step,
            "uses": _GRADERS.format("command-grader"),
            "with": {
                "test-name": criterion.requirement,
                "setup-command": "",
                "command": _is_passed(criterion.key),
                "timeout": 1,
                "max-score": criterion.points,
            },
        }
        for criterion, step in ids.items()
    ]
    results = {
        f"{step.upper()}_RESULTS": f"${{{{steps.{step}.outputs.result}}}}" for step in ids.values()
    }
    reporter: dict[str, object] = {
        "name": "Report",
        "uses": _GRADERS.format("grading-reporter"),
        "env": results,
        "with": {"runners": ",".join(ids.values())},
    }
    steps: list[dict[str, object]] = [
        {"uses": "actions/checkout@v4"},
        {"uses": "actions/setup-python@v5", "with": {"python-version": "3.12"}},
        {"name": "Check", "run": check, "timeout-minutes": 10},
        *criteria,
        reporter,
    ]
    return {
        "name": "Autograding Tests",
        "on": ["push", "workflow_dispatch", "repository_dispatch"],
        "permissions": {"checks": "write", "actions": "read", "contents": "read"},
        "jobs": {
            "run-autograding-tests": {
                "runs-on": "ubuntu-latest",
                "if": "github.actor != 'github-classroom[bot]'",
                "steps": steps,
            }
        },
    }


def _is_passed(key: str) -> str:
    """The command that succeeds if the criterion is met. Its environment has hardly a variable."""
    return f"jq --exit-status '.checks[] | select(.name == \"{key}\") | .passed' {_GRADE_FILE}"
