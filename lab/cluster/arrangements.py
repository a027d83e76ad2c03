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
    MODULES,
    NATS,
    bus_address,
    bus_argv,
    data_argv,
    engine,
    nodes_of,
    parse_cluster_url,
)
from lab.cluster.program import Program
from lab.domain.services import BUS, BUS_LOGIN, HOPS, MONOLITH, SERVICES

# ── Hops

EVERY_HOP = "hops"
"""The target of a fault that acts on each hop separately."""


def hops_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The hops that a variant's options ask for. The first is next to `query`."""
    return HOPS[: options.get("depth", 1 if "width" in options else 0)]


def next_hop(callee: str, caller: str, hops: tuple[str, ...]) -> str:
    """The service at the address that `caller` has for `callee`: its next hop, if there is one."""
    if callee != "comments" or caller not in ("query", *hops):
        return callee
    index = hops.index(caller) + 1 if caller in hops else 0
    return (*hops, callee)[index]


def ignored_sources(consumer: str, hops: tuple[str, ...]) -> tuple[str, ...]:
    """The publishers of comments that `consumer` must ignore: it consumes only one of them.

    Events take the way of the chain's responses: from `comments` through the last hop to the first.
    """
    path = ("comments", *reversed(hops))
    position = (*path, "query").index(consumer) if consumer in (*hops, "query") else 1
    return tuple(name for name in path if hops and name != path[position - 1])


def hop_argv(process: str, options: Mapping[str, Any], ask_by: str | None) -> list[str]:
    """The arguments that a service gets because of hops and fan-out, without addresses."""
    hops = hops_of(options)
    argv = ["--name", process] if process in hops else []
    if ask_by is None:
        for source in ignored_sources(process, hops):
            argv += ["--not-from", source]
    if process == "query" and "width" in options:
        argv += ["--width", str(options["width"])]
    if process in hops and options.get("web"):
        for other in hops[hops.index(process) + 1 :]:
            argv += ["--also-ask", other]
    if process in hops and "width" in options and "workers" not in options:
        # One feed may send several requests at once; none of them should wait for a worker.
        argv += ["--workers", str(max(8, 2 * options["width"]))]
    return argv


# ── Arrangements

_CHAIN_MODULES = {name: f"lab.sync_chain.{name}" for name in SERVICES}
_BUS_MODULES = {name: f"lab.async_bus.{name}" for name in SERVICES}
_HOP_MODULES = {"http": "lab.sync_chain.hop", None: "lab.async_bus.hop"}
_MONOLITH_MODULES = {MONOLITH: "lab.sync_chain.monolith"}


@dataclass(frozen=True)
class ExternalServices:
    """External services, each behind a sidecar with a fault filter.

    `services`: all of them without their bus. `entry_points`: the services that the load calls,
    through an HTTP adapter whose requests always pass the fault filter. `without_sidecar`: services
    on their own port, so that the others call them past the fault filter. `by_name`: whether the
    services call each other through their sidecars, and so by name.
    """

    services: tuple[str, ...]
    entry_points: tuple[str, ...]
    without_sidecar: tuple[str, ...] = ()
    by_name: bool = False


@dataclass(frozen=True)
class Arrangement:
    """One way to build the blog. `programs` maps each process to its module.

    `ask_by`: the transport of requests between services; None where services send none. `guests`:
    users' services that were added while the blog ran. `external`: set if all services are
    external. `replaced`: set if external services replace some of the lab's.
    """

    name: str
    programs: Mapping[str, str]
    ask_by: str | None = None
    guests: tuple[str, ...] = ()
    external: ExternalServices | None = None
    replaced: ExternalServices | None = None

    @property
    def processes(self) -> tuple[str, ...]:
        """The names of the processes."""
        return tuple(self.programs)

    @property
    def has_bus(self) -> bool:
        return BUS in self.programs

    @property
    def bus_has_fault_filter(self) -> bool:
        """Whether requests to the bus pass a fault filter."""
        return self.has_bus and self.programs[BUS] not in (*NATS.values(), *GATEWAY.values())

    @property
    def lab_started_bus(self) -> bool:
        """Whether the lab has started the bus, and so may break it."""
        return self.has_bus and self.programs[BUS] not in GATEWAY.values()

    @property
    def has_replayable_log(self) -> bool:
        """Whether the blog's events can be read again from the bus, in the order of the bus."""
        bus_of_lab_services = self.has_bus and self.ask_by is None and self.external is None
        return bus_of_lab_services and self.programs[BUS] not in COURSE.values()

    @property
    def targets(self) -> tuple[str, ...]:
        """All targets of faults: the services, whatever process they run in, and the bus's
        nodes."""
        return (*self.services, *(name for name in self.programs if name.startswith(BUS)))

    @property
    def services(self) -> tuple[str, ...]:
        """The four common services, the hops and the guests; or the external services."""
        if self.external is not None:
            return self.external.services
        return (*SERVICES, *(name for name in self.programs if name in HOPS), *self.guests)

    def process_of(self, target: str) -> str:
        """The process in which a target runs."""
        return target if target in self.programs else MONOLITH


ARRANGEMENTS = {
    arrangement.name: arrangement
    for arrangement in (
        Arrangement("sync-chain", _CHAIN_MODULES, ask_by="http"),
        Arrangement("async-bus", _BUS_MODULES | LOG),
        Arrangement("request-reply", _CHAIN_MODULES | LOG, ask_by="events"),
        Arrangement("monolith", _MONOLITH_MODULES, ask_by="call"),
    )
}

