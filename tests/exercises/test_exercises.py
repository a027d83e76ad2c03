"""The exercises: they fail as begun, pass as solved, and half a solution fails as well.

Programs that are no services at all are tested in `exercises/test_bad_programs.py`.
"""

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from lab.exercises import catalogue, formats
from lab.exercises.exercise import CriterionResult, Grade, GradedCriterion
from tests.support.command_line import invoke_lab, unhurried_lab
from tests.support.handed_in import PATIENCE, grade_all, selected_params, solution, start_exercise
from tests.support.laboratory import PATIENCE_S, eventually
from tests.support.small import CLI, environment, find_processes, join_lines

EXPECTED_PROCESSES = 1 + 5 + 1
GradesByName = Mapping[str, Grade | BaseException]


class SubmittedFiles(NamedTuple):
    """Files that are handed in, and the criteria that they must fail.

    The changes are new text for old in a solution; None hands in the exercise as it begins.
    """

    exercise: str
    failing: set[str]
    file: str = ""
    changes: Mapping[str, str] | None = None
    patience: float = PATIENCE


PASSES_UNSOLVED = {
    "timeout": {"calm", "back", "patient"},
    "breaker": {"calm", "few", "others", "back"},
    "idempotent": {"calm", "hears"},
    "outbox": {"calm", "refused", "once"},
    "likes": set[str](),
    "starving": {"calm", "answers", "back"},
    "rebuild": set[str](),
}
"""The criteria that hold before the student has done anything."""

UNMET_PATIENCE = 3.0
"""The patience with criteria that cannot become true."""

NOTE = 'change.execute("UPDATE place SET position = ?", envelope.sequence)'
COMMIT = "with service.store.transaction() as change:"
BEGIN = 'position = service.store.rows("SELECT position FROM place")[0]["position"]'
OPEN = "store = super().open_store(folder)\n"
SHOW = "return [PopularPost(**row) for row in service.store.rows(most, limit)]\n"
ASK = "    know_post(post_id)\n"
NEWEST = 'newest = service.ask("posts", "GET", "/posts", limit=limit, before=before)'

HALF_RIGHT = {
    "no answer is an empty feed": SubmittedFiles(
        *("timeout", {"honest"}, "query.py"),
        {NEWEST: f"try: {NEWEST}\n    except DependencyFailed: return []"},
    ),
    "how far it has read is in memory": SubmittedFiles(
        "rebuild", {"again", "middle"}, "popular.py", {NOTE: "pass"}
    ),
    # It sleeps between its two commits, once, until it is killed.
    "how far it has read is a second commit": SubmittedFiles(
        *("rebuild", {"middle"}, "popular.py"),
        {
            NOTE: "pass\n"
            "                event, killed = envelope.event(), Path(__file__).with_name('killed')\n"
            "                counts = getattr(event, 'status', '') == 'approved'\n"
            "                if counts and envelope.sequence > 150 and not killed.exists():\n"
            "                    killed.touch()\n"
            "                    time.sleep(3600)\n"
            f"                {COMMIT}\n"
            f"                    {NOTE}"
        },
    ),
    # It begins after the first request, with an empty copy.
    "each start begins anew": SubmittedFiles(
        *("rebuild", {"resumes"}, "popular.py"),
        {
            OPEN: f"{OPEN}        with store.transaction() as change:\n"
            "            change.execute('DELETE FROM popular')\n",
            SHOW: f"{SHOW.replace('return', 'shown =')}    ASKED.set()\n    return shown\n",
            BEGIN: "position = 0\n    ASKED.wait()",
            NOTE: "pass",
            "service = ": "ASKED = threading.Event()\nservice = ",
        },
    ),
    "posts is not asked": SubmittedFiles(
        *("likes", {"chain unknown", "chain down", "chain again"}, "sync_chain/likes.py"),
        {ASK: ""},
    ),
    "posts is asked when the like is kept": SubmittedFiles(
        *("likes", {"chain unknown", "chain down", "chain again"}, "sync_chain/likes.py"),
        {ASK: "", "    return count_likes(post_id)\n": f"{ASK}    return count_likes(post_id)\n"},
    ),
    "what was heard is in memory": SubmittedFiles(
        *("likes", {"bus again"}, "async_bus/likes.py"),
        {
            'change.execute("INSERT INTO known_posts VALUES (?)", post.id)': "KNOWN.add(post.id)",
            "change.rows(known, post_id)": "post_id in KNOWN",
            "service = ": "KNOWN = set()\nservice = ",
        },
    ),
}
HANDED_IN = {
    **{f"{name} solved": SubmittedFiles(name, set(), changes={}) for name in catalogue.EXERCISES},
    **{
        f"{name} begun": SubmittedFiles(
            name, {one.key for one in of.criteria} - PASSES_UNSOLVED[name], patience=UNMET_PATIENCE
        )
        for name, of in catalogue.EXERCISES.items()
    },
    **HALF_RIGHT,
}
QUICKEST = {"timeout solved", "timeout begun", "no answer is an empty feed"}


