"""A target: somebody else's services as data, how each is started, how they are spoken to.

What is left out is the well-known course's: its ports, its paths, its event bus. Texts in braces
are filled in when a service is started, in `command` and `env`: `{port}` is where it is to listen,
`{port:posts}` and `{url:posts}` lead to another service (through the sidecar before it), `{data}`
is an empty folder that each run has anew. All other braces stay as they are.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path as Folder
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from lab.domain.directory import BUS, BY_HAND_PORTS
from lab.foreign import mapping
from lab.foreign.mapping import Actions, Path
from lab.meant import did_you_mean

COURSE_PORTS = BY_HAND_PORTS["async-bus"]
"""Where the course's services stand: posts 4000, comments 4001, query 4002, ..."""

NO_BUS = "none"
ANY_PORT = 0

_NAME = r"^[a-z][a-z0-9-]{0,39}$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_TEXT = r"^[^\x00]*$"
_HOST = r"^[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?$"

PATTERNS = {
    _NAME: "be small letters, digits and hyphens, as in event-bus",
    _VARIABLE: "be the name of a variable: letters, digits and underscores, as in PORT",
    _HOST: "be a host, or a host and its port, as in posts-srv or posts-srv:4000",
    _TEXT: "be text, and the sign with the number 0 is none",
    **mapping.PATTERNS,
}
"""What a text was meant to be, where it is not that."""

Name = Annotated[str, StringConstraints(pattern=_NAME)]
Variable = Annotated[str, StringConstraints(pattern=_VARIABLE)]
Host = Annotated[str, StringConstraints(pattern=_HOST)]
Port = Annotated[int, Field(strict=True, ge=0, le=65_535)]
Text = Annotated[str, StringConstraints(pattern=_TEXT, max_length=10_000)]

_PORT = "{port}"
_DATA = "{data}"
_HERE = "localhost,127.0.0.1,::1"
_OTHERS = re.compile(r"\{(port|url):([^{}]*)\}")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Service(_Frozen):
    """How one service is started, and how to see that it is ready.

    `command`: a list, or a text that is split as a shell would. `cwd`: where it is started, as seen
    from the target's file. `port`: where the others look for it; 0: nowhere in particular, they are
    told. `port_env`: the variable in which it takes the port to listen on; without it, and without
    `{port}` in `command` or `env`, it listens on `port` and can't be moved. `ready`: a path that
    answers with less than 500 when it is ready; without, that its port takes connections.
    """

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    cwd: Text = "."
    port: Port | None = None
    port_env: Variable | None = None
    ready: Path | None = None
    env: dict[Variable, Text] = {}

    @field_validator("command", mode="before")
    @classmethod
    def _as_a_shell_would_split_it(cls, command: Any) -> Any:
        if not isinstance(command, str):
            return command
        try:
            parts = tuple(shlex.split(command))
        except ValueError as error:
            raise ValueError(f"{command!r} can't be split into words: {error}.") from None
        if not parts:
            raise ValueError('it is empty. Say what starts the service, as in "npm start".')
        return parts

    @field_validator("command")
    @classmethod
    def _names_a_program(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not command[0].strip():
            raise ValueError("its first word is empty; it names the program to start.")
        return command

    @property
    def movable(self) -> bool:
        """Whether it listens where it is told to."""
        return self.port_env is not None or any(_PORT in text for text in self._texts())

    def mentions(self) -> tuple[str, ...]:
        """The other services that its command and its environment name, each once."""
        found = (match[2] for text in self._texts() for match in _OTHERS.finditer(text))
        return tuple(dict.fromkeys(found))

    def started_with(
        self, port: int, others: Mapping[str, int], data: Folder
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Its command and what its environment has besides, for when it is to listen on `port`.

        `others`: on which port of this machine each service is found; `data`: a folder of its own,
        which outlives its process. Raises KeyError for a service that is mentioned and not there.
        """

        def filled(text: str) -> str:
            text = text.replace(_PORT, str(port)).replace(_DATA, str(data))
            return _OTHERS.sub(lambda match: _address(match[1], others[match[2]]), text)

        env = {name: filled(text) for name, text in self.env.items()}
        if self.port_env:
            env = {self.port_env: str(port)} | env
        return tuple(map(filled, self.command)), env

    def _texts(self) -> Iterator[str]:
        yield from self.command
        yield from self.env.values()


class Target(_Frozen):
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
    hosts: dict[Host, str] = {}
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

    def environment_of(self, name: str, ports: Mapping[str, int]) -> dict[str, str]:
        """What a service's environment has so that it finds others by the names in `hosts`, which
        mean nothing on this machine: most HTTP clients ask the proxy that is named there, and the
        sidecar before it is one. {} where no names are, or no sidecar can be."""
        if not self.hosts or not self.services[name].movable:
            return {}
        proxy = _address("url", ports[name])
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


def _address(what: str, port: int) -> str:
    return f"http://127.0.0.1:{port}" if what == "url" else str(port)


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
