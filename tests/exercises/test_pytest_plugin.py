"""The plugin for pytest: one test for each criterion, and nothing of the student's is imported."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

from lab.exercises import catalogue
from tests.support.handed_in import start_exercise
from tests.support.small import FINISHED_WITHIN_S, ROOT, environment

PLUGIN = "lab.exercises.pytest_plugin"
CRITERIA = [one.key for one in catalogue.find("timeout").criteria]


def run_pytest(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *words],
        cwd=cwd,
        env=environment(PYTHONPATH=str(ROOT), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        capture_output=True,
        text=True,
        timeout=FINISHED_WITHIN_S,
        check=False,
    )


def test_each_criterion_is_a_test_that_fails_alone(tmp_path: Path) -> None:
    start_exercise("timeout", tmp_path / "mine", {"query.py": "raise ValueError('no idea')"})
    cheat = "import os; os._exit(0)"
    for file in ("conftest.py", "test_mine.py", "pytest.ini.py"):
        (tmp_path / "mine" / file).write_text(cheat)
    (tmp_path / "test_other.py").write_text("def test_other(): raise SystemExit")
    done = run_pytest("--lab-exercise", "mine", "--junit-xml", "out.xml", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    (suite,) = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [case.attrib["name"] for case in suite] == CRITERIA
    assert suite.attrib["failures"] == str(len(CRITERIA))
    assert "Your query.py exited with status 1 before it was ready." in done.stdout
    assert "ValueError: no idea" in done.stdout


def test_criteria_are_chosen_as_other_tests_are(tmp_path: Path) -> None:
    start_exercise("timeout", tmp_path / "mine")
    words = ("--collect-only", "-q", "--lab-exercise", "mine")
    chosen = run_pytest(*words, "-k", "honest or calm", cwd=tmp_path).stdout.splitlines()
    assert [line for line in chosen if "::" in line] == ["mine::calm", "mine::honest"]
    (tmp_path / "test_other.py").write_text("def test_other(): pass")
    beside = run_pytest(*words, "test_other.py", cwd=tmp_path).stdout.splitlines()
    found = [line for line in beside if "::" in line]
    assert found == ["test_other.py::test_other", *(f"mine::{one}" for one in CRITERIA)]


def test_a_folder_without_an_exercise_is_a_wrong_argument(tmp_path: Path) -> None:
    done = run_pytest("--lab-exercise", "nothing", cwd=tmp_path)
    assert done.returncode == 4
    assert "nothing holds no exercise" in done.stderr


def test_the_package_names_its_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert list(project["entry-points"]["pytest11"].values()) == [PLUGIN]
    assert import_module(PLUGIN).OPTION == "--lab-exercise"
