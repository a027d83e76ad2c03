"""Many folders: each is checked on a copy by a separate lab, and none spoils the others."""

import asyncio
import csv
import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from lab.cluster.forkserver_client import LAB_RUN
from lab.exercises import batch, catalogue, formats
from lab.exercises.exercise import CriterionResult, Grade
from tests.support.command_line import unhurried_lab
from tests.support.handed_in import start_exercise
from tests.support.laboratory import eventually

CRASHES = {"query.py": "raise ValueError('no idea')\n"}
EXERCISE = catalogue.find("timeout")


def grade_of(passed: bool) -> Grade:
    steps = [CriterionResult(one, passed, "it <was> so") for one in EXERCISE.criteria]
    return Grade("timeout", tuple(steps), 1.5, "" if passed else "Your query.py exited.")


GRADES = [
    batch.FolderGrade("class/ada", "timeout", 2.0, grade_of(True)),
    batch.FolderGrade("class/bob", "timeout", 3.0, grade_of(False)),
    batch.FolderGrade("class/eve", "", 0.1, problem="class/eve holds no exercise."),
]


def test_a_grade_survives_its_document() -> None:
    for passed in (True, False):
        document = json.loads(json.dumps(formats.to_json(grade_of(passed))))
        assert formats.from_json(document, EXERCISE) == grade_of(passed)


def test_a_table_has_a_line_for_each_folder() -> None:
    ada, bob, eve = csv.DictReader(io.StringIO(batch.to_csv(GRADES)))
    assert (ada["passed"], ada["score"], ada["max_score"]) == ("True", "6", "6")
    assert (bob["passed"], bob["score"], bob["trouble"]) == ("False", "0", "Your query.py exited.")
    assert bob["not_yet"].split("; ") == [one.key for one in EXERCISE.criteria]
    assert (eve["passed"], eve["score"]) == ("", "")
    assert "holds no exercise" in eve["trouble"]


def test_junit_has_a_suite_for_each_folder() -> None:
    ada, bob, eve = ElementTree.fromstring(batch.to_junit(GRADES))
    assert [one.attrib["name"] for one in (ada, bob, eve)] == [
        "class/ada",
        "class/bob",
        "class/eve",
    ]
    assert (ada.attrib["tests"], ada.attrib["failures"], ada.attrib["errors"]) == ("6", "0", "0")
    assert (bob.attrib["failures"], bob.attrib["errors"]) == ("6", "1")
    assert (eve.attrib["tests"], eve.attrib["errors"]) == ("1", "1")


def test_lines_name_what_is_missing() -> None:
    ada, bob, eve = map(batch.to_line, GRADES)
    assert ada == "ok        class/ada: timeout, 6 of 6 points, in 2.0 s"
    assert bob.endswith("0 of 6 points, in 3.0 s: Your query.py exited.")
    assert eve.startswith("no grade  class/eve: ")
    summary = batch.to_summary(GRADES, 5.1)
    assert summary == "1 of 3 folders have all points, 1 have no grade. 5 s in all."


def test_a_hanging_check_is_killed_with_all_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lab that ignores SIGTERM, and a process of it in a new session."""
    pid_file = tmp_path / "pid"
    hang = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
env = {{**os.environ, {LAB_RUN!r}: f"{{os.getpid()}}:0:x"}}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=env,
                         start_new_session=True)
open({str(pid_file)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    start_exercise("timeout", tmp_path / "mine")
    monkeypatch.setattr(batch, "CHECK_COMMAND", (sys.executable, "-c", hang))
    monkeypatch.setattr(batch, "_ENDS_WITHIN_S", 0.1)

    async def limit_passes(awaitable: object, limit_s: float) -> object:
        """The limit of the folder passes as soon as the child is there."""
        if limit_s != batch.FOLDER_LIMIT_S:
            return await original(awaitable, limit_s)  # type: ignore[arg-type]
        await asyncio.to_thread(eventually, lambda: pid_file.exists() and pid_file.read_text())
        raise TimeoutError

    original = asyncio.wait_for
    monkeypatch.setattr(batch.asyncio, "wait_for", limit_passes)
    (grade,) = asyncio.run(batch.grade_folders([tmp_path / "mine"]))
    assert "did not end within 40 s and was killed" in grade.problem
    child = int(pid_file.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("status", "checks"), [(3, 2), (2, 1)])
def test_a_check_is_repeated_once_where_the_lab_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, checks: int
) -> None:
    counted = tmp_path / "counted"
    check = f"import sys; open({str(counted)!r}, 'a').write('x'); sys.exit('Busy.' and {status})"
    start_exercise("timeout", tmp_path / "mine")
    monkeypatch.setattr(batch, "CHECK_COMMAND", (sys.executable, "-c", check))
    (grade,) = asyncio.run(batch.grade_folders([tmp_path / "mine"]))
    assert counted.read_text() == "x" * checks
    assert grade.problem == f"The check ended with exit code {status}, without a verdict."


def test_folders_are_checked_on_copies_from_the_command_line(tmp_path: Path) -> None:
    """One crashes and writes into its folder, one holds nothing, one says it is easier."""
    writes = "import pathlib\npathlib.Path(__file__).with_name('seen').touch()\n"
    for name in ("ada", "bob"):
        start_exercise("timeout", tmp_path / name, {"query.py": writes + CRASHES["query.py"]})
    (tmp_path / "bob" / "exercise.txt").write_text("breaker")
    (tmp_path / "eve").mkdir()
    words = ("ada", "bob", "eve", "--csv", "grades.csv", "--junit", "grades.xml")
    checked = unhurried_lab("exercise", "check", *words, "--exercise", "timeout", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (3, "")
    ada, bob, eve = csv.DictReader(io.StringIO((tmp_path / "grades.csv").read_text()))
    for one in (ada, bob):
        assert (one["exercise"], one["score"]) == ("timeout", "0")
        assert one["trouble"] == "Your query.py exited with status 1 before it was ready."
    assert "has no query.py" in eve["trouble"]
    assert not (tmp_path / "ada" / "seen").exists()
    assert len(ElementTree.parse(tmp_path / "grades.xml").getroot()) == 3
    assert "0 of 3 folders have all points, 1 have no grade." in checked.stdout
