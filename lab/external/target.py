"""A target: somebody else's services as data, how each is started, how they are spoken to.

What is left out is the well-known course's: its ports, its paths, its event bus.

One service of somebody else's as data: what starts it, and how to see that it is ready.

Texts in braces are filled in when it is started, in `command` and `env`: `{port}` is where it is to
listen, `{port:posts}` and `{url:posts}` lead to another service (through the sidecar before it),
`{data}` is an empty folder that each run has anew. All other braces stay as they are.

A target from its file, or sentences about what is wrong with it.

What would keep a service from starting on this machine, as far as can be seen before.
"""

import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from lab.domain.services import BUS, BY_HAND_PORTS
from lab.external import mapping
from lab.external.mapping import Actions
from lab.support.text import did_you_mean
from lab.support.toml_model import FileError, Kind, read_model, read_toml

# ── One service of somebody else's as data: what starts it, and how to see that it is ready.

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
_OTHERS = re.compile(r"\{(port|url):([^{}]*)\}")


class Frozen(BaseModel):
    """What a file says, and nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Service(Frozen):
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
    ready: mapping.Path | None = None
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
        self, port: int, others: Mapping[str, int], data: Path
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Its command and what its environment has besides, for when it is to listen on `port`.

        `others`: on which port of this machine each service is found; `data`: a folder of its own,
        which outlives its process. Raises KeyError for a service that is mentioned and not there.
        """

        def filled(text: str) -> str:
            text = text.replace(_PORT, str(port)).replace(_DATA, str(data))
            return _OTHERS.sub(lambda match: address(match[1], others[match[2]]), text)

        env = {name: filled(text) for name, text in self.env.items()}
        if self.port_env:
            env = {self.port_env: str(port)} | env
        return tuple(map(filled, self.command)), env

    def _texts(self) -> Iterator[str]:
        yield from self.command
        yield from self.env.values()


def address(what: str, port: int) -> str:
    """Where a service on this machine is: its `url`, or its `port`."""
    return f"http://127.0.0.1:{port}" if what == "url" else str(port)


# ── A target: somebody else's services as data, how each is started, how they are spoken to.

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
    folder: Path
    """Where its file stands: `cwd` begins there."""
    title: Annotated[str, Field(max_length=200)] = ""
    services: Annotated[dict[Name, Service], Field(min_length=1, max_length=20)]
    bus: str | None = None
    events: mapping.Path = "/events"
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

    def cwd_of(self, name: str) -> Path:
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


# ── A target from its file, or sentences about what is wrong with it.

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class TargetError(FileError):
    """A target file of which nothing can be started."""


TARGET_FILE = Kind("a target", TargetError, patterns=PATTERNS)


def read_target(path: Path) -> Target:
    """The target in a file, which is named after it. Raises TargetError."""
    target = read_model(Target, path, TARGET_FILE, folder=path.absolute().parent)
    if problems := [
        f"services.{name}.cwd: there is no folder {service.cwd!r} beside this file. "
        f"It would be {target.cwd_of(name)}."
        for name, service in target.services.items()
        if not target.cwd_of(name).is_dir()
    ]:
        raise TargetError(path, problems, path.read_text("utf-8-sig"))
    return target


def is_target(path: Path) -> bool:
    """Whether a file means to be a target, and no scenario. Raises TargetError for no TOML."""
    return "services" in read_toml(path, TARGET_FILE)[0]


def target_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of target files."""
    made = Target.model_json_schema()
    for given in ("name", "folder"):  # by the file itself
        del made["properties"][given]
        made["required"].remove(given)
    command = made["$defs"]["Service"]["properties"]["command"]
    made["$defs"]["Service"]["properties"]["command"] = {
        "anyOf": [{"type": "string", "minLength": 1}, command]
    }
    return {"$schema": DRAFT, **made, "title": "A target of the sync-versus-async lab"}


# ── What would keep a service from starting on this machine, as far as can be seen before.

_BETWEEN = frozenset(("&&", "||", "|", ";", "&", ">", ">>", "<"))
_ONLY_A_SHELL_KNOWS = frozenset(("cd", "export", "source", "set", "exec", "ulimit"))


def remarks(target: Target) -> Iterator[str]:
    """A sentence for each service of which that can be said."""
    for name, service in target.services.items():
        program, *more = service.command
        if word := _of_a_shell(program, more):
            yield (
                f"services.{name}.command: {word!r} is for a shell, and no shell is in between. "
                "Use `cwd` for the folder and `env` for variables, or "
                """["sh", "-c", "…"] with all of it in one text."""
            )
        elif not _is_there(program, target.cwd_of(name), service.env.get("PATH")):
            where = "there is no such file" if "/" in program else "it is not on the PATH"
            yield (
                f"services.{name}.command: {program!r} can't be started on this machine: {where}. "
                "Is it installed, and spelled so?"
            )


def _of_a_shell(program: str, more: list[str]) -> str:
    """The first word that means something to a shell alone, "" for none."""
    if program in _ONLY_A_SHELL_KNOWS or "=" in program:
        return program
    return next((word for word in more if word in _BETWEEN or word.endswith(";")), "")


def _is_there(program: str, cwd: Path, path: str | None) -> bool:
    if "{" in program:  # what is filled in is known at the start
        return True
    if "/" in program:
        return os.access(cwd / program, os.X_OK)
    return shutil.which(program, path=path) is not None
