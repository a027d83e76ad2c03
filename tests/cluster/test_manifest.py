"""`lab manifest` is valid for its engine, and its programs survive the loss of one host of four."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lab.cluster.manifest import (
    MANIFESTS,
    NATS_CONFIGURATION,
    NODES,
    Container,
    containers,
    to_compose,
    to_kubernetes,
)
from lab.support.nats import find_server
from tests.support.command_line import invoke_lab
from tests.support.laboratory import eventually
from tests.support.small import ROOT

SCHEMAS = Path(__file__).parent / "schemas"
TOKEN = "the-token"


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / name).read_text("utf-8"))
    return found


@pytest.mark.parametrize("arrangement", MANIFESTS)
def test_compose_file_follows_its_schema(arrangement: str, tmp_path: Path) -> None:
    text = invoke_lab("manifest", arrangement, "--compose", cwd=tmp_path).stdout
    document = yaml.safe_load(text)
    jsonschema.Draft7Validator(schema("compose-spec.json")).validate(document)
    assert document == to_compose(arrangement)
    del document["services"]["posts"]["image"]
    document["services"]["posts"]["comand"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema("compose-spec.json")).validate(document)


@pytest.mark.parametrize("arrangement", MANIFESTS)
def test_kubernetes_objects_follow_their_schemas(arrangement: str, tmp_path: Path) -> None:
    document = yaml.safe_load(invoke_lab("manifest", arrangement, "--k8s", cwd=tmp_path).stdout)
    assert document == to_kubernetes(arrangement)
    kubernetes = schema("kubernetes-1.32.json")
    for item in document["items"]:
        kind = {"$ref": kubernetes["kinds"][item["kind"]]}
        validator = jsonschema.Draft202012Validator(kind | {"$defs": kubernetes["$defs"]})
        validator.validate(item)
        item["spec" if "spec" in item else "data"]["wrong"] = 1
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(item)


def test_no_manifest_contains_a_token() -> None:
    for arrangement in MANIFESTS:
        for service in to_compose(arrangement)["services"].values():
            assert "LAB_TOKEN" not in service.get("environment", {})
    assert to_compose("async-bus")["secrets"] == {"lab-token": {"environment": "LAB_TOKEN"}}


def test_a_wrong_manifest_command_says_what_to_try(tmp_path: Path) -> None:
    assert (
        "expected async-bus" in invoke_lab("manifest", "monolith", "--compose", cwd=tmp_path).stderr
    )
    assert "--compose (or --k8s)" in invoke_lab("manifest", "async-bus", cwd=tmp_path).stderr
    words = ("manifest", "async-bus", "--k8s", "--image", "")
    assert "expected the name of an image" in invoke_lab(*words, cwd=tmp_path).stderr


# ── Four hosts: network namespaces on one bridge

HOSTS = ("front", *NODES)
PLACE = {"moderation": "nats-1", "event-bus": "nats-2"} | {node: node for node in NODES}
"""On which host each container runs; the others run on `front`."""
RATE = 100
WRITING_S = 25


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """Each host is a network namespace, and so is the switch between them, which has an address
    for its clients alone."""

    def __init__(self) -> None:
        self.prefix = f"lab{os.getpid()}"
        self.running: dict[str, list[subprocess.Popen[bytes]]] = {host: [] for host in HOSTS}

    def address(self, container: str) -> str:
        return f"10.19.0.{10 + HOSTS.index(PLACE.get(container, 'front'))}"

    def create(self) -> None:
        switch = f"{self.prefix}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "address", "add", "10.19.0.1/24", "dev", "br0")
        ip("-n", switch, "link", "set", "br0", "up")
        for number, host in enumerate(HOSTS):
            space, port = f"{self.prefix}-{host}", f"p{number}"
            ip("netns", "add", space)
            ip("-n", switch, "link", "add", port, "type", "veth", "peer", "eth0", "netns", space)
            ip("-n", switch, "link", "set", port, "master", "br0", "up")
            ip("-n", space, "address", "add", f"10.19.0.{10 + number}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")

    def remove(self) -> None:
        for host in HOSTS:
            self.kill(host)
        for host in (*HOSTS, "switch"):
            subprocess.run(["ip", "netns", "delete", f"{self.prefix}-{host}"], check=False)

    def command(self, host: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.prefix}-{host}", *words]

    def start(self, container: Container, folder: Path) -> None:
        host = PLACE.get(container.name, "front")
        data = folder / container.name
        data.mkdir(exist_ok=True)
        (data / "lab.conf").write_text(NATS_CONFIGURATION.replace("/data", str(data)))
        paths = {"/data": str(data), "/etc/nats/lab.conf": str(data / "lab.conf")}
        programs = {"python": sys.executable, "nats-server": str(find_server())}
        words = [(paths | programs).get(word, word) for word in container.command]
        with (folder / f"{container.name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(host, *words),
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=os.environ | {"LAB_TOKEN": TOKEN},
            )
        self.running[host].append(process)

    def kill(self, host: str) -> None:
        """The cable first: a host without power closes no connection."""
        port = f"p{HOSTS.index(host)}"
        cable = ["ip", "-n", f"{self.prefix}-switch", "link", "set", port, "down"]
        subprocess.run(cable, check=False, capture_output=True)
        for process in self.running[host]:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def get(self, url: str) -> Any:
        """The JSON at `url`, for a client on the switch; None without a success."""
        fetch = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=5).read().decode())"
        command = self.command("switch", sys.executable, "-c", fetch)
        done = subprocess.run(command, capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None


@contextmanager
def four_hosts() -> Iterator[Hosts]:
    hosts = Hosts()
    with ExitStack() as ends:
        ends.callback(hosts.remove)
        try:
            hosts.create()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces can't be made here: {error}")
        yield hosts


def leader(hosts: Hosts) -> str | None:
    """The node that leads the stream."""
    found = hosts.get(f"http://{hosts.address('nats-0')}:8222/jsz?streams=1&accounts=1")
    accounts = (found or {}).get("account_details") or []
    streams = [stream for account in accounts for stream in account.get("stream_detail") or []]
    return streams[0].get("cluster", {}).get("leader") if streams else None


@pytest.mark.slow
def test_a_lost_host_of_four_loses_no_acknowledged_write(tmp_path: Path) -> None:
    with four_hosts() as hosts:
        parts = {part.name: part for part in containers("async-bus", address=hosts.address)}
        for part in parts.values():
            hosts.start(part, tmp_path)
        url = {
            name: f"http://{hosts.address(name)}:{part.ports[0]}" for name, part in parts.items()
        }
        services = [name for name in parts if name not in NODES]

        def restart_ended() -> bool:
            """What the engine would do: the gateway exits until the cluster is there."""
            for host, processes in hosts.running.items():
                for process in [one for one in processes if one.poll() is not None]:
                    processes.remove(process)
                    assert host == PLACE["event-bus"], f"something else ended on {host}"
                    hosts.start(parts["event-bus"], tmp_path)
            return all(hosts.get(f"{url[name]}/health") for name in services)

        eventually(restart_ended)
        led_by = eventually(lambda: leader(hosts))
        writer = subprocess.Popen(
            hosts.command(
                "switch",
                *(sys.executable, "-m", "tests.programs.steady_writer"),
                *(url["posts"], url["query"], str(RATE), str(WRITING_S)),
            ),
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            assert writer.stdout
            assert writer.stdout.readline() == "writing\n"
            killed_at = time.perf_counter()
            hosts.kill(led_by)
            report = json.loads(writer.stdout.read())
        finally:
            writer.kill()
            writer.wait()
        killed_s = killed_at - report["begun"]
        after = [seen - at for at, seen in report["both"] if at > killed_s - 1]
        sys.stdout.write(
            f"Host of the stream's leader killed: {report['acknowledged']} acknowledged, "
            f"{report['missing']} missing, visible after {max(after):.1f} s at most.\n"
        )
        assert report["missing"] == 0
        assert len(after) > RATE
