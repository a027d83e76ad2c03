"""A topology is data: which programs make up an arrangement, and how each is told of the others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.cluster.program import Program
from lab.domain.directory import BUS, MONOLITH, SERVICES, SUBSCRIBERS

_CHAIN = {name: f"lab.sync_chain.{name}" for name in SERVICES}
_TOLD = {name: f"lab.async_bus.{name}" for name in SERVICES}
_LOG = {BUS: "lab.bus.log_server"}
_COURSE = {BUS: "lab.bus.course_server"}
_NATS = {BUS: "lab.bus.nats_server"}
_WHOLE = {MONOLITH: "lab.sync_chain.monolith"}


@dataclass(frozen=True)
class Arrangement:
    """`programs` maps each part that is a process of its own to its module.

    `ask_by` is the carrier of questions; None where nobody asks.
    """

    name: str
    programs: Mapping[str, str]
    ask_by: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The processes."""
        return tuple(self.programs)

    @property
    def has_bus(self) -> bool:
        return BUS in self.programs

    @property
    def bus_has_door(self) -> bool:
        """Whether what services send to the bus goes through a door at which faults can act."""
        return self.has_bus and self.programs[BUS] not in _NATS.values()

    @property
    def targets(self) -> tuple[str, ...]:
        """All there is to break: the services, wherever they live, and the bus."""
        return (*SERVICES, *(part for part in self.programs if part.startswith(BUS)))

    def home(self, target: str) -> str:
        """The process in which a target lives."""
        return target if target in self.programs else MONOLITH


ARRANGEMENTS = {
    arrangement.name: arrangement
    for arrangement in (
        Arrangement("sync-chain", _CHAIN, ask_by="http"),
        Arrangement("async-bus", _TOLD | _LOG),
        Arrangement("request-reply", _CHAIN | _LOG, ask_by="events"),
        Arrangement("monolith", _WHOLE, ask_by="call"),
    )
}

BUS_SIDE_SWITCHES = ("outbox", "dedupe", "dead_letter")
"""What makes telling and hearing safe; each is on or off in every service of `async-bus`."""

DELIVERIES = ("uncaught", "one-by-one", "fire-and-forget")
"""How the course's bus may deliver: the variants in which it is found, and fails."""

ENGINES = {"log": _LOG, "course": _COURSE, "nats": _NATS}
"""What a bus may be made of: switch `bus`, by default the log."""

PRELOAD = (
    "aiohttp.web",
    "requests",
    *(_LOG | _WHOLE).values(),
    *_COURSE.values(),
    *_CHAIN.values(),
    *_TOLD.values(),
    "lab.sync_chain.ask_by_events",
    "lab.load.generator",
)
"""What the nursery imports once, so that no program has to."""


def preload(variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """PRELOAD, and what is only needed by variants with such options: the library of `nats`."""
    return (*PRELOAD, *(_NATS.values() if any(engine(of) == "nats" for of in variants) else ()))


def with_engine(arrangement: Arrangement, options: Mapping[str, Any]) -> Arrangement:
    """The arrangement with the bus that the options ask for; a cluster has a program a node."""
    if not arrangement.has_bus:
        return arrangement
    module = ENGINES[engine(options)][BUS]
    nodes = dict.fromkeys(_nodes(options), module)
    return replace(arrangement, programs={**arrangement.programs, **nodes})


def engine(options: Mapping[str, Any]) -> str:
    """What the bus is made of: a key of ENGINES."""
    return str(options.get("bus", "log"))


def _nodes(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The bus, and its replicas."""
    return (BUS, *(f"{BUS}-{number}" for number in range(2, options.get("replicas", 1) + 1)))


def programs(
    variant: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    ports: Mapping[str, int],
    folder: Path,
    token: str,
) -> list[Program]:
    """The programs of one variant, each with its arguments. `ports` has one for each part.

    The arrangement is one `with_engine`.
    """
    data, nodes = folder / "data" / variant, _nodes(options)
    return [
        Program(
            name=f"{variant}.{part}",
            module=module,
            argv=(
                *("--port", str(ports[part]), "--reuse-port"),
                *("--spans", str(folder / f"{variant}.{part}.spans.ndjson")),
                *_data(part, options, data),
                *(
                    _of_the_bus(part, options, ports)
                    if part in nodes
                    else _of_the_others(part, arrangement, options, ports, data)
                ),
            ),
            log=folder / f"{variant}.{part}.log",
            env={"LAB_TOKEN": token},
            health=f"{url(ports[part])}/health",
        )
        for part, module in arrangement.programs.items()
    ]


def _data(part: str, options: Mapping[str, Any], folder: Path) -> list[str]:
    """Where a program keeps what it has to remember; the course's bus remembers nothing."""
    if part == BUS and engine(options) == "course":
        return []
    return ["--data", str(folder)]


def _of_the_bus(part: str, options: Mapping[str, Any], ports: Mapping[str, int]) -> list[str]:
    """What the bus is told: of its other nodes, and of those who don't come and read."""
    if engine(options) == "nats":
        return ["--name", part, "--nodes", ",".join(_nodes(options))]
    if engine(options) != "course":
        return []
    argv = ["--delivery", options["delivery"]] if "delivery" in options else []
    for name in SUBSCRIBERS:
        argv += ["--subscriber", url(ports[name])]
    return argv


def _of_the_others(
    part: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    ports: Mapping[str, int],
    data: Path,
) -> list[str]:
    """What a service is told of the others, and the switches it is given."""
    argv = []
    if arrangement.has_bus:
        argv += ["--bus", _bus_address(options, ports[BUS], data)]
    if arrangement.ask_by == "events":
        argv += ["--ask-by", "events"]
    if arrangement.ask_by == "http":
        for peer in arrangement.parts:
            argv += ["--peer", f"{peer}={url(ports[peer])}"]
    if arrangement.ask_by in ("http", "events") and "timeout_ms" in options:
        argv += ["--timeout-ms", str(options["timeout_ms"])]
    for switch in BUS_SIDE_SWITCHES:
        if switch in options:
            argv += [f"--{switch.replace('_', '-')}", "on" if options[switch] else "off"]
    if "workers" in options:
        argv += ["--workers", str(options["workers"])]
    return argv


def _bus_address(options: Mapping[str, Any], port: int, data: Path) -> str:
    """A NATS server takes a free port, so it is found by the folder where it says which one."""
    found = {
        "log": url(port),
        "course": f"course+{url(port)}",
        "nats": (data / "nats").absolute().as_uri().replace("file:", "nats:", 1),
    }
    return found[engine(options)]


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