BUS_SIDE_SWITCHES = ("outbox", "dedupe", "dead_letter")
"""Switches for safe publishing and consuming; each is on or off in every service of `async-bus`."""

CALLER_SWITCHES = (
    "timeout_ms",
    "deadline",
    "retries",
    "backoff",
    "retry_budget",
    "breaker",
    "bulkhead",
    "hedge",
    "fallback",
)
"""Switches that protect callers from their callees. Naive code has at most a timeout."""

WRITE_PROCESSES = ("posts", "comments", MONOLITH)
"""The processes to which clients send writes; `idempotency` acts there."""

BACKOFFS = ("none", "exponential", "jitter")
"""How a caller may wait before a retry."""

PRELOAD = (
    "aiohttp.web",
    *LOG.values(),
    "lab.sync_chain.ask.events",
    *_CHAIN_MODULES.values(),
    *_BUS_MODULES.values(),
    *_HOP_MODULES.values(),
    *_MONOLITH_MODULES.values(),
    *COURSE.values(),
    "lab.load.generator",
)
"""The modules that the fork server imports once, so that no program has to. A program waits for
those before its own: what most programs need comes first."""


_LIBRARIES = {"retries": "stamina", "breaker": "pybreaker"}


def preload(variants: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """PRELOAD, and the libraries that only variants with such options need."""
    variant_options = list(variants)
    needs_nats = any(engine(options) in ("nats", EXISTING) for options in variant_options)
    nats = (*NATS.values(), *GATEWAY.values(), "lab.bus.nats.client") if needs_nats else ()
    others = (
        name
        for switch, name in _LIBRARIES.items()
        if any(options.get(switch) for options in variant_options)
    )
    return (*nats, *others, *PRELOAD)


def with_engine(arrangement: Arrangement, options: Mapping[str, Any]) -> Arrangement:
    """The arrangement with the hops and the bus that the options ask for.

    A cluster of bus servers has one program for each node.
    """
    if arrangement.external is not None:
        return arrangement
    if arrangement.ask_by in _HOP_MODULES:
        hops = dict.fromkeys(hops_of(options), _HOP_MODULES[arrangement.ask_by])
        arrangement = replace(arrangement, programs={**arrangement.programs, **hops})
    if not arrangement.has_bus:
        return arrangement
    module = MODULES[engine(options)][BUS]
    nodes = dict.fromkeys(nodes_of(options), module)
    return replace(arrangement, programs={**arrangement.programs, **nodes})


def build_programs(
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
    data, urls = folder / "data" / variant, {name: url(port) for name, port in ports.items()}
    existing_cluster = parse_cluster_url(options["bus"]) if engine(options) == EXISTING else None
    # In the environment, because every user of the machine can read the arguments.
    login = {BUS_LOGIN: existing_cluster.login} if existing_cluster and arrangement.has_bus else {}
    return [
        Program(
            name=f"{variant}.{process}",
            module=module,
            argv=(
                "--port",
                str(ports[process]),
                "--reuse-port",
                "--spans",
                str(folder / f"{variant}.{process}.spans.ndjson"),
                *program_argv(process, arrangement, options, urls, data, stream),
            ),
            log=folder / f"{variant}.{process}.log",
            env={"LAB_TOKEN": token, **login},
            health=f"{url(ports[process])}/health",
        )
        for process, module in arrangement.programs.items()
    ]


def program_argv(
    process: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    urls: Mapping[str, str],
    data: Path,
    stream: str,
) -> list[str]:
    """The arguments of a program, without its port. `urls`: where each process is reached."""
    argv = data_argv(process, options, data)
    if process in nodes_of(options):
        return argv + bus_argv(process, options, urls, stream)
    return argv + _service_argv(process, arrangement, options, urls, data, stream)


def _service_argv(
    process: str,
    arrangement: Arrangement,
    options: Mapping[str, Any],
    urls: Mapping[str, str],
    data: Path,
    stream: str,
) -> list[str]:
    """The arguments of a service: the addresses of the others, and the switches."""
    argv = []
    if arrangement.has_bus:
        argv += ["--bus", bus_address(options, urls[BUS], data, stream)]
    if arrangement.ask_by == "events":
        argv += ["--ask-by", "events"]
    if arrangement.ask_by == "http":
        for peer in arrangement.processes:
            callee = next_hop(peer, process, hops_of(options))
            argv += ["--peer", f"{peer}={urls[callee]}"]
    for switch in CALLER_SWITCHES:
        value = options.get(switch, False)
        if value is not False:
            argv += [f"--{switch.replace('_', '-')}", *([] if value is True else [str(value)])]
    for switch in BUS_SIDE_SWITCHES:
        if switch in options:
            argv += [f"--{switch.replace('_', '-')}", "on" if options[switch] else "off"]
    for switch in ("apply_ms", "work_ms"):
        value = options.get(switch, {})
        if isinstance(value, dict):
            value = value.get(process)
        if value is not None:
            argv += [f"--{switch.replace('_', '-')}", str(value)]
    if options.get("idempotency") and process in WRITE_PROCESSES:
        argv += ["--idempotency"]
    if "workers" in options:
        argv += ["--workers", str(options["workers"])]
    return argv + hop_argv(process, options, arrangement.ask_by)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
