"""Ports and programs of an external system: for each service a wrapper process and a sidecar.

    the load ──► adapter (any port) ──┐
                                      ├──► fault filter ──► behind (any port): the service
    other services ──► public port ───┘

Other services call a service on its public port, which their code may contain (`localhost:4005`).
So the sidecar listens there, and the service gets another port. A service that can't listen on
another port keeps its public port, and its callers bypass the sidecar; except if they use a host
name, because that leads to the sidecar.
"""

import json
import os
import random
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import psutil

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.cluster.forkserver_client import as_before
from lab.cluster.ports import HOST, reserve
from lab.cluster.process_tree import family
from lab.cluster.program import Program
from lab.domain.services import BUS
from lab.external.arrangement import BRIDGE, KEEPER
from lab.external.target import ANY_PORT, COURSE_PORTS, Target
from lab.external.wrapper import ENVIRONMENT
from lab.support.ports import holder_of

# ── Ports

_OF_SERVICES = range(20_000, 32_000)
_GIVEN: deque[int] = deque(maxlen=1_000)
"""Ports assigned recently: a port looks free until its service listens."""


@dataclass(frozen=True)
class Place:
    """The ports of one service: of its adapter, for its callers, and where it listens."""

    face: int
    public: int
    behind: int

    @property
    def moved(self) -> bool:
        """Whether callers reach the service through its sidecar."""
        return self.public != self.behind


def places(target: Target, held: ExitStack) -> dict[str, Place]:
    """The ports of each service, by its name in the target. Sidecar ports are reserved in `held`.

    Raises LabCannotRun when a fixed port is taken.
    """
    return {name: place_of(target, name, held) for name in target.services}


def a_place(held: ExitStack, public: int = ANY_PORT) -> Place:
    """Ports for a service that can listen on any port. Raises PortTaken."""
    if public:
        _refuse_if_taken_on_the_other_loopback(public)
    face, raw = held.enter_context(reserve()), held.enter_context(reserve(public))
    return Place(face.port, raw.port, a_free_port())


def ports_of(placed: Mapping[str, Place]) -> dict[str, int]:
    """The public port of each service."""
    return {name: place.public for name, place in placed.items()}


def place_of(target: Target, name: str, held: ExitStack) -> Place:
    """The ports of one service. Raises LabCannotRun when a fixed port is taken."""
    public = target.port_of(name)
    try:
        if target.services[name].movable:
            return a_place(held, public)
        _refuse_if_taken_on_the_other_loopback(public)
        with reserve(public):
            pass  # it is free now; the service will listen on it
        face = held.enter_context(reserve()).port
        if target.stands_behind(name):  # called by name, so the sidecar may have any port
            return Place(face, held.enter_context(reserve()).port, public)
        return Place(face, public, public)
    except PortTaken as error:
        raise _taken(f"{name} of {target.name}", error) from None


def a_bus_port(target: Target, service: str, held: ExitStack) -> int:
    """The port on which one service expects the lab's bus: any free one if the target configures
    the address, otherwise the course's. Raises LabCannotRun when that is taken."""
    told = BUS in target.services[service].mentions() or BUS in target.hosts.values()
    public = ANY_PORT if told else COURSE_PORTS[BUS]
    try:
        if public:
            _refuse_if_taken_on_the_other_loopback(public)
        return held.enter_context(reserve(public)).port
    except PortTaken as error:
        raise _taken(f"the event bus, for {service} of {target.name},", error) from None


def _taken(who: str, error: PortTaken) -> LabCannotRun:
    return LabCannotRun(
        f"{who} is looked for on port {error.port}, and that is taken by "
        f"{error.by or 'a program that the system does not name to us'}. End that program. "
        "`lab doctor` lists what an earlier run left behind."
    )


def _refuse_if_taken_on_the_other_loopback(port: int) -> None:
    """Raise PortTaken if a program listens on ::1: `localhost` may mean that address, too."""
    if socket.has_ipv6:
        with closing(socket.socket(socket.AF_INET6, socket.SOCK_STREAM)) as client:
            client.settimeout(1.0)
            if client.connect_ex(("::1", port)) == 0:
                raise PortTaken(port, holder_of(port))


def a_free_port() -> int:
    """A free port for a service. Raises LabCannotRun.

    It can't stay reserved, because the service does not share it. So it is outside the range for
    outgoing connections: one of these could take the port while the service restarts.
    """
    for port in random.sample(_OF_SERVICES, 200):
        if port in _GIVEN:
            continue
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            _GIVEN.append(port)
            return port
    raise LabCannotRun(f"No port from {_OF_SERVICES[0]} to {_OF_SERVICES[-1]} is free.")


# ── Services on a wrong port


