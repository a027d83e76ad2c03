"""What students hand in when it is not yet a service: it crashes, hangs, floods its output, answers
nonsense, is never ready.

Whatever it does, the verdict is one clear message with the last lines of its log, the lab has done
nothing wrong, and nothing is left running.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.cluster.errors import LabCannotRun
from lab.exercises import catalogue, checking
from lab.exercises.bench import Bench
from lab.exercises.checking import LONGEST_LINE, check
from lab.exercises.exercise import LIMIT_S, Exercise, Piece, Verdict
from tests.programs.unhurried import HANGS_AFTER_S, PATIENCE_S
from tests.support.handed_in import (
    Files,
    begin,
    give_up_after_the_first_words,
    selected,
    solution,
    verdict,
    verdicts,
)

CHEAP = ("timeout", "starving", "likes")
"""A service of the chain, the bus itself, and one that comes as a guest."""
ITS_END_S = 2

ANSWERS = """
import socket, sys
def main(argv):
    print("here I am", flush=True)
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
WAITS = ANSWERS.replace("200 OK", "503 No") % "pass"
SLEEPS = "import time\ndef main(argv):\n    print('thinking')\n    time.sleep(600)"
FLOODS = "def main(argv):\n    while True:\n        print('flood ' * 1000)"
OTHER_JSON = "taken.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\n[1, 2]')"
NONSENSE = {
    "is not HTTP": "taken.sendall(b'\\x00\\xff' * 10000)",
    "is not JSON": "taken.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nyes!')",
    "breaks off": "pass",
    "has no end": (
        "taken.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')\n"
        "                while True: taken.sendall(b'[' * 65536)"
    ),
}


class Bad(NamedTuple):
    """A program that is no service, what is said about it, and the end of its log."""

    program: str
    says: str
    last_words: str = ""


FIVE = {
    "crashes": Bad("raise ValueError('no idea')", "exited with status 1 before it", "no idea"),
    "hangs": Bad(SLEEPS, "was not ready in time: nothing listens on port", "thinking"),
    "floods its output": Bad(FLOODS, "It wrote 16 MiB of output, the most that is taken.", "flood"),
    "answers nonsense": Bad(ANSWERS % OTHER_JSON, "", "here I am"),
    "is never ready": Bad(WAITS, "was not ready in time: its health answer is 503", "here I am"),
}
"""What everybody hands in one day."""

NO_SERVICE = {
    "does not compile": Bad("def main(argv:", "exited with status 1", "SyntaxError"),
    "has no main": Bad("print('hello')", "exited with status 1", "no function main"),
    "ends at once": Bad("def main(argv): pass", "exited with status 0 before it was ready"),
    "is killed": Bad("import os\ndef main(argv): os.kill(os.getpid(), 9)", "was ended by signal 9"),
    "starts others": Bad(
        "import subprocess, sys\n"
        "def main(argv):\n"
        "    sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "    subprocess.Popen(sleep)\n"
        "    subprocess.Popen(sleep, start_new_session=True)\n",
        "before it was ready",
    ),
}
HANDLER = "    posts = know_posts(limit, before)\n"
BREAKS_LATER = {
    "ends in the middle": (
        *("timeout", "query.py", HANDLER, "    import os; os._exit(7)\n"),
        "Your query.py exited with status 7 while it was checked.",
    ),
    "stands still": (
        "timeout",
        "query.py",
        HANDLER,
        "    import os; os.kill(os.getpid(), 19)\n",
        "",
    ),
    "can be started only once": (
        *("likes", "async_bus/likes.py", "TABLE IF NOT EXISTS likes", "TABLE likes"),
        "Your async_bus/likes.py exited with status 1 before it was ready.",
    ),
}
"""A right one with another line in it, and what is said about it."""


def in_it(name: str, program: str) -> tuple[str, Files]:
    """The program in the place of the exercise's last file."""
    return name, {catalogue.find(name).files[-1]: program}


def breaking_later(case: str) -> tuple[str, Files]:
    name, file, line, instead, _ = BREAKS_LATER[case]
    files = solution(name)
    assert line in files[file]
    return name, {**files, file: files[file].replace(line, instead)}


NO_SERVICES = [
    *((name, case) for name in CHEAP for case in FIVE),
    *(("timeout", case) for case in NO_SERVICE),
]
NONSENSICAL = [("timeout", case) for case in NONSENSE]
LATER = [("later", case) for case in BREAKS_LATER]
QUICKEST = {("timeout", "crashes"), ("later", "ends in the middle")}
Found = Mapping[tuple[str, str], Verdict | BaseException]


def handed_in(case: tuple[str, str]) -> tuple[str, Files]:
    name, how = case
    if case in LATER:
        return breaking_later(how)
    bad = FIVE.get(how) or NO_SERVICE.get(how)
    return in_it(name, bad.program if bad else ANSWERS % NONSENSE[how])


