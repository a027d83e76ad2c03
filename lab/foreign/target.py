"""A target: somebody else's services as data, how each is started, how they are spoken to.

What is left out is the well-known course's: its ports, its paths, its event bus.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path as Folder
from typing import Annotated, Self

from pydantic import Field, model_validator

from lab.domain.directory import BUS, BY_HAND_PORTS
from lab.foreign.mapping import Actions, Path
from lab.foreign.service import Frozen, Host, Name, Service, address
from lab.meant import did_you_mean

COURSE_PORTS = BY_HAND_PORTS["async-bus"]
"""Where the course's services stand: posts 4000, comments 4001, query 4002, ..."""

NO_BUS = "none"
ANY_PORT = 0
_HERE = "localhost,127.0.0.1,::1"


class Target(Frozen):
    """A whole system of somebody else's, or a part of one.

    `bus`: which of the services is the event bus; "none": there is none here. `events`: where the
    bus takes events, and brings them to each service. `hosts`: other names by which they call each
    other (`posts-clusterip-srv`, or with a port), and which service is meant.
    """

    name: Annotated[str, Field(min_length=1)]
    folder: Folder
    """Where its file stands: `cwd` begins there."""
    title: Annotated[str, Field(max_length=200)] = ""
    services: Annotated[dict[Name, Service], Field(min_length=1, max_length=20)]
    bus: str | None = None
    events: Path = "/events"
    ready_within_s: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 20.0
    hosts: dict[Host, str] = Field(default_factory=dict)
    actions: Actions = Field(default_factory=Actions)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if problems := [problem for look in _LOOKS for problem in look(self)]:
            raise ValueError("\n".join(problems))
        return self

    @property
    def its_bus(self) -> str | None:
        """Its own event bus; None where it has none."""
        if self.bus is None:
            return BUS if BUS in self.services else None
        return None if self.bus == NO_BUS else self.bus

    def port_of(self, name: str) -> int:
        """Where others look for a service: ANY_PORT where they are told."""
        port = self.services[name].port
        return COURSE_PORTS.get(name, ANY_PORT) if port is None else port

    def cwd_of(self, name: str) -> Folder:
        """Where a service is started."""
        return (self.folder / self.services[name].cwd).absolute()

    def not_whole(self) -> tuple[str, ...]:
        """Why it can't stand alone, a sentence for each reason; () where it can. What is only a
        part can replace a service of the lab's."""
        asked = {how.service: action for action, how in self.actions}
        missing = {name: f"{action} asks it" for name, action in asked.items()}
        for name, service in self.services.items():
            missing |= dict.fromkeys(service.mentions(), f"{name} is told where it is")
        missing |= {to: f"the host {host!r} leads there" for host, to in self.hosts.items()}
        return tuple(
            f"services.{name}: there is none, and {why}."
            for name, why in missing.items()
            if name not in self.services
        )

    def stands_behind(self, name: str) -> bool:
        """Whether a sidecar can stand between a service and those who call it: it listens where it
        is told to, or it is called by a name, which leads wherever it should."""
        return self.services[name].movable or name in self.hosts.values()

    def environment_of(self, name: str, ports: Mapping[str, int]) -> dict[str, str]:
        """What a service's environment has so that it finds others by the names in `hosts`, which
        mean nothing on this machine: most HTTP clients ask the proxy that is named there, and the
        sidecar before it is one. {} where no names are, or no sidecar can be."""
        if not self.hosts or not self.stands_behind(name):
            return {}
        proxy = address("url", ports[name])
        return {
            "http_proxy": proxy,
            "HTTP_PROXY": proxy,
            "no_proxy": _HERE,
            "NO_PROXY": _HERE,
            "NODE_USE_ENV_PROXY": "1",
        }

    def hosts_on(self, ports: Mapping[str, int]) -> dict[str, int]:
        """The names by which they call each other, and on which port each is found: what a sidecar
        takes for `hosts`. `ports`: where each service is found; its own name always leads there."""
        return {**ports, **{host: ports[to] for host, to in self.hosts.items() if to in ports}}


def _the_bus(target: Target) -> Iterator[str]:
    if target.its_bus and target.its_bus not in target.services:
        yield f"bus: {_nobody(target.its_bus, (*target.services, NO_BUS))}"


def _the_ports(target: Target) -> Iterator[str]:
    taken: dict[int, str] = {}
    for name, service in target.services.items():
        port = target.port_of(name)
        if port == ANY_PORT:
            if not service.movable:
                yield (
                    f"services.{name}.port: nothing says where it listens. Give it `port`, the "
                    "number that stands in its code, or `port_env`, the variable that it reads."
                )
        elif port in taken:
            yield (
                f"services.{name}.port: {port} is {taken[port]}'s already. "
                "Two services can't be looked for in the same place."
            )
        taken.setdefault(port, name)


def _who_is_named(target: Target) -> Iterator[str]:
    known = tuple(dict.fromkeys((*target.services, *COURSE_PORTS)))
    for name, service in target.services.items():
        for other in service.mentions():
            if other not in known:
                yield f"services.{name}: {_nobody(other, known)}"
    for host, to in target.hosts.items():
        if to not in known:
            yield f"hosts: {host!r} is said to be {to!r}. {_nobody(to, known)}"
    for action, how in target.actions:
        if how.service not in known:
            yield f"actions.{action}.service: {_nobody(how.service, known)}"


def _nobody(name: str, known: Iterable[str]) -> str:
    return f"there is no service {name!r} here. {did_you_mean(name, known)}"


_LOOKS: tuple[Callable[[Target], Iterator[str]], ...] = (_the_bus, _the_ports, _who_is_named)
