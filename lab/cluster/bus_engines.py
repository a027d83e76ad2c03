"""The engines of the bus: the program of each, and the arguments and addresses for it.

An existing NATS cluster is given as a URL: `nats://[LOGIN@]HOST:PORT[,…]`. It is probed before
anything is started, so that a problem is reported within seconds. The login is passed in the
environment only, and never printed.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lab.cluster.errors import LabCannotRun
from lab.domain.services import BUS, BUS_LOGIN, SUBSCRIBERS

# ── An existing NATS cluster

SCHEME = "nats://"
ASK_WITHIN_S = 2.0
_PORT = 4222
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")
_EXPECTED_FORM = "Expected: nats://HOST:PORT, or nats://USER:PASSWORD@HOST:PORT."


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
    for host in hosts.split(","):
        match = _HOST.fullmatch(host)
        if not match or not 0 < int(match["port"] or _PORT) < 65_536:
            raise ValueError(f"saw {host!r}, which is no HOST:PORT. {_EXPECTED_FORM}")
        servers.append((match["host"], int(match["port"] or _PORT)))
    return NatsCluster(tuple(servers), login or os.environ.get(BUS_LOGIN, ""))


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
    """Return if one of the servers accepts us and has JetStream. Raises ClusterCannotBeUsed.

    Needs nats-py. Blocks for at most two seconds per server, also when an event loop is running.
    """
    problems = []
    for host, port in cluster.servers:
        address = f"{host}:{port}"
        with ThreadPoolExecutor(1) as thread:
            problem = thread.submit(asyncio.run, _find_problem(address, cluster.login)).result()
        if problem is None:
            return
        problems.append(f"The NATS server {address} {problem}")
    raise ClusterCannotBeUsed(
        "\n".join([*problems, "Without --bus the lab starts a bus of its own."])
    )


async def _find_problem(address: str, login: str) -> str | None:
    """Why the server can't be used, as the end of a sentence; None if it can."""
    from nats.aio.client import Client
    from nats.errors import Error

    errors: list[Exception] = []

    async def record(error: Exception) -> None:
        errors.append(error)

    client = Client()
    try:
        async with asyncio.timeout(ASK_WITHIN_S):
            await client.connect(
                f"{SCHEME}{address}",
                **_credentials(login),
                allow_reconnect=False,
                # Also for the first connection: the default is 60 tries, 2 s apart.
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=record,
            )
    except (Error, OSError) as error:
        return _connection_problem((errors or [error])[0], login)
    try:
        await client.jetstream(timeout=ASK_WITHIN_S).account_info()
        return None
    except (Error, OSError) as error:
        return (
            f"has no JetStream for this login ({error}). "
            "The lab's bus is a stream: turn JetStream on there (nats-server --jetstream)."
        )
    finally:
        with suppress(Exception):
            async with asyncio.timeout(ASK_WITHIN_S):
                await client.close()


def _connection_problem(error: Exception, login: str) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer. Is it a NATS server, and is this the port for its clients?"
    if isinstance(error, OSError):
        reason = error.strerror or str(error) or type(error).__name__
        return f"can't be reached ({reason}). Is it up, and is the port the right one?"
    if "info message" in str(error).lower():
        return "answers, but it does not speak as NATS does. Is this the port for its clients?"
    with_login = "with this login" if login else "without a login"
    return (
        f"refuses the lab {with_login} ({error}). "
        "Put the login into the URL: nats://USER:PASSWORD@HOST:PORT."
    )


def _credentials(login: str) -> dict[str, Any]:
    name, colon, password = login.partition(":")
    if colon:
        return {"user": unquote(name), "password": unquote(password)}
    return {"token": unquote(name)} if name else {}


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
    process: str, options: Mapping[str, Any], urls: Mapping[str, str], stream: str
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
        argv += ["--subscriber", urls[name]]
    return argv


def bus_address(options: Mapping[str, Any], url: str, data: Path, stream: str) -> str:
    """The address of the bus, for the services.

    A NATS server takes a free port and writes it to a folder, so its address is that folder.
    """
    if engine(options) == EXISTING:
        # Only the gateway creates the stream: a late service could create it after its removal.
        return f"{parse_cluster_url(options['bus']).address}/{stream}?replicas=0"
    addresses = {
        "log": url,
        "course": f"course+{url}",
        "nats": (data / "nats").absolute().as_uri().replace("file:", "nats:", 1),
    }
    return addresses[engine(options)]
