"""A misbehaving external service: named, bounded, and ended with all its processes."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from lab.cluster.errors import StartFailed
from lab.cluster.health import probe_health
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Supervisor
from lab.external.wrapper import MAX_BYTES
from tests.programs.a_keeping_lab import kept
from tests.programs.keeping_labs import STRAYS, WAYS_TO_END, AKeepingLab, try_out
from tests.programs.labs import assert_ended
from tests.support.course_world import until
from tests.support.patience import PATIENCE_S


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(["lab.external.wrapper"], tmp_path) as running:
        yield running


@pytest.fixture
def port() -> int:
    with reserve() as free:
        return free.port


FAMILY_SIZE = 3
"""The service, the child that it forks, and the grandchild that it daemonises."""


def noted_pids(folder: Path) -> list[str]:
    noted = folder / "family.txt"
    return noted.read_text().splitlines() if noted.exists() else []


async def started_processes(folder: Path) -> list[psutil.Process]:
    """All processes of the family. A daemon notes its pid after its parent listens already."""
    await until(lambda: len(noted_pids(folder)) == FAMILY_SIZE)
    return [psutil.Process(int(pid)) for pid in noted_pids(folder)]


async def health_status(port: int) -> int | None:
    return (await probe_health(f"http://127.0.0.1:{port}/", PATIENCE_S)).status


@pytest.mark.parametrize("method", ["fork", "exec"] if sys.platform == "linux" else ["exec"])
async def test_signals_reach_all_that_a_service_has_started(
    method: str, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_START", method)
    async with Supervisor(["lab.external.wrapper"], tmp_path) as supervisor:
        how = ("forks", "daemonises", "ignores_sigterm")
        await supervisor.start(kept("stray", tmp_path, port, *how))
        first = await started_processes(tmp_path)
        assert sorted(supervisor.descendant_pids("stray")) == sorted(one.pid for one in first)
        await supervisor.suspend("stray")
        assert {one.status() for one in first} == {psutil.STATUS_STOPPED}
        assert psutil.Process(supervisor.pid("stray")).status() != psutil.STATUS_STOPPED
        await supervisor.resume("stray")
        assert psutil.STATUS_STOPPED not in {one.status() for one in first}
        assert await health_status(port) == 200
        await supervisor.kill("stray")
        assert_ended(*first)
        assert await health_status(port) is None
        (tmp_path / "family.txt").unlink()
        await supervisor.restart("stray")
        assert await health_status(port) == 200
        second = await started_processes(tmp_path)
    assert_ended(*second)
    assert supervisor.unexpected_exits() == ()


async def test_a_million_lines_leave_a_small_log_with_the_last(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    program = kept("stray", tmp_path, port, "prints_a_million_lines")
    await supervisor.start(program)
    await until(lambda: b"\nthe last line\n" in program.log.read_bytes())
    log = program.log.read_bytes()
    assert len(log) <= MAX_BYTES
    assert b"are left out here" in log.splitlines()[0]
    assert psutil.Process(supervisor.pid("stray")).memory_info().rss < 150 * 2**20


async def test_a_command_that_can_not_be_run_is_named(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    with pytest.raises(StartFailed, match=r"There is no program './go' in"):
        await supervisor.start(kept("stray", tmp_path, port, command="./go"))
    (tmp_path / "go").write_text("#!/bin/sh\n")
    with pytest.raises(StartFailed, match=r"'./go' may not be run"):
        await supervisor.start(kept("stray", tmp_path, port, command="./go"))


@pytest.mark.parametrize("how", WAYS_TO_END)
def test_however_the_lab_ends_nothing_is_left(how: str, tmp_path: Path) -> None:
    lab = AKeepingLab(tmp_path, *STRAYS[0])
    try:
        lab.end(how)
    finally:
        lab.clear_away()


@pytest.mark.soak
@pytest.mark.parametrize("number", range(50))
def test_in_fifty_tries_nothing_is_left(number: int, tmp_path: Path) -> None:
    try_out(tmp_path, number)
