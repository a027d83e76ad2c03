"""The processes of the lab: started together, found out when they fail, broken and mended."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lab.cluster.errors import NotReady, NotRunning, NurseryLost, StartFailed
from lab.cluster.health import ask_health
from lab.cluster.link import NurseryRefused
from lab.cluster.ports import Reservation, reserve
from lab.cluster.process import GIVES_WAY
from lab.cluster.supervisor import Program, Supervisor

HELLO = "tests.programs.hello"
ROOT = Path(__file__).parents[2]

Hello = Callable[..., Program]


@pytest.fixture
async def supervisor(method: str, tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor([HELLO], tmp_path) as running:
        yield running


@pytest.fixture
def hello(tmp_path: Path) -> Iterator[Hello]:
    """Makes programs that each have a port of their own."""
    with contextlib.ExitStack() as held:

        def make(name: str, *argv: str, port: Reservation | None = None) -> Program:
            port = port or held.enter_context(reserve())
            argv = ("--port", str(port.port), *argv)
            url = f"http://127.0.0.1:{port.port}/health"
            return Program(name, HELLO, argv, tmp_path / f"{name}.log", health=url)

        yield make


def job(name: str, folder: Path, *argv: str, **env: str) -> Program:
    return Program(name, HELLO, argv, folder / f"{name}.log", env)


async def test_programs_started_together_are_all_ready(
    supervisor: Supervisor, hello: Hello
) -> None:
    programs = [hello(f"service-{n}") for n in range(5)]
    await supervisor.start(*programs)
    for program in programs:
        assert supervisor.alive(program.name)
        assert (await ask_health(program.health or "")).status == 200
    assert len({supervisor.pid(program.name) for program in programs}) == 5
    assert supervisor.unexpected_exits() == ()


async def test_a_program_that_ends_at_start_is_named_with_the_end_of_its_log(
    supervisor: Supervisor, hello: Hello
) -> None:
    with pytest.raises(StartFailed) as caught:
        await supervisor.start(hello("sound"), hello("sick", "--exit", "7"))
    assert (caught.value.name, caught.value.status) == ("sick", 7)
    assert caught.value.last_lines == tuple(f"line {n}" for n in range(2, 12))
    assert "sick exited with status 7 before it was ready" in str(caught.value)


async def test_an_exception_in_a_program_is_told_with_its_traceback(
    supervisor: Supervisor, hello: Hello
) -> None:
    with pytest.raises(StartFailed, match="RuntimeError: no database") as caught:
        await supervisor.start(hello("posts", "--raise", "no database"))
    assert caught.value.status == 1


async def test_a_module_that_does_not_exist_is_a_failed_start(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    url = "http://127.0.0.1:1/health"
    with pytest.raises(StartFailed, match=r"lab\.no_such_module|No module named lab"):
        await supervisor.start(
            Program("ghost", "lab.no_such_module", (), tmp_path / "log", health=url)
        )


async def test_a_log_that_cannot_be_written_is_a_failed_start(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "no" / "such" / "folder.log"
    with pytest.raises(StartFailed) as caught:
        await supervisor.start(Program("posts", HELLO, (), log, health="http://127.0.0.1:1/"))
    assert caught.value.last_lines == ()
    assert "folder.log" in (tmp_path / "nursery.log").read_text()


async def test_a_program_that_is_not_ready_in_time_says_what_it_waits_for(
    supervisor: Supervisor, hello: Hello
) -> None:
    # The process that answers is up before the clock of the one that is asked for begins to run.
    waiting = hello("waiting", "--say", "waiting")
    await supervisor.start(replace(waiting, health=None))
    while (await ask_health(waiting.health or "")).status != 503:
        assert supervisor.alive("waiting")
    query = Program("query", HELLO, (), waiting.log, health=waiting.health)
    with pytest.raises(NotReady, match="it says it waits for event-bus") as caught:
        await supervisor.start(query, ready_within_s=0.05)
    assert caught.value.name == "query"


async def test_a_killed_service_refuses_and_a_restarted_one_answers_on_the_same_port(
    supervisor: Supervisor, hello: Hello
) -> None:
    posts = hello("posts")
    await supervisor.start(posts)
    first = supervisor.pid("posts")
    await supervisor.kill("posts")
    assert not supervisor.alive("posts")
    assert not psutil.pid_exists(first)
    refused = await ask_health(posts.health or "")
    assert refused.status is None
    assert "nothing listens" in (refused.waits_for or "")
    await supervisor.restart("posts")
    assert (await ask_health(posts.health or "")).status == 200
    assert supervisor.pid("posts") != first
    assert supervisor.unexpected_exits() == ()  # It was told to.


async def test_a_suspended_service_takes_connections_and_answers_none_until_resumed(
    supervisor: Supervisor, hello: Hello
) -> None:
    posts = hello("posts")
    await supervisor.start(posts)
    await supervisor.suspend("posts")
    assert psutil.Process(supervisor.pid("posts")).status() == psutil.STATUS_STOPPED
    silent = await ask_health(posts.health or "", timeout_s=0.1)
    assert silent.status is None
    assert "nobody answers" in (silent.waits_for or "")
    await supervisor.resume("posts")
    assert (await ask_health(posts.health or "")).status == 200


async def test_a_suspended_service_can_be_killed_and_restarted(
    supervisor: Supervisor, hello: Hello
) -> None:
    posts = hello("posts")
    await supervisor.start(posts)
    await supervisor.suspend("posts")
    await supervisor.restart("posts")
    assert (await ask_health(posts.health or "")).status == 200


async def test_a_job_is_waited_for_and_its_status_told(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.start(
        job("good", tmp_path, "--exit", "0"), job("bad", tmp_path, "--exit", "3")
    )
    assert await supervisor.wait("good", timeout_s=10) == 0
    assert await supervisor.wait("bad", timeout_s=10) == 3
    (failed,) = supervisor.unexpected_exits()
    assert (failed.name, failed.status) == ("bad", 3)
    with pytest.raises(NotRunning, match="bad, good"):
        await supervisor.wait("load", timeout_s=10)


async def test_a_terminated_program_ends_as_it_was_told(
    supervisor: Supervisor, hello: Hello
) -> None:
    await supervisor.start(hello("posts"))
    await supervisor.terminate("posts")
    assert await supervisor.wait("posts", timeout_s=10) == -signal.SIGTERM
    assert supervisor.unexpected_exits() == ()


async def test_an_end_that_nobody_asked_for_is_recorded(
    supervisor: Supervisor, hello: Hello
) -> None:
    await supervisor.start(hello("posts"))
    os.kill(supervisor.pid("posts"), signal.SIGTERM)
    assert await supervisor.wait("posts", timeout_s=10) == -signal.SIGTERM
    (exit_,) = supervisor.unexpected_exits()
    assert (exit_.name, exit_.status) == ("posts", -signal.SIGTERM)


async def test_a_program_finds_itself_as_if_started_by_hand(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    facts = job("facts", tmp_path, "--facts", COLOUR="green")
    await supervisor.start(facts)
    assert await supervisor.wait("facts", timeout_s=10) == 0
    told = dict(line.split(" ", 1) for line in facts.log.read_text().splitlines())
    assert told["argv"] == "['--facts']"
    assert told["env"] == "green"
    assert told["blocked"] == "[]"
    assert "default_int_handler" in told["SIGINT"]
    assert all("SIG_DFL" in told[name] for name in ("SIGTERM", "SIGHUP", "SIGCHLD"))
    assert told["stdin"] == "b''"
    assert told["fds"] == "[0, 1, 2]"
    assert facts.log.stat().st_mode & 0o777 == 0o600


async def test_the_nursery_signals_nobody_in_place_of_a_child_it_has_reaped(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.start(job("brief", tmp_path, "--exit", "0"))
    await supervisor.wait("brief", timeout_s=10)
    with pytest.raises(NurseryRefused, match="brief: has already ended"):
        await supervisor._link.ask(do="signal", name="brief", number=int(signal.SIGTERM))
    with pytest.raises(NotRunning, match="started again"):
        await supervisor.suspend("brief")


async def test_the_same_name_does_not_run_twice(supervisor: Supervisor, hello: Hello) -> None:
    posts = hello("posts")
    await supervisor.start(posts)
    pid = supervisor.pid("posts")
    with pytest.raises(StartFailed, match="already running"):
        await supervisor.start(posts)
    assert supervisor.pid("posts") == pid
    assert supervisor.alive("posts")


async def test_whoever_asks_a_lost_nursery_is_told(supervisor: Supervisor, hello: Hello) -> None:
    await supervisor.start(hello("posts"))
    os.kill(supervisor._link.pid, signal.SIGKILL)
    with pytest.raises(NurseryLost):
        await supervisor.wait("posts", timeout_s=10)
    assert not supervisor.alive("posts")
    with pytest.raises(NurseryLost, match="nursery"):
        await supervisor.restart("posts")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/comm")
async def test_ps_shows_a_program_by_its_name(supervisor: Supervisor, hello: Hello) -> None:
    await supervisor.start(hello("posts"))
    comm = Path(f"/proc/{supervisor.pid('posts')}/comm")
    # A fresh interpreter takes python's name again; the fork keeps ours.
    assert comm.read_text().strip() in {"lab-posts", Path(sys.executable).resolve().name, "python"}


async def test_what_is_measured_gives_way_to_what_measures_it(
    supervisor: Supervisor, hello: Hello
) -> None:
    await supervisor.start(hello("posts"), replace(hello("load"), measures=True))
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {
        name: os.getpriority(os.PRIO_PROCESS, supervisor.pid(name)) for name in ("posts", "load")
    }
    assert nice == {"posts": min(ours + GIVES_WAY, 19), "load": ours}