def some_slow(cases: list[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(one, marks=[] if one in QUICKEST else pytest.mark.slow, id=", ".join(one))
        for one in cases
    ]


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    these = {case: handed_in(case) for case in selected(request, "case")}
    with pytest.MonkeyPatch.context() as patch:
        give_up_after_the_first_words(patch)
        return verdicts(these, tmp_path_factory.mktemp("bad"), patience=1)


def is_one_clear_message(found: Verdict | BaseException, bad: Bad) -> None:
    assert isinstance(found, Verdict), found
    assert not found.passed
    assert found.score == 0
    assert bad.says in found.trouble
    if bad.says:
        file = catalogue.find(found.exercise).files[-1]
        assert found.trouble.startswith(f"Your {file} ")
    assert bad.last_words in " ".join(found.log)
    assert all(len(line) <= LONGEST_LINE for line in found.log)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", some_slow(NO_SERVICES))
def test_a_program_that_is_no_service_is_one_clear_message(
    seen: Found, case: tuple[str, str]
) -> None:
    is_one_clear_message(seen[case], FIVE.get(case[1]) or NO_SERVICE[case[1]])


@pytest.mark.soak
def test_so_it_is_in_every_exercise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_up_after_the_first_words(monkeypatch)
    names = [name for name in catalogue.EXERCISES if name not in CHEAP]
    these = {(name, case): in_it(name, FIVE[case].program) for name in names for case in FIVE}
    for (_, case), found in verdicts(these, tmp_path, patience=1).items():
        is_one_clear_message(found, FIVE[case])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", some_slow(NONSENSICAL))
def test_nonsense_for_an_answer_is_a_wrong_feed(seen: Found, case: tuple[str, str]) -> None:
    found = seen[case]
    assert isinstance(found, Verdict)
    calm, *others = found.steps
    assert not calm.passed
    assert calm.looked_at
    assert not any(step.looked_at for step in others)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", some_slow(LATER))
def test_a_program_that_breaks_later_is_not_the_lab_s_fault(
    seen: Found, case: tuple[str, str]
) -> None:
    found = seen[case]
    assert isinstance(found, Verdict)
    assert not found.passed
    assert found.trouble == BREAKS_LATER[case[1]][-1]


def test_the_student_s_program_has_no_key_to_another_door(tmp_path: Path) -> None:
    """Or it would take the fault off comments' door, and so seem to be patient."""
    peek = (
        "import os, time, urllib.request, urllib.error\n"
        "def main(argv):\n"
        "    comments = next(word for word in argv if word.startswith('comments='))\n"
        "    url = comments.partition('=')[2]\n"
        "    request = urllib.request.Request(url + '/_lab/faults',\n"
        "        headers={'Lab-Token': os.environ['LAB_TOKEN']})\n"
        "    while True:\n"
        "        try:\n"
        "            urllib.request.urlopen(request)\n"
        "            return print('open')\n"
        "        except urllib.error.HTTPError as error:\n"
        "            return print('closed', error.code)\n"
        "        except OSError:\n"
        "            time.sleep(0.05)  # comments is not there yet\n"
    )
    assert verdict("timeout", tmp_path, {"query.py": peek}).log == ("closed 403",)


def test_where_the_lab_is_at_fault_there_is_no_verdict(tmp_path: Path) -> None:
    """The student's program is well, and another one of the stack is killed."""

    async def kill_another(bench: Bench) -> None:
        name = bench.stack.program("comments")
        os.kill(bench.stack.supervisor.pid(name), signal.SIGKILL)
        await bench.stack.supervisor.wait(name)

    begin("timeout", tmp_path)
    with pytest.raises(LabCannotRun, match="comments was ended by signal 9"):
        asyncio.run(check(checked_by(kill_another), tmp_path, HANGS_AFTER_S, PATIENCE_S))


def test_a_check_that_takes_too_long_is_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is up as soon as it looks: before that a busy machine may need all of it."""
    limits, timeout = [], asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        made = timeout(seconds)
        if seconds == HANGS_AFTER_S:
            limits.append(made)
        return made

    async def for_ever(bench: Bench) -> None:
        (limit,) = limits
        limit.reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    monkeypatch.setattr(checking.asyncio, "timeout", noted)
    begin("timeout", tmp_path)
    with pytest.raises(LabCannotRun, match="this machine may be too busy"):
        asyncio.run(check(checked_by(for_ever), tmp_path, HANGS_AFTER_S, PATIENCE_S))
    assert LIMIT_S + ITS_END_S <= 30  # as docs/guarantees.md has it


def checked_by(look: Callable[[Bench], Awaitable[None]]) -> Exercise:
    return Exercise("x", "X", (Piece("sync-chain", "query", "query.py"),), (), look)
