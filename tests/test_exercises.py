"""The exercises: as they begin they fail, as they are solved they pass, and nonsense is survived.

A check is tried with programs as students hand them in: right ones, unchanged ones, and ones that
crash, hang, flood their output or answer nonsense. Whatever they do, the verdict is one clear
message, the lab has done nothing wrong, and nothing is left running.
"""

import asyncio
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from small import flat, lab, processes_of

from lab.cluster.errors import LabCannotRun
from lab.exercises import catalogue, formats
from lab.exercises.checking import check
from lab.exercises.exercise import Criterion, Exercise, Step, Verdict

SOLUTIONS = Path(__file__).parent / "solutions"
CHEAP = ("timeout", "idempotent")
STILL_GOOD = {
    "timeout": {"calm", "back", "patient"},
    "idempotent": {"calm", "hears"},
    "starving": {"calm", "answers", "back"},
}
"""What holds already before anybody has done anything."""


def begin(name: str, folder: Path) -> tuple[Exercise, Path]:
    catalogue.start(name, folder)
    return catalogue.begun_in(folder)


def tried(name: str, folder: Path, program: str, **limits: float) -> Verdict:
    """The verdict on a program that is put into the place of the exercise's own file."""
    exercise, file = begin(name, folder)
    file.write_text(program)
    before = {one.pid for one in processes_of(os.getpid())}
    verdict = asyncio.run(check(exercise, file, **limits))
    assert {one.pid for one in processes_of(os.getpid())} <= before
    return verdict


def solution(name: str) -> str:
    return (SOLUTIONS / name / catalogue.find(name).file).read_text()


def heavy(name: str) -> object:
    return pytest.param(name, marks=[] if name in CHEAP else pytest.mark.soak)


@pytest.mark.parametrize("name", [heavy(name) for name in catalogue.EXERCISES])
def test_a_solution_passes(tmp_path: Path, name: str) -> None:
    verdict = tried(name, tmp_path, solution(name))
    assert verdict.passed, formats.document(verdict)
    assert verdict.score == verdict.max_score == len(verdict.steps)
    assert verdict.log == ()


@pytest.mark.soak
@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_as_it_begins_it_fails_where_it_is_broken_and_nowhere_else(
    tmp_path: Path, name: str
) -> None:
    exercise, file = begin(name, tmp_path)
    verdict = asyncio.run(check(exercise, file))
    assert not verdict.trouble
    assert {step.criterion.key for step in verdict.steps if step.passed} == STILL_GOOD[name]
    assert verdict.seconds < 30


@pytest.mark.parametrize("name", catalogue.EXERCISES)
def test_what_a_student_gets_compiles_and_is_not_the_solution(tmp_path: Path, name: str) -> None:
    exercise, file = begin(name, tmp_path)
    compile(file.read_text(), file.name, "exec")
    assert file.read_text() != solution(name)
    readme = (tmp_path / "README.md").read_text()
    assert exercise.file in readme
    assert readme.startswith(f"# {exercise.title.partition(':')[0]}")


BREAKS_EVERYTHING = {
    "crashes at the start": ("raise ValueError('no idea')", "exited with status 1", "no idea"),
    "does not compile": ("def main(argv:", "exited with status 1", "SyntaxError"),
    "has no main": ("print('hello')", "exited with status 1", "no function main"),
    "ends at once": ("def main(argv): pass", "exited with status 0 before it was ready", ""),
    "is killed": (
        "import os\ndef main(argv): os.kill(os.getpid(), 9)",
        "was ended by signal 9",
        "",
    ),
    "never listens": (
        "import time\ndef main(argv):\n    print('thinking')\n    time.sleep(600)",
        "nothing listens on port",
        "thinking",
    ),
    "floods its output": (
        "def main(argv):\n    while True:\n        print('flood ' * 1000)",
        "It wrote 16 MiB of output, the most that is taken.",
        "flood flood",
    ),
    "starts others": (
        "import subprocess, sys\n"
        "def main(argv):\n"
        "    sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "    subprocess.Popen(sleep)\n"
        "    subprocess.Popen(sleep, start_new_session=True)\n",
        "before it was ready",
        "",
    ),
}


@pytest.mark.parametrize("case", BREAKS_EVERYTHING)
def test_a_program_that_is_never_ready_is_one_clear_message(tmp_path: Path, case: str) -> None:
    program, says, last_words = BREAKS_EVERYTHING[case]
    verdict = tried("timeout", tmp_path, program, ready_within_s=3)
    assert says in verdict.trouble
    assert verdict.trouble.startswith("Your program ")
    assert last_words in " ".join(verdict.log)
    assert all(len(line) <= 200 for line in verdict.log)
    assert not verdict.passed
    assert verdict.score == 0


