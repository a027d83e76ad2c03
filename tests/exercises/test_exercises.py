"""The exercises: as they begin they fail, as they are solved they pass, and half of it is not all.

How a program is handled that is no service at all is in `exercises/test_bad_programs.py`.
"""

import json
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.exercises import catalogue, formats
from lab.exercises.exercise import Criterion, Step, Verdict
from tests.support.handed_in import begin, solution, verdict, verdicts
from tests.support.laboratory import eventually
from tests.support.small import CLI, environment, flat, lab, processes_of

LONGEST_S = 30
NURSERY_BLOG_AND_GUEST = 1 + 5 + 1
STILL_GOOD = {
    "timeout": {"calm", "back", "patient"},
    "breaker": {"calm", "few", "others", "back"},
    "idempotent": {"calm", "hears"},
    "outbox": {"calm", "refused", "once"},
    "likes": set[str](),
    "starving": {"calm", "answers", "back"},
    "rebuild": set[str](),
}
"""What holds already before anybody has done anything."""

READ = 'position = service.store.rows("SELECT position FROM place")[0]["position"]'
NOTE = 'change.execute("UPDATE place SET position = ?", envelope.sequence)'
COMMIT = "with service.store.transaction() as change:"
DOT = " " * 4
ASK = "    know_post(post_id)\n"
HALF_RIGHT: dict[str, tuple[str, str, dict[str, str], set[str]]] = {
    "how far it has read is in memory": (
        *("rebuild", "popular.py", {NOTE: "pass"}),
        {"again", "middle"},
    ),
    "how far it has read is a commit of its own": (
        *("rebuild", "popular.py", {f"{DOT * 5}{NOTE}": f"{DOT * 4}{COMMIT}\n{DOT * 5}{NOTE}"}),
        {"middle"},
    ),
    "each start begins anew": (
        *("rebuild", "popular.py"),
        {
            NOTE: "pass",
            READ: f"{COMMIT}\n        change.execute('DELETE FROM popular')\n    {READ}",
        },
        {"resumes"},
    ),
    "posts is not asked": (
        *("likes", "sync_chain/likes.py", {ASK: ""}),
        {"chain unknown", "chain down", "chain again"},
    ),
    "posts is asked when the like is kept": (
        *("likes", "sync_chain/likes.py"),
        {ASK: "", "    return count_likes(post_id)\n": f"{ASK}    return count_likes(post_id)\n"},
        {"chain unknown", "chain down", "chain again"},
    ),
    "what was heard is in memory": (
        *("likes", "async_bus/likes.py"),
        {
            'change.execute("INSERT INTO known_posts VALUES (?)", post.id)': "KNOWN.add(post.id)",
            "change.rows(known, post_id)": "post_id in KNOWN",
            "service = ": "KNOWN = set()\nservice = ",
        },
        {"bus again"},
    ),
}
"""What is nearly a solution, with what is seen to be wrong about it."""


