"""The engines of the bus: the program of each, and the arguments and addresses for it.

An existing NATS cluster is given as a URL: `nats://[LOGIN@]HOST:PORT[,…]`. It is probed before
anything is started, on a bare socket: the protocol is lines of text, and a problem should be
reported within seconds, by a process that has not loaded the client library. The login is passed in
the environment only, and never printed.
"""

import json
import os
import re
import secrets
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from io import BufferedRWPair
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lab.cluster.errors import LabCannotRun
from lab.domain.services import BUS, SUBSCRIBERS

# ── An existing NATS cluster

SCHEME = "nats://"
LOGIN = "LAB_BUS_LOGIN"
"""The variable for USER:PASSWORD or a token. The lab reads it if the URL has no login, and sets it
for the programs that it starts."""
ASK_WITHIN_S = 2.0
_PORT = 4222
_LINE_BYTES = 1 << 16
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")
_EXPECTED_FORM = "It was meant to be nats://HOST:PORT, or nats://USER:PASSWORD@HOST:PORT."


class ClusterCannotBeUsed(LabCannotRun):
    """The cluster can't be reached, or lacks what the lab needs."""


@dataclass(frozen=True)
class NatsCluster:
    """`servers`: host and port of each. `login`: USER:PASSWORD or a token, as in the URL."""

    servers: tuple[tuple[str, int], ...]
    login: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The URL without the login, safe to print."""
        return SCHEME + ",".join(f"{host}:{port}" for host, port in self.servers)


def is_existing(bus: object) -> bool:
    """Whether the switch `bus` gives an existing cluster, not an engine that the lab starts."""
    return isinstance(bus, str) and "://" in bus


def parse_cluster_url(bus: str) -> NatsCluster:
    """Parse the URL of a cluster. The login comes from the environment if the URL has none.

    Raises ValueError with a sentence that does not contain the login.
    """
    login, _, hosts = bus.removeprefix(SCHEME).rpartition("@")
    if not bus.startswith(SCHEME):
        raise ValueError(
            f"saw {redact_login(bus)!r}, which begins with another word. {_EXPECTED_FORM}"
        )
    if "/" in hosts or "?" in hosts:
        raise ValueError(
            f"saw {redact_login(bus)!r}, with a stream or options at its end. The lab makes a "
            f"stream of its own there, and removes it. {_EXPECTED_FORM}"
        )
    servers = []
    for one in hosts.split(","):
        match = _HOST.fullmatch(one)
        if not match or not 0 < int(match["port"] or _PORT) < 65_536:
            raise ValueError(f"saw {one!r}, which is no HOST:PORT. {_EXPECTED_FORM}")
        servers.append((match["host"], int(match["port"] or _PORT)))
    return NatsCluster(tuple(servers), login or os.environ.get(LOGIN, ""))


def redact_login(bus: object) -> object:
    """The value of the switch `bus`, safe to print."""
    if not isinstance(bus, str) or "@" not in bus:
        return bus
    scheme, separator, _ = bus.partition("://")
    return f"{scheme if separator else ''}{separator}{bus.rpartition('@')[2]}"


def redact_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's options, safe to print and to save."""
    return {name: redact_login(of) if name == "bus" else of for name, of in options.items()}


def probe_cluster(cluster: NatsCluster) -> None:
    """Return if one of the servers accepts us and has JetStream. Raises ClusterCannotBeUsed."""
    problems = []
    for host, port in cluster.servers:
        address = f"{host}:{port}"
        try:
            with closing(socket.create_connection((host.strip("[]"), port), ASK_WITHIN_S)) as sock:
                sock.settimeout(ASK_WITHIN_S)
                with sock.makefile("rwb") as talk:
                    problem = _find_problem(talk, cluster.login)
        except TimeoutError:
            problem = "does not answer. Is it a NATS server, and is this the port for its clients?"
        except (OSError, ValueError) as error:
            problem = (
                f"can't be reached ({_describe_error(error)}). "
                "Is it up, and is the port the right one?"
            )
        if problem is None:
            return
        problems.append(f"The NATS server {address} {problem}")
    raise ClusterCannotBeUsed(
        "\n".join([*problems, "Without --bus the lab starts a bus of its own."])
    )


