"""What a bus is made of: which program an engine is, and how it and the services are told of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.cluster.existing import is_existing, named
from lab.domain.directory import BUS, SUBSCRIBERS

LOG = {BUS: "lab.bus.log_server"}
COURSE = {BUS: "lab.bus.course_server"}
NATS = {BUS: "lab.bus.nats_server"}
GATEWAY = {BUS: "lab.bus.nats_gateway"}

DELIVERIES = ("uncaught", "one-by-one", "fire-and-forget")
"""How the course's bus may deliver: the variants in which it is found, and fails."""

ENGINES = {"log": LOG, "course": COURSE, "nats": NATS}
"""What a bus may be made of: switch `bus`, by default the log."""

EXISTING = "existing"
"""What it is made of when the switch names a NATS cluster that is there already."""

MODULES = {**ENGINES, EXISTING: GATEWAY}
"""The program of each."""


def engine(options: Mapping[str, Any]) -> str:
    """What the bus is made of: a key of ENGINES, or EXISTING."""
    bus = options.get("bus", "log")
    return EXISTING if is_existing(bus) else str(bus)


def nodes_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The bus, and its replicas, where the lab starts them."""
    replicas = 1 if engine(options) == EXISTING else options.get("replicas", 1)
    return (BUS, *(f"{BUS}-{number}" for number in range(2, replicas + 1)))


def data_of(part: str, options: Mapping[str, Any], folder: Path) -> list[str]:
    """Where a program keeps what it has to remember; some buses remember nothing here."""
    if part == BUS and engine(options) in ("course", EXISTING):
        return []
    return ["--data", str(folder)]


def argv_of_bus(
    part: str, options: Mapping[str, Any], ports: Mapping[str, int], stream: str
) -> list[str]:
    """What the bus is told: of its other nodes, and of those who don't come and read."""
    if engine(options) == EXISTING:
        argv = ["--cluster", named(options["bus"]).address, "--stream", stream]
        return [*argv, "--replicas", str(options.get("replicas", 1))]
    if engine(options) == "nats":
        return ["--name", part, "--nodes", ",".join(nodes_of(options))]
    if engine(options) != "course":
        return []
    argv = ["--delivery", options["delivery"]] if "delivery" in options else []
    for name in SUBSCRIBERS:
        argv += ["--subscriber", _url(ports[name])]
    return argv


def bus_address(options: Mapping[str, Any], port: int, data: Path, stream: str) -> str:
    """A NATS server takes a free port, so it is found by the folder where it says which one."""
    if engine(options) == EXISTING:
        # Only the gateway makes the stream: who came late would make again what it has removed.
        return f"{named(options['bus']).address}/{stream}?replicas=0"
    found = {
        "log": _url(port),
        "course": f"course+{_url(port)}",
        "nats": (data / "nats").absolute().as_uri().replace("file:", "nats:", 1),
    }
    return found[engine(options)]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