def half_right(case: str) -> tuple[str, dict[str, str]]:
    name, file, changes, _ = HALF_RIGHT[case]
    files = solution(name)
    for old, new in changes.items():
        assert old in files[file], old
        files[file] = files[file].replace(old, new)
    return name, files


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict | BaseException]:
    """Every exercise as it begins, as it is solved, and half solved. Where they are checked there
    is a proxy to the world, and it does not answer for this machine."""
    handed_in = {
        **{f"{name} solved": (name, solution(name)) for name in catalogue.EXERCISES},
        **{f"{name} begun": (name, {}) for name in catalogue.EXERCISES},
        **{case: half_right(case) for case in HALF_RIGHT},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:9")
        return verdicts(handed_in, tmp_path_factory.mktemp("exercises"))


@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_a_solution_passes(
    seen: dict[str, Verdict | BaseException], tmp_path: Path, name: str
) -> None:
    found = seen[f"{name} solved"]
    if not (isinstance(found, Verdict) and found.passed):  # a busy machine: once more, alone
        found = verdict(name, tmp_path, solution(name))
    assert found.passed, formats.document(found)
    assert found.score == found.max_score == len(found.steps)
    assert found.log == ()
    assert found.seconds < LONGEST_S


@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_as_it_begins_it_fails_where_it_is_broken_and_nowhere_else(
    seen: dict[str, Verdict | BaseException], name: str
) -> None:
    found = seen[f"{name} begun"]
    assert isinstance(found, Verdict)
    assert not found.passed
    assert not found.trouble
    assert {step.criterion.key for step in found.steps if step.passed} == STILL_GOOD[name]
    assert found.seconds < LONGEST_S


@pytest.mark.parametrize("case", HALF_RIGHT)
def test_what_is_half_right_is_seen_to_be(
    seen: dict[str, Verdict | BaseException], case: str
) -> None:
    found = seen[case]
    assert isinstance(found, Verdict)
    assert {step.criterion.key for step in found.steps if not step.passed} == HALF_RIGHT[case][3]


@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_what_a_student_gets_compiles_and_is_not_the_solution(tmp_path: Path, name: str) -> None:
    exercise = begin(name, tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith(f"# {exercise.title.partition(':')[0]}\n")
    for file, solved in solution(name).items():
        begun = (tmp_path / file).read_text()
        compile(begun, file, "exec")
        assert begun != solved
        assert file in readme


VERDICT = Verdict(
    "timeout",
    (
        Step(Criterion("calm", "It is calm.", "Leave it."), True, "calm"),
        Step(Criterion("in time", "It is <in time>.", "Don't & wait.", 3), False, "4 s & more"),
    ),
    1.23,
    "Your program exited with status 1.",
    ("Traceback", "ValueError: <&>"),
)


def test_the_formats_say_the_same() -> None:
    told = json.loads(json.dumps(formats.document(VERDICT)))
    assert (told["passed"], told["score"], told["max_score"]) == (False, 1, 4)
    assert [one["hint"] for one in told["checks"]] == ["", "Don't & wait."]

    suite = ElementTree.fromstring(formats.junit(VERDICT))[0]
    assert suite.attrib["tests"] == "3"
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == "4 s & more"
    assert "Don't & wait." in str(failure.text)

    graded = formats.gradescope(VERDICT)
    assert [(one["score"], one["max_score"]) for one in graded["tests"]] == [(1, 1), (0, 3)]
    assert "ValueError: <&>" in graded["output"]


def test_sentences_show_what_was_seen_and_a_hint_in_80_columns() -> None:
    lines = formats.sentences(VERDICT, catalogue.find("likes"))
    said = flat(" ".join(lines))
    assert "not yet It is <in time>. Seen: 4 s & more. Hint: Don't & wait." in said
    assert "Seen: calm" not in said
    assert max(map(len, lines)) <= 80
    assert "1 of 4 points" in said


# ── the command line ──────────────────────────────────────────────────────


def test_an_exercise_is_begun_listed_and_checked_from_the_command_line(tmp_path: Path) -> None:
    listed = lab("exercise", "list", cwd=tmp_path)
    assert all(name in listed.stdout for name in catalogue.EXERCISES)
    begun = lab("exercise", "start", "likes", "mine", cwd=tmp_path)
    assert begun.returncode == 0
    files = {str(one.relative_to(tmp_path / "mine")) for one in (tmp_path / "mine").rglob("*.*")}
    assert files == {"README.md", "exercise.txt", "sync_chain/likes.py", "async_bus/likes.py"}
    (tmp_path / "mine" / "sync_chain" / "likes.py").write_text("raise ValueError('no idea')")
    words = ("--json", "--junit", "junit.xml", "--gradescope", "results.json")
    checked = lab("exercise", "check", "mine", *words, cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (1, "")
    told = json.loads(checked.stdout)
    assert told["trouble"] == "Your sync_chain/likes.py exited with status 1 before it was ready."
    assert told["log"][-1] == "ValueError: no idea"
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
    assert len(json.loads((tmp_path / "results.json").read_text())["tests"]) == 8


def test_ctrl_c_in_the_middle_of_a_check_leaves_nothing(tmp_path: Path) -> None:
    begin("rebuild", tmp_path, solution("rebuild"))
    checking = subprocess.Popen(
        [*CLI, "exercise", "check", str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    eventually(lambda: len(list(processes_of(checking.pid))) == NURSERY_BLOG_AND_GUEST)
    checking.send_signal(signal.SIGINT)
    said, complained = checking.communicate(timeout=30)
    assert (checking.returncode, said) == (130, "")
    assert "all processes ended" in flat(complained)
    assert list(processes_of(checking.pid)) == []


def test_a_wrong_word_is_answered_with_what_there_is(tmp_path: Path) -> None:
    said = lab("exercise", "start", "tiemout", "mine", cwd=tmp_path)
    assert said.returncode == 2
    assert "There are: timeout" in flat(said.stderr)
    said = lab("exercise", "check", "nowhere", cwd=tmp_path)
    assert said.returncode == 2
    assert "lab exercise start timeout nowhere" in flat(said.stderr)


def test_a_second_start_overwrites_nothing_and_a_lost_file_is_named(tmp_path: Path) -> None:
    begin("likes", tmp_path, {"async_bus/likes.py": "mine"})
    (tmp_path / "README.md").unlink()
    (tmp_path / "sync_chain" / "likes.py").unlink()
    with pytest.raises(catalogue.NotThere, match="stays as it is"):
        catalogue.start("likes", tmp_path)
    assert not (tmp_path / "README.md").exists()
    assert (tmp_path / "async_bus" / "likes.py").read_text() == "mine"
    with pytest.raises(catalogue.NotThere, match="has no sync_chain/likes"):
        catalogue.begun_in(tmp_path)
