"""A badly behaved service of somebody else's: named, bounded, and ended with all it started."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from lab.cluster.errors import NotReady, StartFailed
from lab.cluster.health import ask_health
from lab.cluster.ports import reserve
from lab.cluster.supervisor import Supervisor
from lab.foreign.bounded_log import MOST_BYTES
from lab.foreign.whereabouts import elsewhere
from tests.programs.a_keeping_lab import kept
from tests.programs.keeping_labs import STRAYS, WAYS_TO_END, AKeepingLab, try_out
from tests.programs.labs import assert_ended

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(["lab.foreign.keeper"], tmp_path) as running:
        yield running


@pytest.fixture
def port() -> int:
    with reserve() as free:
        return free.port


def strays(folder: Path) -> list[psutil.Process]:
    pids = (folder / "family.txt").read_text().split()
    return [psutil.Process(int(pid)) for pid in pids]


@pytest.mark.usefixtures("method")
async def test_kill_and_restart_act_on_all_that_it_has_started(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    await supervisor.start(kept("stray", tmp_path, port, "forks", "daemonises"))
    first = strays(tmp_path)
    assert sorted(supervisor.kept("stray")) == sorted(one.pid for one in first)
    await supervisor.kill("stray")
    assert_ended(*first)
    assert (await ask_health(f"http://127.0.0.1:{port}/")).status is None
    await supervisor.restart("stray")
    assert (await ask_health(f"http://127.0.0.1:{port}/")).status == 200


@pytest.mark.usefixtures("method")
async def test_suspend_and_resume_act_on_all_that_it_has_started(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    await supervisor.start(kept("stray", tmp_path, port, "forks", "daemonises"))
    await supervisor.suspend("stray")
    assert {one.status() for one in strays(tmp_path)} == {psutil.STATUS_STOPPED}
    assert psutil.Process(supervisor.pid("stray")).status() != psutil.STATUS_STOPPED
    await supervisor.resume("stray")
    assert psutil.STATUS_STOPPED not in {one.status() for one in strays(tmp_path)}
    assert (await ask_health(f"http://127.0.0.1:{port}/")).status == 200


async def test_one_that_ignores_sigterm_is_ended_all_the_same(tmp_path: Path, port: int) -> None:
    async with Supervisor(["lab.foreign.keeper"], tmp_path) as supervisor:
        await supervisor.start(kept("stray", tmp_path, port, "forks", "ignores_sigterm"))
        left = strays(tmp_path)
    assert_ended(*left)
    assert supervisor.unexpected_exits() == ()


async def test_a_million_lines_leave_the_last_ones_in_a_small_file(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    program = kept("stray", tmp_path, port, "prints_a_million_lines")
    await supervisor.start(program, ready_within_s=30)
    log = program.log.read_bytes()
    assert len(log) <= MOST_BYTES
    assert b"are left out here" in log.splitlines()[0]
    assert b"\nthe last line\n" in log
    assert psutil.Process(supervisor.pid("stray")).memory_info().rss < 150 * 2**20


async def test_one_that_exits_is_named_with_its_last_lines(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    with pytest.raises(StartFailed) as caught:
        await supervisor.start(kept("stray", tmp_path, port, "exits"))
    assert caught.value.status == 3
    assert "stray exited with status 3 before it was ready" in str(caught.value)
    assert "Cannot find module 'express'" in str(caught.value)


async def test_a_command_that_is_not_there_is_named(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    with pytest.raises(StartFailed, match="There is no program 'nodee' on the PATH"):
        await supervisor.start(kept("stray", tmp_path, port, command="nodee"))
    with pytest.raises(StartFailed, match=r"There is no program './go' in"):
        await supervisor.start(kept("stray", tmp_path, port, command="./go"))
    (tmp_path / "go").write_text("#!/bin/sh\n")
    with pytest.raises(StartFailed, match=r"'./go' may not be run"):
        await supervisor.start(kept("stray", tmp_path, port, command="./go"))


async def test_one_that_never_listens_is_given_up_with_its_last_lines(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    program = kept("stray", tmp_path, port, "never_listens")
    program = replace(program, instead=partial(elsewhere, port=port))
    with pytest.raises(NotReady) as caught:
        await supervisor.start(program, ready_within_s=1.0)
    assert "It has not begun to listen anywhere" in str(caught.value)
    assert "waiting for a database" in str(caught.value)


async def test_of_one_that_listens_elsewhere_it_is_said_where(
    supervisor: Supervisor, tmp_path: Path, port: int
) -> None:
    with reserve() as nobody:
        program = replace(
            kept("stray", tmp_path, port),
            health=f"http://127.0.0.1:{nobody.port}/",
            instead=partial(elsewhere, port=nobody.port),
        )
        with pytest.raises(NotReady, match=f"It listens on port {port} instead"):
            await supervisor.start(program, ready_within_s=1.0)


@pytest.mark.parametrize("how", WAYS_TO_END)
def test_however_the_lab_ends_nothing_that_was_started_is_left(how: str, tmp_path: Path) -> None:
    lab = AKeepingLab(tmp_path, *STRAYS[0])
    try:
        lab.end(how)
    finally:
        lab.clear_away()


@pytest.mark.soak
@pytest.mark.parametrize("number", range(50))
def test_in_fifty_tries_nothing_is_left(number: int, tmp_path: Path) -> None:
    try_out(tmp_path, number)
