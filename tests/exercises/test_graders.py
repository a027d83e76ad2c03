"""The graders that `lab exercise autograder` writes, each run as far as this machine allows."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.exercises import catalogue
from lab.exercises.autograder import classroom_workflow
from tests.support.command_line import invoke_lab
from tests.support.handed_in import SOLUTIONS, start_exercise
from tests.support.small import ROOT, environment

BASH = shutil.which("bash") or "bash"
CRASHES = {"query.py": "raise ValueError('no idea')\n"}
TIMEOUT_S = 900
POINTS = len(catalogue.find("timeout").criteria)


@pytest.fixture
def graders(tmp_path: Path) -> Path:
    said = invoke_lab("exercise", "autograder", "timeout", "graders", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    return tmp_path / "graders"


def run(*words: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def as_on_gradescope(graders: Path, folder: Path) -> Path:
    """The folder /autograder, with the zip unpacked and no submission yet."""
    for name in ("source", "submission", "results"):
        (folder / name).mkdir(parents=True)
    with zipfile.ZipFile(graders / "gradescope.zip") as zipped:
        zipped.extractall(folder / "source")
        modes = {one.filename: one.external_attr >> 16 for one in zipped.infolist()}
    assert modes["run_autograder"] & 0o111
    assert modes["setup.sh"] & 0o111
    return folder


def grade_on_gradescope(root: Path) -> dict[str, Any]:
    done = run(BASH, root / "source" / "run_autograder", cwd=root, AUTOGRADER=str(root))
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads((root / "results" / "results.json").read_text())
    return result


def use_this_lab(root: Path) -> None:
    """In place of an environment with the wheel, a command that runs this checkout."""
    (root / "lab-env" / "bin").mkdir(parents=True)
    for name, module in (("lab", "-m lab"), ("python", "")):
        command = root / "lab-env" / "bin" / name
        command.write_text(f'#!{BASH}\nPYTHONPATH={ROOT} exec {sys.executable} -P {module} "$@"\n')
        command.chmod(0o755)


def test_gradescope_gets_results_or_a_sentence(graders: Path, tmp_path: Path) -> None:
    root = as_on_gradescope(graders, tmp_path / "autograder")
    use_this_lab(root)
    nothing = grade_on_gradescope(root)
    assert nothing["score"] == 0
    assert "has no query.py" in nothing["output"]
    (root / "submission" / "query.py").write_text(CRASHES["query.py"])
    crashed = grade_on_gradescope(root)
    assert [one["score"] for one in crashed["tests"]] == [0] * POINTS
    assert "ValueError: no idea" in crashed["output"]


def test_gradescope_gets_no_results_where_the_lab_is_at_fault(
    graders: Path, tmp_path: Path
) -> None:
    root = as_on_gradescope(graders, tmp_path / "autograder")
    (root / "lab-env" / "bin").mkdir(parents=True)
    lab = root / "lab-env" / "bin" / "lab"
    lab.write_text(f"#!{BASH}\necho This machine is too busy. >&2\nexit 3\n")
    lab.chmod(0o755)
    done = run(BASH, root / "source" / "run_autograder", cwd=root, AUTOGRADER=str(root))
    assert (done.returncode, done.stdout) == (3, "This machine is too busy.\n")
    assert not (root / "results" / "results.json").exists()


@pytest.mark.skipif(not shutil.which("jq"), reason="jq, which GitHub's machines have, is not here")
def test_github_classroom_gets_the_points_of_each_criterion(graders: Path) -> None:
    template = graders / "github"
    workflow = yaml.safe_load((template / ".github/workflows/classroom.yml").read_text())
    (job,) = workflow["jobs"].values()
    by_kind = {"check": [], "criterion": [], "report": []}  # type: dict[str, list[Any]]
    for step in job["steps"]:
        kind = step.get("uses", "check").partition("@")[0].rpartition("-")[0].rpartition("-")[2]
        by_kind.get({"command": "criterion", "grading": "report"}.get(kind, "check"), []).append(
            step
        )
    (check,) = (step for step in by_kind["check"] if "run" in step)
    assert "--exercise timeout --json > grade.json" in check["run"]
    assert len(by_kind["criterion"]) == POINTS

    key = catalogue.find("timeout").criteria[1].key
    document = {"checks": [{"name": key, "passed": True}, {"name": "calm", "passed": False}]}
    (template / "grade.json").write_text(json.dumps(document))
    passed = {
        step["id"]
        for step in by_kind["criterion"]
        if run(BASH, "-c", step["with"]["command"], cwd=template).returncode == 0
    }
    assert passed == {key.replace(" ", "-")}

    (report,) = by_kind["report"]
    runners = report["with"]["runners"].split(",")
    assert runners == [step["id"] for step in by_kind["criterion"]]
    assert list(report["env"]) == [f"{runner.upper()}_RESULTS" for runner in runners]


@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_every_exercise_has_a_workflow_with_its_own_steps(name: str) -> None:
    (job,) = classroom_workflow(catalogue.find(name))["jobs"].values()  # type: ignore[attr-defined]
    ids = [step["id"] for step in job["steps"] if "id" in step]
    assert len(set(ids)) == len(catalogue.find(name).criteria)


def test_graders_are_written_only_into_an_empty_folder(graders: Path) -> None:
    said = invoke_lab("exercise", "autograder", "timeout", "graders", cwd=graders.parent)
    assert said.returncode == 2
    assert "graders has files already" in said.stderr
    unknown = invoke_lab("exercise", "autograder", "timeuot", "other", cwd=graders.parent)
    assert (unknown.returncode, "There is no exercise" in unknown.stderr) == (2, True)


@pytest.mark.parametrize("script", ["setup.sh", "run_autograder", "grade.sh"])
def test_a_script_is_valid_and_stops_at_mistakes(script: str) -> None:
    path = ROOT / "lab" / "exercises" / "kit" / script
    assert run(BASH, "-n", path, cwd=ROOT).returncode == 0
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -eu\n" in text or (script, "\nset -u\n" in text) == ("run_autograder", True)


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_gradescope_s_image_is_built_and_grades_a_solution(graders: Path, tmp_path: Path) -> None:
    """As its machine does it: an empty environment, the wheel, and no checkout in reach."""
    root = as_on_gradescope(graders, tmp_path / "autograder")
    fake = tmp_path / "bin" / "apt-get"
    fake.parent.mkdir()
    fake.write_text(f'#!{BASH}\necho apt-get "$@"\nexit 77\n')
    fake.chmod(0o755)
    env = {"AUTOGRADER": str(root), "PYTHONPATH": "", "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    built = run(BASH, root / "source" / "setup.sh", cwd=root, **env)
    if built.returncode == 77:
        assert re.search(r"^apt-get install .*python3\.1[12]-venv$", built.stdout, re.MULTILINE)
        pytest.skip("setup.sh would install a Python on this machine")
    assert built.returncode == 0, built.stdout + built.stderr
    shutil.copy(SOLUTIONS / "timeout" / "query.py", root / "submission")
    result = grade_on_gradescope(root)
    assert [one["max_score"] for one in result["tests"]] == [1] * POINTS
    assert sum(one["score"] for one in result["tests"]) > 0, result  # all, on a quiet machine


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_the_script_grades_folders_from_the_wheel(graders: Path, tmp_path: Path) -> None:
    start_exercise("timeout", tmp_path / "class" / "ada", CRASHES)
    (tmp_path / "class" / "bob").mkdir()
    words = ("class/ada", "class/bob")
    done = run(
        *(BASH, graders / "grade.sh", *words),
        cwd=tmp_path,
        PYTHON=sys.executable,
        PYTHONPATH="",
    )
    assert done.returncode == 3, done.stdout + done.stderr
    with (tmp_path / "grades.csv").open() as file:
        ada, bob = csv.DictReader(file)
    assert ada["trouble"] == "Your query.py exited with status 1 before it was ready."
    assert "has no query.py" in bob["trouble"]
    assert os.path.getsize(tmp_path / "grades.xml") > 0
