"""Arrangements as data: the programs of each, and the arguments with which they find each other.

Hops are additional small services in a row that the feed's comments have to pass. What they would
do for a feed (a gateway, a login, a profile, a translation) is left out; only their presence
counts. In the chain, the request of `query` for comments passes all of them, and so does the
response. On the bus, what `comments` publishes passes all of them before `query` consumes it. No
other service knows that they exist: each one gets another address for `comments`, or a list of
sources to ignore.
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

# ── Hops

EVERY_HOP = "hops"
"""The target of a fault that acts on each hop separately."""


def hops_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The hops that a variant's options ask for. The first is next to `query`."""
    return HOPS[: options.get("depth", 1 if "width" in options else 0)]


def who_is(peer: str, asker: str, hops: tuple[str, ...]) -> str:
    """The service at the address that `asker` has for `peer`: its next hop, if there is one."""
    if peer != "comments" or asker not in ("query", *hops):
        return peer
    next_one = hops.index(asker) + 1 if asker in hops else 0
    return (*hops, peer)[next_one]


def not_heard(hearer: str, hops: tuple[str, ...]) -> tuple[str, ...]:
    """The publishers of comments that `hearer` must ignore: it consumes only one of them.

    Events take the way of the chain's responses: from `comments` through the last hop to the first.
    """
    way = ("comments", *reversed(hops))
    place = (*way, "query").index(hearer) if hearer in (*hops, "query") else 1
    return tuple(name for name in way if hops and name != way[place - 1])


def argv_of(part: str, options: Mapping[str, Any], ask_by: str | None) -> list[str]:
    """The arguments that a service gets because of hops and fan-out, without addresses."""
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
        # One feed may send several requests at once; none of them should wait for a worker.
        argv += ["--workers", str(max(8, 2 * options["width"]))]
    return argv


# ── Arrangements

_CHAIN = {name: f"lab.sync_chain.{name}" for name in SERVICES}
_TOLD = {name: f"lab.async_bus.{name}" for name in SERVICES}
_HOP = {"http": "lab.sync_chain.hop", None: "lab.async_bus.hop"}
_WHOLE = {MONOLITH: "lab.sync_chain.monolith"}


@dataclass(frozen=True)
class Strangers:
    """External services, each behind a sidecar with a fault filter.

    `services`: all of them without their bus. `asked`: the services that the load calls, through an
    HTTP adapter whose requests always pass the fault filter. `unmoved`: services on their own port,
    so that the others call them past the fault filter. `known`: whether the services call each
    other through their sidecars, and so by name.
    """

    services: tuple[str, ...]
    asked: tuple[str, ...]
    unmoved: tuple[str, ...] = ()
    known: bool = False


@dataclass(frozen=True)
class Arrangement:
    """One way to build the blog. `programs` maps each process to its module.

    `ask_by`: the transport of requests between services; None where services send none. `guests`:
    users' services that were added while the blog ran. `strangers`: set if all services are
    external. `replaced`: set if external services replace some of the lab's.
    """

    name: str
    programs: Mapping[str, str]
    ask_by: str | None = None
    guests: tuple[str, ...] = ()
    strangers: Strangers | None = None
    replaced: Strangers | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the processes."""
        return tuple(self.programs)

    @property
    def has_bus(self) -> bool:
        return BUS in self.programs

    @property
    def bus_has_door(self) -> bool:
        """Whether requests to the bus pass a fault filter."""
        return self.has_bus and self.programs[BUS] not in (*NATS.values(), *GATEWAY.values())

    @property
    def bus_is_ours(self) -> bool:
        """Whether the lab has started the bus, and so may break it."""
        return self.has_bus and self.programs[BUS] not in GATEWAY.values()

    @property
    def keeps_a_log(self) -> bool:
        """Whether the blog's events can be read again from the bus, in the order of the bus."""
        told = self.has_bus and self.ask_by is None and self.strangers is None
        return told and self.programs[BUS] not in COURSE.values()

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets of faults: the services, whatever process they run in, and the bus's
        nodes."""
        return (*self.services, *(part for part in self.programs if part.startswith(BUS)))

    @property
    def services(self) -> tuple[str, ...]:
        """The four common services, the hops and the guests; or the external services."""
        if self.strangers is not None:
            return self.strangers.services
        return (*SERVICES, *(part for part in self.programs if part in HOPS), *self.guests)

    def home(self, target: str) -> str:
        """The process in which a target runs."""
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
"""Switches for safe publishing and consuming; each is on or off in every service of `async-bus`."""

ASKER_SWITCHES = (
    *("timeout_ms", "deadline", "retries", "backoff", "retry_budget"),
    *("breaker", "bulkhead", "hedge", "fallback"),
)
"""Switches that protect callers from their callees. Naive code has at most a timeout."""

KEEPS_ANSWERS = ("posts", "comments", MONOLITH)
"""The processes to which clients send writes; `idempotency` acts there."""

BACKOFFS = ("none", "exponential", "jitter")
"""How a caller may wait before a retry."""

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
"""The modules that the fork server imports once, so that no program has to."""


_LIBRARIES = {"retries": "stamina", "breaker": "pybreaker"}


def preload(variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """PRELOAD, and the libraries that only variants with such options need."""
    given = list(variants)
    needs_nats = any(engine(of) in ("nats", EXISTING) for of in given)
    nats = (*NATS.values(), *GATEWAY.values(), "lab.bus.nats.client") if needs_nats else ()
    others = (name for switch, name in _LIBRARIES.items() if any(of.get(switch) for of in given))
    return (*PRELOAD, *nats, *others)


def with_engine(arrangement: Arrangement, options: Mapping[str, Any]) -> Arrangement:
    """The arrangement with the hops and the bus that the options ask for.

    A cluster of bus servers has one program for each node.
    """
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
    """The programs of one variant, each with its arguments. `ports` has a port for each process.

    `arrangement` comes from `with_engine`. `stream`: the stream's name on an existing NATS cluster.
    """
    data, nodes = folder / "data" / variant, nodes_of(options)
    there = named(options["bus"]) if engine(options) == EXISTING else None
    # In the environment, because every user of the machine can read the arguments.
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
    """The arguments of a service: the addresses of the others, and the switches."""
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