def elsewhere(keeper: int, port: int) -> str | None:
    """Where the processes below a wrapper listen instead of `port`, in a sentence for an error.

    `keeper`: the wrapper's pid. None if they do listen there, or if there are no processes.
    """
    found: set[tuple[str, int]] = set()
    members = family(keeper)
    for one in members:
        with suppress(psutil.Error):
            found |= {
                (each.laddr.ip, each.laddr.port)
                for each in one.net_connections("inet")
                if each.status == psutil.CONN_LISTEN
            }
    if not members or any(number == port and _is_here(host) for host, number in found):
        return None
    if not found:
        return "It has not begun to listen anywhere"
    others = [f"{number}" if _is_here(host) else f"{number} of {host}" for host, number in found]
    named = " and ".join(sorted(set(others)))
    return (
        f"It listens on port {named} instead. Say so with `port`, or tell it by `port_env` in "
        "which variable it is given the port"
    )


def _is_here(host: str) -> bool:
    address = ip_address(host)
    return address.is_loopback or address.is_unspecified


# ── Programs

SIDECAR = "lab.external.sidecar"
CROSSING = "lab.external.translator"
PRELOAD = (KEEPER, SIDECAR, BRIDGE, CROSSING)
"""Modules that the fork server imports once for external systems."""


@dataclass(frozen=True)
class Parts:
    """Defines the programs of one variant.

    `found`: the public port of each service, by its name in the target. `data`: the folder that
    contains each service's data folder.
    """

    variant: str
    target: Target
    folder: Path
    data: Path
    token: str
    found: Mapping[str, int]

    def keeper(self, part: str, service: str, place: Place) -> Program:
        """The wrapper that starts the service; ready when the service's sidecar says so."""
        how, log = self.target.services[service], self._file(part, "log")
        own = self.data / service
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        command, env = how.started_with(place.behind, self.found, own.absolute())
        cwd = str(self.target.cwd_of(service))
        by_name = self.target.environment_of(service, self.found)
        given = as_before() | {"PYTHONUNBUFFERED": "1"} | by_name | env
        return Program(
            f"{self.variant}.{part}",
            KEEPER,
            ("--cwd", cwd, "--log", str(log), "--", *command),
            log,
            env={ENVIRONMENT: json.dumps(given)},  # not in the arguments, which every user can read
            health=f"http://127.0.0.1:{place.face}/health",
            keeps=True,
            ready_within_s=self.target.ready_within_s,
            instead=partial(elsewhere, port=place.behind),
        )

    def sidecar(self, part: str, place: Place, ready: str | None) -> Program:
        """The sidecar. The lab doesn't wait for it: its `/health` is that of the service."""
        argv = [
            *("--name", part, "--arrangement", self.variant, "--reuse-port"),
            *("--service-port", str(place.behind), "--port", str(place.face)),
            *("--mapping", str(self._mapping()), "--events", self.target.events),
            *("--spans", str(self._file(part, "spans.ndjson"))),
        ]
        if place.moved:
            argv += ["--raw-port", str(place.public)]
        if ready:
            argv += ["--ready", ready]
        for host, port in self.target.hosts_on(self.found).items():
            argv += ["--host", f"{host}={port}"]
        return Program(
            f"{self.variant}.{part}.sidecar",
            SIDECAR,
            tuple(argv),
            self._file(part, "sidecar.log"),
            env={"LAB_TOKEN": self.token},
        )

    def crossing(self, part: str, port: int, place: Place, bus: int, found_at: int) -> Program:
        """The event translator between a service and the lab's own bus.

        Ports: `port` receives the bus's events, `bus` is the bus, `found_at` is where the service
        expects the bus.
        """
        event = self.target.events
        return Program(
            f"{self.variant}.{part}.crossing",
            CROSSING,
            (
                *("--name", part, "--port", str(port), "--reuse-port"),
                *("--service", f"http://127.0.0.1:{place.public}{event}", "--events", event),
                *("--bus", f"http://127.0.0.1:{bus}/events", "--bus-port", str(found_at)),
                *("--mapping", str(self._mapping())),
            ),
            self._file(part, "crossing.log"),
            env={"LAB_TOKEN": self.token},
            health=f"http://127.0.0.1:{port}/health",
        )

    def bridge(self, place: Place, subscribers: Sequence[str]) -> Program:
        """The lab's log in place of the target's bus. `subscribers`: URLs that receive events."""
        argv = ["--port", str(place.behind), "--data", str(self.data / "log")]
        for one in subscribers:
            argv += ["--subscriber", one]
        return Program(
            f"{self.variant}.{BUS}",
            BRIDGE,
            (*argv, "--events", self.target.events),
            self._file(BUS, "log"),
            env={"LAB_TOKEN": self.token},
            health=f"http://127.0.0.1:{place.face}/health",
        )

    def _mapping(self) -> Path:
        """The file with the mapping; written once, readable for its owner only."""
        mapping = self.folder / f"{self.variant}.mapping.json"
        if not mapping.exists():
            file = os.open(mapping, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="utf-8") as out:
                out.write(self.target.actions.model_dump_json())
        return mapping

    def _file(self, part: str, kind: str) -> Path:
        return self.folder / f"{self.variant}.{part}.{kind}"
