"""What students hand in when it is not yet a service: it crashes, hangs, floods its output, answers
nonsense, is never ready.

Whatever it does, the verdict is one clear message with the last lines of its log, the lab has done
nothing wrong, and nothing is left running.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab.cluster.errors import LabCannotRun
from lab.exercises import catalogue
from lab.exercises.bench import Bench
from lab.exercises.checking import LONGEST_LINE, check
from lab.exercises.exercise import Exercise, Piece, Verdict
from tests.support.handed_in import Files, begin, solution, verdict, verdicts

READY_WITHIN_S = 2.5
CHEAP = ("timeout", "starving", "likes")
"""A service of the chain, the bus itself, and one that comes as a guest."""

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


FIVE = {
    "crashes": ("raise ValueError('no idea')", "exited with status 1 before it", "no idea"),
    "hangs": (SLEEPS, "was not ready in time: nothing listens on port", "thinking"),
    "floods its output": (FLOODS, "It wrote 16 MiB of output, the most that is taken.", "flood"),
    "answers nonsense": (ANSWERS % OTHER_JSON, "", "here I am"),
    "is never ready": (WAITS, "was not ready in time: its health answer is 503", "here I am"),
}
"""What everybody hands in one day, with what is said about it, and the end of its log."""

NO_SERVICE = {
    "does not compile": ("def main(argv:", "exited with status 1", "SyntaxError"),
    "has no main": ("print('hello')", "exited with status 1", "no function main"),
    "ends at once": ("def main(argv): pass", "exited with status 0 before it was ready", ""),
    "is killed": (
        "import os\ndef main(argv): os.kill(os.getpid(), 9)",
        "was ended by signal 9",
        "",
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

Found = dict[tuple[str, str], Verdict | BaseException]


def breaking_later(case: str) -> tuple[str, Files]:
    name, file, line, instead, _ = BREAKS_LATER[case]
    files = solution(name)
    assert line in files[file]
    return name, {**files, file: files[file].replace(line, instead)}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Found:
    handed_in = {
        **{(name, case): in_it(name, FIVE[case][0]) for name in CHEAP for case in FIVE},
        **{("timeout", case): in_it("timeout", NO_SERVICE[case][0]) for case in NO_SERVICE},
        **{("timeout", case): in_it("timeout", ANSWERS % NONSENSE[case]) for case in NONSENSE},
        **{("later", case): breaking_later(case) for case in BREAKS_LATER},
    }
    folder = tmp_path_factory.mktemp("bad")
    return verdicts(handed_in, folder, ready_within_s=READY_WITHIN_S)


def in_it(name: str, program: str) -> tuple[str, Files]:
    """The program in the place of the exercise's last file."""
    return name, {catalogue.find(name).files[-1]: program}


def is_one_clear_message(found: Verdict | BaseException, says: str, last_words: str) -> None:
    assert isinstance(found, Verdict)
    assert not found.passed
    assert found.score == 0
    assert says in found.trouble
    if says:
        file = catalogue.find(found.exercise).files[-1]
        assert found.trouble.startswith(f"Your {file} ")
    assert last_words in " ".join(found.log)
    assert all(len(line) <= LONGEST_LINE for line in found.log)


@pytest.mark.parametrize("case", FIVE)
@pytest.mark.parametrize("name", CHEAP)
def test_a_program_that_is_no_service_is_one_clear_message(
    seen: Found, name: str, case: str
) -> None:
    is_one_clear_message(seen[name, case], *FIVE[case][1:])


@pytest.mark.soak
def test_so_it_is_in_every_exercise(tmp_path: Path) -> None:
    names = [name for name in catalogue.EXERCISES if name not in CHEAP]
    handed_in = {(name, case): in_it(name, FIVE[case][0]) for name in names for case in FIVE}
    for (_, case), found in verdicts(handed_in, tmp_path, ready_within_s=READY_WITHIN_S).items():
        is_one_clear_message(found, *FIVE[case][1:])


@pytest.mark.parametrize("case", NO_SERVICE)
def test_a_program_that_ends_is_one_clear_message(seen: Found, case: str) -> None:
    is_one_clear_message(seen["timeout", case], *NO_SERVICE[case][1:])


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_for_an_answer_is_a_feed_that_is_not_right(seen: Found, case: str) -> None:
    found = seen["timeout", case]
    assert isinstance(found, Verdict)
    calm, *others = found.steps
    assert not calm.passed
    assert calm.looked_at
    assert not any(step.looked_at for step in others)


@pytest.mark.parametrize("case", BREAKS_LATER)
def test_a_program_that_breaks_later_is_not_the_lab_s_fault(seen: Found, case: str) -> None:
    found = seen["later", case]
    assert isinstance(found, Verdict)
    assert not found.passed
    assert found.trouble == BREAKS_LATER[case][-1]


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
    assert verdict("timeout", tmp_path, {"query.py": peek}).log == ("closed 403",)


def test_where_the_lab_is_at_fault_there_is_no_verdict(tmp_path: Path) -> None:
    """The student's program is well, and another one of the stack is killed."""

    async def kill_another(bench: Bench) -> None:
        name = bench.stack.program("comments")
        os.kill(bench.stack.supervisor.pid(name), signal.SIGKILL)
        await bench.stack.supervisor.wait(name)

    begin("timeout", tmp_path)
    with pytest.raises(LabCannotRun, match="comments was ended by signal 9"):
        asyncio.run(check(checked_by(kill_another), tmp_path))


def test_a_check_that_takes_too_long_is_broken_off(tmp_path: Path) -> None:
    async def for_ever(bench: Bench) -> None:
        await asyncio.Event().wait()

    begin("timeout", tmp_path)
    with pytest.raises(LabCannotRun, match="this machine may be too busy"):
        asyncio.run(check(checked_by(for_ever), tmp_path, limit_s=3))


def checked_by(look: Callable[[Bench], Awaitable[None]]) -> Exercise:
    return Exercise("x", "X", (Piece("sync-chain", "query", "query.py"),), (), look)
