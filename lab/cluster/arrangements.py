"""A topology is data: which programs make up an arrangement, and how each is told of the others.

More services than four: small ones in a row, through which the feed's comments have to pass.

What they would do for a feed (a gateway, a login, a profile, a translation) is left out; that they
are needed is what counts. In the chain query's question about comments goes through all of them,
and so does the answer. On the bus what comments tells goes through all of them before query hears
it. Nobody else knows that they are there: each is told another address for `comments`, or whose
events it does not hear.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.cluster.bus_engines import (
    COURSE,
    EXISTING,
    GATEWAY,
    LOG,
    LOGIN,
    MODULES,
    NATS,
    argv_of_bus,
    bus_address,
    data_of,
    engine,
    named,
    nodes_of,
)
from lab.cluster.program import Program
from lab.domain.services import BUS, HOPS, MONOLITH, SERVICES

# ── More services than four: small ones in a row, through which the feed's comments have to pass.

EVERY_HOP = "hops"
"""The target of a fault that acts on each hop by itself."""


def hops_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The hops that a variant's options ask for, the one next to query first."""
    return HOPS[: options.get("depth", 1 if "width" in options else 0)]


def who_is(peer: str, asker: str, hops: tuple[str, ...]) -> str:
    """Who answers `asker` at the address it has for `peer`: its next hop, where it has one."""
    if peer != "comments" or asker not in ("query", *hops):
        return peer
    next_one = hops.index(asker) + 1 if asker in hops else 0
    return (*hops, peer)[next_one]


def not_heard(hearer: str, hops: tuple[str, ...]) -> tuple[str, ...]:
    """Of those who tell of comments, all whom `hearer` must not hear: each hears but one.

    Events go the way that answers go in the chain: from comments by the last hop to the first.
    """
    way = ("comments", *reversed(hops))
    place = (*way, "query").index(hearer) if hearer in (*hops, "query") else 1
    return tuple(name for name in way if hops and name != way[place - 1])


def argv_of(part: str, options: Mapping[str, Any], ask_by: str | None) -> list[str]:
    """What a service is told because there are hops; their addresses are told elsewhere."""
    hops = hops_of(options)
    argv = ["--name", part] if part in hops else []
    if ask_by is None:
        for teller in not_heard(part, hops):
            argv += ["--not-from", teller]
    if part == "query" and "width" in options:
        argv += ["--width", str(options["width"])]
    if part in hops and options.get("web"):
        for other in hops[hops.index(part) + 1 :]:
            argv += ["--also-ask", other]
    if part in hops and "width" in options and "workers" not in options:
        # Several questions of one feed may be held at once; none is to wait for another's worker.
        argv += ["--workers", str(max(8, 2 * options["width"]))]
    return argv


# ── A topology is data: which programs make up an arrangement, and how each is told of the others.

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
    "lab.sync_chain.ask.events",
    "lab.load.generator",
)
"""What the nursery imports once, so that no program has to."""


_LIBRARIES = {"retries": "stamina", "breaker": "pybreaker"}


def preload(variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """PRELOAD, and the libraries that only variants with such options need."""
    given = list(variants)
    needs_nats = any(engine(of) in ("nats", EXISTING) for of in given)
    nats = (*NATS.values(), *GATEWAY.values(), "lab.bus.nats.client") if needs_nats else ()
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
