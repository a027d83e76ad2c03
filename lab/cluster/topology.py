"""A topology is data: which programs make up an arrangement, and how each is told of the others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.cluster.engines import (
    COURSE,
    EXISTING,
    GATEWAY,
    LOG,
    MODULES,
    NATS,
    argv_of_bus,
    bus_address,
    data_of,
    engine,
    nodes_of,
)
from lab.cluster.existing import LOGIN, named
from lab.cluster.hops import argv_of, hops_of, who_is
from lab.cluster.program import Program
from lab.domain.directory import BUS, HOPS, MONOLITH, SERVICES

_CHAIN = {name: f"lab.sync_chain.{name}" for name in SERVICES}
_TOLD = {name: f"lab.async_bus.{name}" for name in SERVICES}
_HOP = {"http": "lab.sync_chain.hop", None: "lab.async_bus.hop"}
_WHOLE = {MONOLITH: "lab.sync_chain.monolith"}


@dataclass(frozen=True)
class Strangers:
    """Services that are not the lab's, each behind a sidecar that has the lab's door.

    `services`: all but their bus. `asked`: those whom the load asks, at a face that always is in
    front of the door. `unmoved`: those that stand on their own port, so that the others come past
    the door. `known`: whether they call each other through their sidecars, and so by name.
    """

    services: tuple[str, ...]
    asked: tuple[str, ...]
    unmoved: tuple[str, ...] = ()
    known: bool = False


@dataclass(frozen=True)
class Arrangement:
    """`programs` maps each part that is a process of its own to its module.

    `ask_by` is the carrier of questions; None where nobody asks. `guests`: those of its parts that
    are somebody's own services, put beside the blog while it ran. `strangers`: it is theirs.
    `replaced`: services of the lab's in whose place one of theirs stands.
    """

    name: str
    programs: Mapping[str, str]
    ask_by: str | None = None
    guests: tuple[str, ...] = ()
    strangers: Strangers | None = None
    replaced: Strangers | None = None

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
        return self.has_bus and self.programs[BUS] not in (*NATS.values(), *GATEWAY.values())

    @property
    def bus_is_ours(self) -> bool:
        """Whether the lab has started the bus, and so may break it."""
        return self.has_bus and self.programs[BUS] not in GATEWAY.values()

    @property
    def keeps_a_log(self) -> bool:
        """Whether the blog's events can be read from the bus again, in the bus's own order."""
        told = self.has_bus and self.ask_by is None and self.strangers is None
        return told and self.programs[BUS] not in COURSE.values()

    @property
    def targets(self) -> tuple[str, ...]:
        """All there is to break: the services, wherever they live, and the bus."""
        return (*self.services, *(part for part in self.programs if part.startswith(BUS)))

    @property
    def services(self) -> tuple[str, ...]:
        """The four that each arrangement has, its hops, and its guests; or the strangers."""
        if self.strangers is not None:
            return self.strangers.services
        return (*SERVICES, *(part for part in self.programs if part in HOPS), *self.guests)

    def home(self, target: str) -> str:
        """The process in which a target lives."""
        return target if target in self.programs else MONOLITH


ARRANGEMENTS = {
    arrangement.name: arrangement
    for arrangement in (
        Arrangement("sync-chain", _CHAIN, ask_by="http"),
        Arrangement("async-bus", _TOLD | LOG),
        Arrangement("request-reply", _CHAIN | LOG, ask_by="events"),
        Arrangement("monolith", _WHOLE, ask_by="call"),
    )
}

BUS_SIDE_SWITCHES = ("outbox", "dedupe", "dead_letter")
"""What makes telling and hearing safe; each is on or off in every service of `async-bus`."""

ASKER_SWITCHES = (
    *("timeout_ms", "deadline", "retries", "backoff", "retry_budget"),
    *("breaker", "bulkhead", "hedge", "fallback"),
)
"""What protects those who ask from those they ask. Naive code has a timeout, at best."""

KEEPS_ANSWERS = ("posts", "comments", MONOLITH)
"""The processes to whom clients send writes: those that `idempotency` is about."""

BACKOFFS = ("none", "exponential", "jitter")
"""How one may wait before asking again."""

PRELOAD = (
    "aiohttp.web",
    "requests",
    *(LOG | _WHOLE).values(),
    *COURSE.values(),
    *_CHAIN.values(),
    *_TOLD.values(),
    *_HOP.values(),
    "lab.sync_chain.ask_by_events",
    "lab.load.generator",
)
"""What the nursery imports once, so that no program has to."""


_LIBRARIES = {"retries": "stamina", "breaker": "pybreaker"}


def preload(variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """PRELOAD, and the libraries that only variants with such options need."""
    given = list(variants)
    needs_nats = any(engine(of) in ("nats", EXISTING) for of in given)
    nats = (*NATS.values(), *GATEWAY.values(), "lab.bus.nats") if needs_nats else ()
    others = (name for switch, name in _LIBRARIES.items() if any(of.get(switch) for of in given))
    return (*PRELOAD, *nats, *others)


def with_engine(arrangement: Arrangement, options: Mapping[str, Any]) -> Arrangement:
    """The arrangement with the hops and the bus that the options ask for; a cluster of servers
    has a program a node."""
    if arrangement.strangers is not None:
        return arrangement
    if arrangement.ask_by in _HOP:
        hops = dict.fromkeys(hops_of(options), _HOP[arrangement.ask_by])
        arrangement = replace(arrangement, programs={**arrangement.programs, **hops})
    if not arrangement.has_bus:
        return arrangement
    module = MODULES[engine(options)][BUS]
    nodes = dict.fromkeys(nodes_of(options), module)
    return replace(arrangement, programs={**arrangement.programs, **nodes})


def programs(
    variant: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    ports: Mapping[str, int],
    folder: Path,
    token: str,
    stream: str = "",
) -> list[Program]:
    """The programs of one variant, each with its arguments. `ports` has one for each part.

    The arrangement is one `with_engine`. `stream`: what it is called on a bus that is not ours.
    """
    data, nodes = folder / "data" / variant, nodes_of(options)
    there = named(options["bus"]) if engine(options) == EXISTING else None
    # Not in the arguments, which every user of the machine can read.
    login = {LOGIN: there.login} if there and arrangement.has_bus else {}
    return [
        Program(
            name=f"{variant}.{part}",
            module=module,
            argv=(
                *("--port", str(ports[part]), "--reuse-port"),
                *("--spans", str(folder / f"{variant}.{part}.spans.ndjson")),
                *data_of(part, options, data),
                *(
                    argv_of_bus(part, options, ports, stream)
                    if part in nodes
                    else _of_the_others(part, arrangement, options, ports, data, stream)
                ),
            ),
            log=folder / f"{variant}.{part}.log",
            env={"LAB_TOKEN": token, **login},
            health=f"{url(ports[part])}/health",
        )
        for part, module in arrangement.programs.items()
    ]


def _of_the_others(
    part: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    ports: Mapping[str, int],
    data: Path,
    stream: str,
) -> list[str]:
    """What a service is told of the others, and the switches it is given."""
    argv = []
    if arrangement.has_bus:
        argv += ["--bus", bus_address(options, ports[BUS], data, stream)]
    if arrangement.ask_by == "events":
        argv += ["--ask-by", "events"]
    if arrangement.ask_by == "http":
        for peer in arrangement.parts:
            answering = who_is(peer, part, hops_of(options))
            argv += ["--peer", f"{peer}={url(ports[answering])}"]
    for switch in ASKER_SWITCHES:
        value = options.get(switch, False)
        if value is not False:
            argv += [f"--{switch.replace('_', '-')}", *([] if value is True else [str(value)])]
    for switch in BUS_SIDE_SWITCHES:
        if switch in options:
            argv += [f"--{switch.replace('_', '-')}", "on" if options[switch] else "off"]
    for switch in ("apply_ms", "work_ms"):
        value = options.get(switch, {})
        one = value.get(part) if isinstance(value, dict) else value
        argv += [f"--{switch.replace('_', '-')}", str(one)] if one is not None else []
    if options.get("idempotency") and part in KEEPS_ANSWERS:
        argv += ["--idempotency"]
    if "workers" in options:
        argv += ["--workers", str(options["workers"])]
    return argv + argv_of(part, options, arrangement.ask_by)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
