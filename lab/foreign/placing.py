"""On which ports a foreign system stands: its services behind the sidecars, where they can be.

    the load ──► face (any port) ──┐
                                   ├──► the door ──► behind (any port): the service
    the others ──► public ─────────┘

The others look for a service on its public port, which may stand in their code (`localhost:4005`).
So the sidecar takes that port, and the service is told another one. One that can't be told stands
on its public port itself; if it is called by a name, that leads to the sidecar all the same.
"""

import random
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.cluster.ports import HOST, reserve
from lab.domain.directory import BUS
from lab.foreign.target import ANY_PORT, COURSE_PORTS, Target
from lab.holder import holder_of

_OF_SERVICES = range(20_000, 32_000)
_GIVEN: deque[int] = deque(maxlen=1_000)
"""Those that were given lately: until its service listens, a port looks as if it were free."""


@dataclass(frozen=True)
class Place:
    """The ports of one service."""

    face: int
    public: int
    behind: int

    @property
    def moved(self) -> bool:
        """Whether the others come through the sidecar."""
        return self.public != self.behind


def places(target: Target, held: ExitStack) -> dict[str, Place]:
    """A place for each service, by its name there. What the sidecars need is reserved in `held`.

    Raises LabCannotRun when a fixed port is taken.
    """
    return {name: place_of(target, name, held) for name in target.services}


def a_place(held: ExitStack, public: int = ANY_PORT) -> Place:
    """A place for one that can be moved. Raises PortTaken."""
    if public:
        _refuse_if_taken_on_the_other_loopback(public)
    face, raw = held.enter_context(reserve()), held.enter_context(reserve(public))
    return Place(face.port, raw.port, a_free_port())


def ports_of(placed: Mapping[str, Place]) -> dict[str, int]:
    """Where each is looked for."""
    return {name: place.public for name, place in placed.items()}


def place_of(target: Target, name: str, held: ExitStack) -> Place:
    """A place for one service. Raises LabCannotRun when a fixed port is taken."""
    public = target.port_of(name)
    try:
        if target.services[name].movable:
            return a_place(held, public)
        _refuse_if_taken_on_the_other_loopback(public)
        with reserve(public):
            pass  # it is free now, and is left to the service
        face = held.enter_context(reserve()).port
        if target.stands_behind(name):  # by a name, and so the sidecar may stand anywhere
            return Place(face, held.enter_context(reserve()).port, public)
        return Place(face, public, public)
    except PortTaken as error:
        raise _taken(f"{name} of {target.name}", error) from None


def a_bus_port(target: Target, service: str, held: ExitStack) -> int:
    """Where one service looks for a bus that is not of its target: where it is told to, or where
    the course has it. Raises LabCannotRun when that is taken."""
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
    """`localhost` may mean ::1: whoever listens there would be taken for the service."""
    if socket.has_ipv6:
        with closing(socket.socket(socket.AF_INET6, socket.SOCK_STREAM)) as client:
            client.settimeout(1.0)
            if client.connect_ex(("::1", port)) == 0:
                raise PortTaken(port, holder_of(port))


def a_free_port() -> int:
    """A port for a service. It can't be reserved, for the service does not know how to share it. So
    it is none that the system gives to connections, which would be in its way after a restart."""
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
