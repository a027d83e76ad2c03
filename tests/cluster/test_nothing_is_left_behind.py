"""However the lab ends, no process and no port stays in use, even with a suspended service."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cluster import process_tree as doctor
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Program, Supervisor
from tests.cluster.conftest import by_each_method
from tests.programs.a_lab import hello
from tests.programs.labs import WITHIN_S, ALab, assert_ended

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part on Linux")


@pytest.fixture
def a_lab(method: str, tmp_path: Path) -> Iterator[Any]:
    labs: list[ALab] = []

    def start(then: str = "waits") -> ALab:
        labs.append(ALab(tmp_path, then))
        return labs[-1]

    yield start
    for lab in labs:
        lab.clear_away()


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_to_the_lab_leaves_nothing(a_lab: Any, number: str) -> None:
    lab = a_lab()
    assert lab.services[1].status() == psutil.STATUS_STOPPED
    lab.process.send_signal(getattr(signal, number))
    lab.wait()
    lab.assert_nothing_is_left()


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_signal_to_the_fork_server_ends_its_children_too(a_lab: Any, number: str) -> None:
    lab = a_lab()
    lab.fork_server.send_signal(getattr(signal, number))
    assert_ended(lab.fork_server, *lab.services)


@pytest.mark.parametrize(("then", "says"), [("ends", ""), ("raises", "RuntimeError: as told")])
@by_each_method
def test_an_end_of_the_lab_leaves_nothing_but_its_message(a_lab: Any, then: str, says: str) -> None:
    lab = a_lab(then)
    said = lab.wait()
    assert said == says or (says and says in said)
    assert bool(lab.process.returncode) == bool(says)
    lab.assert_nothing_is_left()


@only_linux
def test_a_copied_socket_in_another_process_keeps_nothing_alive(a_lab: Any) -> None:
    lab = a_lab("forks")
    lab.process.kill()
    lab.process.wait(WITHIN_S)
    # The copy still holds the ports: check the processes only.
    assert_ended(lab.fork_server, *lab.services)
    assert lab.fork.is_running()
    lab.fork.kill()


def test_the_fork_server_ignores_ctrl_c(a_lab: Any) -> None:
    lab = a_lab("waits")
    lab.fork_server.send_signal(signal.SIGINT)
    lab.fork_server.send_signal(signal.SIGHUP)
    # It still works: it reports the exit of the child killed now, and guards the others.
    lab.services[0].kill()
    assert_ended(lab.services[0])
    assert lab.fork_server.is_running()
    lab.process.kill()
    lab.wait()
    lab.assert_nothing_is_left()


@by_each_method
def test_leftovers_of_a_killed_lab_are_found_and_ended(a_lab: Any) -> None:
    lab = a_lab()
    mine = {lab.fork_server.pid, *(service.pid for service in lab.services)}

    def left_over() -> list[doctor.Leftover]:
        return [item for item in doctor.find_leftovers() if item.pid in mine]

    assert not left_over(), "the lab lives"
    lab.fork_server.suspend()
    lab.process.kill()
    lab.wait()
    found = left_over()
    assert {item.pid for item in found} == mine
    assert all(item.run.startswith(f"{lab.process.pid}:") for item in found)
    for item in found:
        assert doctor.kill_leftover(item)
    lab.assert_nothing_is_left()
    assert not left_over()


async def test_a_program_deaf_to_sigterm_is_killed(method: str, tmp_path: Path) -> None:
    with reserve() as port:
        async with Supervisor([], tmp_path) as supervisor:
            await supervisor.start(hello("deaf", port.port, tmp_path, "--deaf"))
            process = psutil.Process(supervisor.pid("deaf"))
            await supervisor.stop(grace_s=0.05)
            assert await supervisor.wait("deaf", WITHIN_S) == -signal.SIGKILL
            assert not process.is_running()


@pytest.mark.parametrize("ending", ["kill", "stop"])
async def test_children_of_a_program_end_with_it(method: str, tmp_path: Path, ending: str) -> None:
    with reserve() as port:
        async with Supervisor([], tmp_path) as supervisor:
            program = hello("parent", port.port, tmp_path, "--child")
            await supervisor.start(program)
            grandchild = psutil.Process(int(program.log.read_text().split()[1]))
            await (supervisor.kill("parent") if ending == "kill" else supervisor.stop())
            assert_ended(grandchild)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_lab_ends_all_its_processes_first(
    method: str, tmp_path: Path, times: int
) -> None:
    processes: list[psutil.Process] = []
    up, stopping = asyncio.Event(), asyncio.Event()

    class Patient(Supervisor):
        async def stop(self, grace_s: float = 600.0) -> None:
            stopping.set()
            await super().stop(grace_s=600.0)

    async def lab() -> None:
        with reserve() as one, reserve() as other:
            async with Patient([], tmp_path) as supervisor:
                # Only a second cancellation kills a deaf service before its grace period is over.
                deaf = ["--deaf"] * (times - 1)
                await supervisor.start(hello("suspended", one.port, tmp_path))
                await supervisor.start(hello("awake", other.port, tmp_path, *deaf))
                await supervisor.suspend("suspended")
                pids = (
                    supervisor.pid("suspended"),
                    supervisor.pid("awake"),
                    supervisor._fork_server.pid,
                )
                processes.extend(map(psutil.Process, pids))
                up.set()
                await asyncio.Event().wait()

    running = asyncio.create_task(lab())
    await up.wait()
    running.cancel()
    if times == 2:
        await stopping.wait()
        running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(process.is_running() for process in processes)


async def test_a_cancelled_start_leaves_nothing(method: str, tmp_path: Path) -> None:
    never = "http://127.0.0.1:1/"
    program = Program("slow", "tests.programs.hello", (), tmp_path / "slow.log", health=never)
    async with Supervisor([], tmp_path) as supervisor:
        starting = asyncio.create_task(supervisor.start(program, ready_within_s=600))
        fork_server = psutil.Process(supervisor._fork_server.pid)
        while not (children := fork_server.children()):  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert not any(process.is_running() for process in [fork_server, *children])


def test_no_file_descriptor_of_the_lab_stays_open(method: str, tmp_path: Path) -> None:
    async def lab() -> None:
        with reserve() as port:
            async with Supervisor([], tmp_path) as supervisor:
                await supervisor.start(hello("posts", port.port, tmp_path))

    asyncio.run(lab())
    before = psutil.Process(os.getpid()).num_fds()
    asyncio.run(lab())
    assert psutil.Process(os.getpid()).num_fds() == before
