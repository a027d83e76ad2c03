"""The processes of the lab: started together, failures detected, faults injected and removed."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lab.cluster.errors import ForkServerLost, NotReady, NotRunning, StartFailed
from lab.cluster.forkserver import NICENESS
from lab.cluster.forkserver_client import ForkServerRefused, log_tail
from lab.cluster.health import probe_health
from lab.cluster.ports import Reservation, reserve
from lab.cluster.supervisor import Program, Supervisor
from tests.cluster.conftest import by_each_method
from tests.programs.labs import WITHIN_S

HELLO = "tests.programs.hello"

Hello = Callable[..., Program]


@pytest.fixture
async def supervisor(method: str, tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor([HELLO], tmp_path) as running:
        yield running


@pytest.fixture
def hello(tmp_path: Path) -> Iterator[Hello]:
    """Makes programs, each with its own port."""
    with contextlib.ExitStack() as held:

        def make(name: str, *argv: str, port: Reservation | None = None) -> Program:
            port = port or held.enter_context(reserve())
            argv = ("--port", str(port.port), *argv)
            url = f"http://127.0.0.1:{port.port}/health"
            log = tmp_path / f"{name}.log"
            return Program(name, HELLO, argv, log, health=url, ready_within_s=WITHIN_S)

        yield make


async def health_status(program: Program) -> int | None:
    return (await probe_health(program.health or "", WITHIN_S)).status


def job(name: str, folder: Path, *argv: str, **env: str) -> Program:
    return Program(name, HELLO, argv, folder / f"{name}.log", env)


@by_each_method
async def test_programs_started_together_are_all_ready(
    supervisor: Supervisor, hello: Hello
) -> None:
    programs = [hello(f"service-{n}") for n in range(5)]
    await supervisor.start(*programs)
    for program in programs:
        assert supervisor.alive(program.name)
        assert await health_status(program) == 200
    pids = {supervisor.pid(program.name) for program in programs}
    assert len(pids) == 5
    with pytest.raises(StartFailed, match="already running"):
        await supervisor.start(programs[0])
    assert supervisor.alive("service-0")
    assert supervisor.pid("service-0") in pids
    assert supervisor.unexpected_exits() == ()


@by_each_method
async def test_a_failed_start_names_the_program_and_its_log(
    supervisor: Supervisor, hello: Hello, tmp_path: Path
) -> None:
    with pytest.raises(StartFailed) as caught:
        await supervisor.start(hello("sound"), hello("sick", "--exit", "7"))
    assert (caught.value.name, caught.value.status) == ("sick", 7)
    assert caught.value.last_lines == tuple(f"line {n}" for n in range(2, 12))
    assert "sick exited with status 7 before it was ready" in str(caught.value)
    with pytest.raises(StartFailed, match="RuntimeError: no database") as caught:
        await supervisor.start(hello("posts", "--raise", "no database"))
    assert caught.value.status == 1
    ghost = replace(hello("ghost"), module="lab.no_such_module")
    with pytest.raises(StartFailed, match=r"lab\.no_such_module|No module named lab"):
        await supervisor.start(ghost)
    with pytest.raises(StartFailed) as caught:
        await supervisor.start(replace(hello("mute"), log=tmp_path / "no" / "such" / "folder.log"))
    assert caught.value.last_lines == ()
    assert "folder.log" in (tmp_path / "fork-server.log").read_text()


async def test_a_late_program_says_what_it_waits_for(
    supervisor: Supervisor, hello: Hello, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process that answers is up before the clock of the requested one starts, and its answer is
    # awaited.
    monkeypatch.setattr("lab.cluster.supervisor.HEALTH_WITHIN_S", WITHIN_S)
    waiting = hello("waiting", "--say", "waiting")
    await supervisor.start(replace(waiting, health=None))
    while await health_status(waiting) != 503:
        assert supervisor.alive("waiting")
    query = Program("query", HELLO, (), waiting.log, health=waiting.health)
    with pytest.raises(NotReady, match="it says it waits for event-bus") as caught:
        await supervisor.start(query, ready_within_s=0.5)
    assert caught.value.name == "query"


@by_each_method
async def test_a_killed_service_refuses_until_it_is_restarted(
    supervisor: Supervisor, hello: Hello
) -> None:
    posts = hello("posts")
    await supervisor.start(posts)
    first = supervisor.pid("posts")
    await supervisor.kill("posts")
    assert not supervisor.alive("posts")
    assert not psutil.pid_exists(first)
    refused = await probe_health(posts.health or "", WITHIN_S)
    assert refused.status is None
    assert "nothing listens" in (refused.reason or "")
    await supervisor.restart("posts")
    assert await health_status(posts) == 200
    assert supervisor.pid("posts") != first
    assert supervisor.unexpected_exits() == ()  # the exit was expected


async def test_a_suspended_service_does_not_answer_until_resumed_or_restarted(
    supervisor: Supervisor, hello: Hello
) -> None:
    posts = hello("posts")
    await supervisor.start(posts)
    for mend in (supervisor.resume, supervisor.restart):
        await supervisor.suspend("posts")
        assert psutil.Process(supervisor.pid("posts")).status() == psutil.STATUS_STOPPED
        silent = await probe_health(posts.health or "", timeout_s=0.1)
        assert silent.status is None
        assert "no answer comes" in (silent.reason or "")
        await mend("posts")
        assert await health_status(posts) == 200


async def test_an_ended_job_has_a_status_and_is_not_signalled(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.start(
        job("good", tmp_path, "--exit", "0"), job("bad", tmp_path, "--exit", "3")
    )
    assert await supervisor.wait("good", WITHIN_S) == 0
    assert await supervisor.wait("bad", WITHIN_S) == 3
    (failed,) = supervisor.unexpected_exits()
    assert (failed.name, failed.status) == ("bad", 3)
    with pytest.raises(NotRunning, match="bad, good"):
        await supervisor.wait("load", WITHIN_S)
    with pytest.raises(NotRunning, match="started again"):
        await supervisor.suspend("good")
    # Its pid may belong to another process by now.
    with pytest.raises(ForkServerRefused, match="good: has already ended"):
        await supervisor._fork_server.request(do="signal", name="good", number=int(signal.SIGTERM))


async def test_only_an_end_that_was_not_asked_for_is_recorded(
    supervisor: Supervisor, hello: Hello
) -> None:
    await supervisor.start(hello("posts"), hello("query"))
    await supervisor.terminate("posts")
    assert await supervisor.wait("posts", WITHIN_S) == -signal.SIGTERM
    assert supervisor.unexpected_exits() == ()
    os.kill(supervisor.pid("query"), signal.SIGTERM)
    assert await supervisor.wait("query", WITHIN_S) == -signal.SIGTERM
    (exit_,) = supervisor.unexpected_exits()
    assert (exit_.name, exit_.status) == ("query", -signal.SIGTERM)


@by_each_method
async def test_a_program_finds_itself_as_if_started_by_hand(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    facts = job("facts", tmp_path, "--facts", COLOUR="green")
    await supervisor.start(facts)
    assert await supervisor.wait("facts", WITHIN_S) == 0
    told = dict(line.split(" ", 1) for line in facts.log.read_text().splitlines())
    assert told["argv"] == "['--facts']"
    assert told["env"] == "green"
    assert told["blocked"] == "[]"
    assert "default_int_handler" in told["SIGINT"]
    assert all("SIG_DFL" in told[name] for name in ("SIGTERM", "SIGHUP", "SIGCHLD"))
    assert told["stdin"] == "b''"
    assert told["fds"] == "[0, 1, 2]"
    assert facts.log.stat().st_mode & 0o777 == 0o600


async def test_a_lost_fork_server_is_reported(supervisor: Supervisor, hello: Hello) -> None:
    await supervisor.start(hello("posts"))
    os.kill(supervisor._fork_server.pid, signal.SIGKILL)
    with pytest.raises(ForkServerLost):
        await supervisor.wait("posts", WITHIN_S)
    assert not supervisor.alive("posts")
    with pytest.raises(ForkServerLost, match="fork server"):
        await supervisor.restart("posts")


async def test_measured_programs_are_named_and_nicer_than_measuring_ones(
    supervisor: Supervisor, hello: Hello
) -> None:
    await supervisor.start(hello("posts"), replace(hello("load"), high_priority=True))
    pids = {name: supervisor.pid(name) for name in ("posts", "load")}
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in pids.items()}
    assert nice == {"posts": min(ours + NICENESS, 19), "load": ours}
    if sys.platform == "linux":
        # A fresh interpreter resets the process name to python; a fork keeps ours.
        names = {"lab-posts", Path(sys.executable).resolve().name, "python"}
        assert Path(f"/proc/{pids['posts']}/comm").read_text().strip() in names


def test_the_end_of_nodes_log_shows_the_error(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    stack = "    at resolve (node:internal/modules/esm/resolve:1188:11)\n" * 20
    log.write_text(f"Error: no axios\n{stack}    at async /a b/c.js:3:4 {{\n  code: 'X'\n}}\n")
    assert log_tail(log) == ["Error: no axios", "  code: 'X'", "}"]