def _find_problem(stream: BufferedRWPair, login: str) -> str | None:
    """Why the server at the other end can't be used, in words; None if it can."""
    verb, _, server_info = stream.readline(_LINE_BYTES).partition(b" ")
    if verb != b"INFO":
        return "answers, but it does not speak as NATS does. Is this the port for its clients?"
    if json.loads(server_info).get("tls_required"):
        return "wants TLS, which the lab does not speak. Take one on a network that you trust."
    connect_options = {
        "verbose": False,
        "pedantic": False,
        "lang": "lab",
        "version": "1",
        "protocol": 1,
    }
    connect_options |= {"headers": True, "no_responders": True, **_credentials(login)}
    stream.write(b"CONNECT " + json.dumps(connect_options).encode() + b"\r\nPING\r\n")
    stream.flush()
    if (line := _next_line(stream)) != b"PONG":
        refused = line.removeprefix(b"-ERR ").strip(b"'").decode(errors="replace")[:200]
        with_login = "with this login" if login else "without a login"
        return (
            f"does not let us in {with_login} ({refused or 'it hung up'}). "
            "A login stands in the URL: nats://USER:PASSWORD@HOST:PORT."
        )
    inbox = f"_INBOX.{secrets.token_hex(8)}"
    stream.write(f"SUB {inbox} 1\r\nPUB $JS.API.INFO {inbox} 0\r\n\r\n".encode())
    stream.flush()
    line = _next_line(stream)
    if line.startswith(b"MSG "):
        error = json.loads(stream.read(int(line.split()[-1]))).get("error")
        if error is None:
            return None
        return f"has no JetStream for this login ({error.get('description')}). {_ENABLE_JETSTREAM}"
    refused = line.removeprefix(b"-ERR ").decode(errors="replace")[:200] if b"-ERR" in line else ""
    return f"has no JetStream for us{refused and f' ({refused})'}. {_ENABLE_JETSTREAM}"


_ENABLE_JETSTREAM = "The lab's bus is a stream: turn JetStream on there (nats-server --jetstream)."


def _next_line(stream: BufferedRWPair) -> bytes:
    """The server's next line that is not a ping, server information or an OK."""
    while True:
        line = stream.readline(_LINE_BYTES)
        if not line.startswith((b"PING", b"INFO", b"+OK")):
            return line.strip()


def _credentials(login: str) -> dict[str, str]:
    name, colon, password = login.partition(":")
    if colon:
        return {"user": unquote(name), "pass": unquote(password)}
    return {"auth_token": unquote(name)} if name else {}


def _describe_error(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# ── Engines

LOG = {BUS: "lab.bus.log.server"}
COURSE = {BUS: "lab.bus.course.server"}
NATS = {BUS: "lab.bus.nats.server"}
GATEWAY = {BUS: "lab.bus.nats.gateway"}

DELIVERIES = ("uncaught", "one-by-one", "fire-and-forget")
"""How the course's bus may deliver: three ways that are in use, each with its own failure."""

ENGINES = {"log": LOG, "course": COURSE, "nats": NATS}
"""The engines that the lab starts (switch `bus`); the default is the log."""

EXISTING = "existing"
"""The engine when the switch gives an existing NATS cluster."""

MODULES = {**ENGINES, EXISTING: GATEWAY}
"""The program of each engine."""


def engine(options: Mapping[str, Any]) -> str:
    """The engine of the bus: a key of ENGINES, or EXISTING."""
    bus = options.get("bus", "log")
    return EXISTING if is_existing(bus) else str(bus)


def nodes_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the bus and of the replicas that the lab starts."""
    replicas = 1 if engine(options) == EXISTING else options.get("replicas", 1)
    return (BUS, *(f"{BUS}-{number}" for number in range(2, replicas + 1)))


def data_argv(process: str, options: Mapping[str, Any], folder: Path) -> list[str]:
    """The arguments with a program's data folder; some buses store nothing there."""
    if process == BUS and engine(options) in ("course", EXISTING):
        return []
    return ["--data", str(folder)]


def bus_argv(
    process: str, options: Mapping[str, Any], ports: Mapping[str, int], stream: str
) -> list[str]:
    """The arguments of the bus: its nodes, or the subscribers to which it delivers."""
    if engine(options) == EXISTING:
        argv = ["--cluster", parse_cluster_url(options["bus"]).address, "--stream", stream]
        return [*argv, "--replicas", str(options.get("replicas", 1))]
    if engine(options) == "nats":
        return ["--name", process, "--nodes", ",".join(nodes_of(options))]
    if engine(options) != "course":
        return []
    argv = ["--delivery", options["delivery"]] if "delivery" in options else []
    for name in SUBSCRIBERS:
        argv += ["--subscriber", _url(ports[name])]
    return argv


def bus_address(options: Mapping[str, Any], port: int, data: Path, stream: str) -> str:
    """The address of the bus, for the services.

    A NATS server takes a free port and writes it to a folder, so its address is that folder.
    """
    if engine(options) == EXISTING:
        # Only the gateway creates the stream: a late service could create it after its removal.
        return f"{parse_cluster_url(options['bus']).address}/{stream}?replicas=0"
    addresses = {
        "log": _url(port),
        "course": f"course+{_url(port)}",
        "nats": (data / "nats").absolute().as_uri().replace("file:", "nats:", 1),
    }
    return addresses[engine(options)]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