def files_of(one: SubmittedFiles) -> dict[str, str]:
    if one.changes is None:
        return {}
    files = solution(one.exercise)
    for old, new in one.changes.items():
        assert old in files[one.file], old
        files[one.file] = files[one.file].replace(old, new)
    return files


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GradesByName:
    """The verdicts on the selected files.

    The checks run with an HTTP proxy in the environment that does not reach this machine.
    """
    found: dict[str, Grade | BaseException] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:9")
        for patience in (PATIENCE, UNMET_PATIENCE):
            these = {
                case: (HANDED_IN[case].exercise, files_of(HANDED_IN[case]))
                for case in selected_params(request, "case")
                if HANDED_IN[case].patience == patience
            }
            found |= grade_all(these, tmp_path_factory.mktemp("exercises"), patience)
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in QUICKEST else pytest.mark.slow) for case in HANDED_IN],
)
def test_a_check_sees_what_is_wrong_and_nothing_else(seen: GradesByName, case: str) -> None:
    found = seen[case]
    assert isinstance(found, Grade), found
    wrong = {step.criterion.key for step in found.results if not step.passed}
    assert (wrong, found.trouble) == (HANDED_IN[case].failing, ""), formats.to_json(found)
    assert found.passed is (not wrong)
    if found.passed:
        assert found.score == found.max_score == len(found.results)
        assert found.log == ()


@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_what_a_student_gets_is_not_the_solution(tmp_path: Path, name: str) -> None:
    exercise = start_exercise(name, tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith(f"# {exercise.title.partition(':')[0]}\n")
    for file, solved in solution(name).items():
        begun = (tmp_path / file).read_text()
        compile(begun, file, "exec")
        assert begun != solved
        assert file in readme


VERDICT = Grade(
    "timeout",
    (
        CriterionResult(GradedCriterion("calm", "It is calm.", "Leave it."), True, "calm"),
        CriterionResult(
            GradedCriterion("in time", "It is <in time>.", "Don't & wait.", 3), False, "4 s & more"
        ),
    ),
    1.23,
    "Your program exited with status 1.",
    ("Traceback", "ValueError: <&>"),
)


def test_the_formats_say_the_same() -> None:
    result = json.loads(json.dumps(formats.to_json(VERDICT)))
    assert (result["passed"], result["score"], result["max_score"]) == (False, 1, 4)
    assert [one["hint"] for one in result["checks"]] == ["", "Don't & wait."]

    suite = ElementTree.fromstring(formats.to_junit(VERDICT))[0]
    assert suite.attrib["tests"] == "3"
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "4 s & more"
    assert "Don't & wait." in str(failure.text)

    graded = formats.to_gradescope(VERDICT)
    assert [(one["score"], one["max_score"]) for one in graded["tests"]] == [(1, 1), (0, 3)]
    assert "ValueError: <&>" in graded["output"]


def test_sentences_show_what_was_seen_and_a_hint() -> None:
    lines = formats.to_text(VERDICT, catalogue.find("likes"))
    output = join_lines(" ".join(lines))
    assert "not yet It is <in time>. Seen: 4 s & more. Hint: Don't & wait." in output
    assert "Seen: calm" not in output
    assert max(map(len, lines)) <= 80
    assert "1 of 4 points" in output


# ── The command line


def test_an_exercise_is_begun_and_checked_from_the_command_line(tmp_path: Path) -> None:
    listed = invoke_lab("exercise", "list", cwd=tmp_path)
    assert all(name in listed.stdout for name in catalogue.EXERCISES)
    begun = invoke_lab("exercise", "start", "likes", "mine", cwd=tmp_path)
    assert begun.returncode == 0
    files = {str(one.relative_to(tmp_path / "mine")) for one in (tmp_path / "mine").rglob("*.*")}
    assert files == {"README.md", "exercise.txt", "sync_chain/likes.py", "async_bus/likes.py"}
    (tmp_path / "mine" / "sync_chain" / "likes.py").write_text("raise ValueError('no idea')")
    words = ("--json", "--junit", "junit.xml", "--gradescope", "results.json")
    checked = unhurried_lab("exercise", "check", "mine", *words, cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (1, "")
    result = json.loads(checked.stdout)
    assert result["trouble"] == "Your sync_chain/likes.py exited with status 1 before it was ready."
    assert result["log"][-1] == "ValueError: no idea"
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
    assert len(json.loads((tmp_path / "results.json").read_text())["tests"]) == 8


def test_ctrl_c_in_the_middle_of_a_check_leaves_nothing(tmp_path: Path) -> None:
    start_exercise("rebuild", tmp_path, solution("rebuild"))
    checking = subprocess.Popen(
        [*CLI, "exercise", "check", str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    eventually(lambda: len(list(find_processes(checking.pid))) == EXPECTED_PROCESSES)
    checking.send_signal(signal.SIGINT)
    output, errors = checking.communicate(timeout=PATIENCE_S)
    assert (checking.returncode, output) == (130, "")
    assert "all processes have ended" in join_lines(errors)
    assert list(find_processes(checking.pid)) == []


def test_a_second_start_overwrites_nothing(tmp_path: Path) -> None:
    start_exercise("likes", tmp_path, {"async_bus/likes.py": "mine"})
    (tmp_path / "README.md").unlink()
    (tmp_path / "sync_chain" / "likes.py").unlink()
    with pytest.raises(catalogue.ExerciseNotFound, match="stays as it is"):
        catalogue.start("likes", tmp_path)
    assert not (tmp_path / "README.md").exists()
    assert (tmp_path / "async_bus" / "likes.py").read_text() == "mine"
    with pytest.raises(catalogue.ExerciseNotFound, match="has no sync_chain/likes"):
        catalogue.exercise_in(tmp_path)
