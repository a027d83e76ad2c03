"""However the lab ends, and whether or not a service is suspended: no process, no port is left."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.cluster import leftovers as doctor
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Program, Supervisor
from tests.programs.a_lab import hello
from tests.programs.labs import WITHIN_S, ALab, assert_ended

ROOT = Path(__file__).parents[2]
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


def test_an_exception_in_the_lab_leaves_nothing_and_is_not_swallowed(a_lab: Any) -> None:
    lab = a_lab("raises")
    assert "RuntimeError: as told" in lab.wait()
    lab.assert_nothing_is_left()


def test_an_orderly_end_leaves_nothing(a_lab: Any) -> None:
    lab = a_lab("ends")
    assert lab.wait() == ""
    assert lab.process.returncode == 0
    lab.assert_nothing_is_left()


@only_linux
def test_a_copy_of_the_socket_in_another_process_keeps_nothing_alive(a_lab: Any) -> None:
    lab = a_lab("forks")
    lab.process.kill()
    lab.process.wait(WITHIN_S)
    # The ports are still held by the copy: only the processes are looked at.
    assert_ended(lab.nursery, *lab.services)
    assert lab.fork.is_running()
    lab.fork.kill()


def test_sigkill_of_the_nursery_ends_its_children_too(a_lab: Any) -> None:
    lab = a_lab()
    lab.nursery.kill()
    assert_ended(lab.nursery, *lab.services)


def test_sigterm_to_the_nursery_ends_its_children_too(a_lab: Any) -> None:
    lab = a_lab()
    lab.nursery.terminate()
    assert_ended(lab.nursery, *lab.services)


def test_the_nursery_heeds_no_ctrl_c(a_lab: Any) -> None:
    lab = a_lab("waits")
    lab.nursery.send_signal(signal.SIGINT)
    lab.nursery.send_signal(signal.SIGHUP)
    # It still does its work: it reports the end of the child that is killed now, and guards.
    lab.services[0].kill()
    assert_ended(lab.services[0])
    assert lab.nursery.is_running()
    lab.process.kill()
    lab.wait()
    lab.assert_nothing_is_left()


def test_what_a_killed_lab_leaves_while_its_nursery_is_suspended_is_found_and_ended(
    a_lab: Any,
) -> None:
    lab = a_lab()
    lab.nursery.suspend()
    lab.process.kill()
    lab.wait()
    mine = {lab.nursery.pid, *(service.pid for service in lab.services)}
    found = [item for item in doctor.leftovers() if item.pid in mine]
    assert {item.pid for item in found} == mine
    assert all(item.run.startswith(f"{lab.process.pid}:") for item in found)
    for item in found:
        assert doctor.end(item)
    lab.assert_nothing_is_left()
    assert not [item for item in doctor.leftovers() if item.pid in mine]


def test_the_processes_of_a_living_lab_are_no_leftovers(a_lab: Any) -> None:
    lab = a_lab()
    mine = {lab.nursery.pid, *(service.pid for service in lab.services)}
    assert not [item for item in doctor.leftovers() if item.pid in mine]


async def test_a_program_deaf_to_sigterm_is_killed(method: str, tmp_path: Path) -> None:
    with reserve() as port:
        async with Supervisor([], tmp_path) as supervisor:
            await supervisor.start(hello("deaf", port.port, tmp_path, "--deaf"))
            process = psutil.Process(supervisor.pid("deaf"))
            await supervisor.stop(grace_s=0.05)
            assert not process.is_running()
            assert await supervisor.wait("deaf", timeout_s=1) == -signal.SIGKILL


@pytest.mark.parametrize("ending", ["kill", "stop"])
async def test_what_a_program_started_itself_ends_with_it(
    method: str, tmp_path: Path, ending: str
) -> None:
    with reserve() as port:
        async with Supervisor([], tmp_path) as supervisor:
            program = hello("parent", port.port, tmp_path, "--child")
            await supervisor.start(program)
            grandchild = psutil.Process(int(program.log.read_text().split()[1]))
            await (supervisor.kill("parent") if ending == "kill" else supervisor.stop())
            assert_ended(grandchild)


async def test_a_cancelled_lab_stops_everything_before_it_ends(method: str, tmp_path: Path) -> None:
    processes: list[psutil.Process] = []
    up = asyncio.Event()

    async def lab() -> None:
        with reserve() as port:
            async with Supervisor([], tmp_path) as supervisor:
                await supervisor.start(hello("posts", port.port, tmp_path))
                await supervisor.suspend("posts")
                processes.append(psutil.Process(supervisor.pid("posts")))
                processes.append(psutil.Process(supervisor._link.pid))
                up.set()
                await asyncio.Event().wait()

    running = asyncio.create_task(lab())
    await up.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(process.is_running() for process in processes)


async def test_a_second_cancellation_ends_everything_at_once(method: str, tmp_path: Path) -> None:
    processes: list[psutil.Process] = []
    up, stopping = asyncio.Event(), asyncio.Event()

    class Slow(Supervisor):
        async def stop(self, grace_s: float = 60.0) -> None:
            stopping.set()
            await super().stop(grace_s=60.0)

    async def lab() -> None:
        with reserve() as port:
            async with Slow([], tmp_path) as supervisor:
                await supervisor.start(hello("deaf", port.port, tmp_path, "--deaf"))
                processes.append(psutil.Process(supervisor.pid("deaf")))
                processes.append(psutil.Process(supervisor._link.pid))
                up.set()
                await asyncio.Event().wait()

    running = asyncio.create_task(lab())
    await up.wait()
    running.cancel()
    await stopping.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(process.is_running() for process in processes)


async def test_a_start_that_is_cancelled_leaves_nothing(method: str, tmp_path: Path) -> None:
    program = Program(
        "slow", "tests.programs.hello", (), tmp_path / "slow.log", health="http://127.0.0.1:1/"
    )
    async with Supervisor([], tmp_path) as supervisor:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(supervisor.start(program), timeout=0.3)
        nursery = psutil.Process(supervisor._link.pid)
        children = nursery.children()
    assert not any(process.is_running() for process in [nursery, *children])


def test_no_file_descriptor_of_the_lab_stays_open(method: str, tmp_path: Path) -> None:
    async def lab() -> None:
        with reserve() as port:
            async with Supervisor([], tmp_path) as supervisor:
                await supervisor.start(hello("posts", port.port, tmp_path))

    asyncio.run(lab())
    before = psutil.Process(os.getpid()).num_fds()
    asyncio.run(lab())
    assert psutil.Process(os.getpid()).num_fds() == before