ANSWERS = """
import socket, sys
def main(argv):
    port = int(argv[argv.index("--port") + 1])
    listening = socket.create_server(("127.0.0.1", port), reuse_port=True)
    while True:
        taken, _ = listening.accept()
        with taken:
            asked = taken.recv(65536)
            if asked.startswith(b"GET /health"):
                taken.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
            else:
                %s
"""
NONSENSE = {
    "is not HTTP": "taken.sendall(b'\\x00\\xff' * 10000)",
    "is not JSON": "taken.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nyes!')",
    "is another JSON": "taken.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\n[1, 2]')",
    "breaks off": "pass",
    "has no end": (
        "taken.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')\n"
        "                while True: taken.sendall(b'[' * 65536)"
    ),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_for_an_answer_is_a_feed_that_is_not_right(tmp_path: Path, case: str) -> None:
    verdict = tried("timeout", tmp_path, ANSWERS % NONSENSE[case])
    calm, *others = verdict.steps
    assert not calm.passed
    assert calm.looked_at
    assert not any(step.looked_at for step in others)


def test_the_student_s_program_has_no_key_to_any_other_door(tmp_path: Path) -> None:
    """Or it would take the fault off comments' door, and so seem to be patient."""
    peek = (
        "import os, time, urllib.request, urllib.error\n"
        "def main(argv):\n"
        "    time.sleep(1)\n"
        "    comments = next(word for word in argv if word.startswith('comments='))\n"
        "    url = comments.partition('=')[2]\n"
        "    request = urllib.request.Request(url + '/_lab/faults',\n"
        "        headers={'Lab-Token': os.environ['LAB_TOKEN']})\n"
        "    try:\n"
        "        urllib.request.urlopen(request)\n"
        "        print('open')\n"
        "    except urllib.error.HTTPError as error:\n"
        "        print('closed', error.code)\n"
    )
    verdict = tried("timeout", tmp_path, peek)
    assert verdict.log == ("closed 403",)


def test_where_the_lab_is_at_fault_there_is_no_verdict(tmp_path: Path) -> None:
    """The student's program is well, and another one of the stack is killed."""

    async def kill_another(bench: object) -> None:
        raise LabCannotRun("comments has ended.")

    exercise, file = begin("timeout", tmp_path)
    broken = Exercise("x", "X", "sync-chain", "query", (), kill_another)
    with pytest.raises(LabCannotRun, match="comments has ended"):
        asyncio.run(check(broken, file))
    assert exercise.part == broken.part


def test_a_check_that_takes_too_long_is_broken_off(tmp_path: Path) -> None:
    async def for_ever(bench: object) -> None:
        await asyncio.Event().wait()

    _, file = begin("timeout", tmp_path)
    endless = Exercise("x", "X", "sync-chain", "query", (), for_ever)
    with pytest.raises(LabCannotRun, match="this machine may be too busy"):
        asyncio.run(check(endless, file, limit_s=2))


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
    lines = formats.sentences(VERDICT, catalogue.find("timeout"))
    said = flat(" ".join(lines))
    assert "not yet It is <in time>. Seen: 4 s & more. Hint: Don't & wait." in said
    assert "Seen: calm" not in said
    assert max(map(len, lines)) <= 80
    assert "1 of 4 points" in said


# ── the command line ──────────────────────────────────────────────────────


def test_an_exercise_is_begun_listed_and_checked_from_the_command_line(tmp_path: Path) -> None:
    listed = lab("exercise", "list", cwd=tmp_path)
    assert all(name in listed.stdout for name in catalogue.EXERCISES)
    begun = lab("exercise", "start", "timeout", "mine", cwd=tmp_path)
    assert begun.returncode == 0
    assert sorted(one.name for one in (tmp_path / "mine").iterdir()) == [
        *("README.md", "exercise.txt", "query.py")
    ]
    (tmp_path / "mine" / "query.py").write_text("raise ValueError('no idea')")
    words = ("--json", "--junit", "junit.xml", "--gradescope", "results.json")
    checked = lab("exercise", "check", "mine", *words, cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (1, "")
    told = json.loads(checked.stdout)
    assert told["trouble"] == "Your program exited with status 1 before it was ready."
    assert ElementTree.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
    assert len(json.loads((tmp_path / "results.json").read_text())["tests"]) == 6
    left = [one for one in psutil.process_iter() if str(tmp_path) in " ".join(_words(one))]
    assert left == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_a_wrong_word_is_answered_with_what_there_is(tmp_path: Path) -> None:
    said = lab("exercise", "start", "tiemout", "mine", cwd=tmp_path)
    assert said.returncode == 2
    assert "There are: timeout" in flat(said.stderr)
    said = lab("exercise", "check", "nowhere", cwd=tmp_path)
    assert said.returncode == 2
    assert "lab exercise start timeout nowhere" in flat(said.stderr)


def test_a_second_start_overwrites_nothing(tmp_path: Path) -> None:
    _, file = begin("timeout", tmp_path)
    file.write_text("mine")
    said = lab("exercise", "start", "timeout", str(tmp_path), cwd=tmp_path)
    assert said.returncode == 2
    assert "stays as it is" in flat(said.stderr)
    assert file.read_text() == "mine"
