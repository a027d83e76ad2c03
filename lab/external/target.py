"""A target: an external system as data. It says how its services start and how to call them.

A missing key has the value of the well-known course: its ports, its paths, its event bus.

Placeholders in `command` and `env` of a service are filled in at its start: `{port}` is the port to
listen on. `{port:posts}` and `{url:posts}` lead to another service, through its sidecar where
possible. `{data}` is a data folder, empty at the start of each run. Other braces stay unchanged.

`read_target` reads a target file. `start_problems` reports commands that can't start on this
machine.
"""

import os
import re
import shlex
import shutil
import sys
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

from lab.domain.model import FORBIDDEN_WORD
from lab.domain.services import BUS, BY_HAND_PORTS
from lab.external import mapping
from lab.external.mapping import Actions
from lab.support.text import did_you_mean
from lab.support.toml_model import FileError, FileType, read_model, read_toml

# ── Services

_NAME = r"^[a-z][a-z0-9-]{0,39}$"
_VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
_NO_NUL = r"^[^\x00]*$"
_HOST = r"^[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?$"

PATTERNS = {
    _NAME: "small letters, digits and hyphens, as in event-bus",
    _VARIABLE_NAME: "the name of a variable: letters, digits and underscores, as in PORT",
    _HOST: "a host, or a host and its port, as in posts-srv or posts-srv:4000",
    _NO_NUL: "text without NUL characters",
    **mapping.PATTERNS,
}
"""For each pattern, what is expected of a text; for error messages."""

ServiceName = Annotated[str, StringConstraints(pattern=_NAME)]
VariableName = Annotated[str, StringConstraints(pattern=_VARIABLE_NAME)]
HostName = Annotated[str, StringConstraints(pattern=_HOST)]
PortNumber = Annotated[int, Field(strict=True, ge=0, le=65_535)]
Text = Annotated[str, StringConstraints(pattern=_NO_NUL, max_length=10_000)]

_PORT_PLACEHOLDER = "{port}"
_DATA_PLACEHOLDER = "{data}"
_REFERENCE = re.compile(r"\{(port|url):([^{}]*)\}")


class FrozenModel(BaseModel):
    """A model that can't be changed and has no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ServiceSpec(FrozenModel):
    """How one service starts, and how to see that it is ready.

    `command`: a list, or a text that is split as a shell would. `cwd`: its working folder, relative
    to the target file. `port`: where other services call it; 0: any port, its callers get the
    number. `port_env`: the variable with the port to listen on; without it, and without `{port}` in
    `command` or `env`, the service always listens on `port`. `ready`: a path on which a ready
    service responds with less than 500; without it, a service that accepts connections is ready.
    """

    command: Annotated[tuple[Text, ...], Field(min_length=1)]
    cwd: Text = "."
    port: PortNumber | None = None
    port_env: VariableName | None = None
    ready: mapping.Path | None = None
    env: dict[VariableName, Text] = {}

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
        """Whether the lab can choose the port on which it listens."""
        return self.port_env is not None or any(
            _PORT_PLACEHOLDER in text for text in self._templates()
        )

    def referenced_services(self) -> tuple[str, ...]:
        """The other services that its command and its environment name, each once."""
        found = (match[2] for text in self._templates() for match in _REFERENCE.finditer(text))
        return tuple(dict.fromkeys(found))

    def command_and_env(
        self, port: int, public_ports: Mapping[str, int], data_folder: Path
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Its command and its additional environment variables, if it is to listen on `port`.

        `public_ports`: the public port of each service; `data_folder` outlives the process. Raises
        KeyError for a mentioned service that is not in `public_ports`.
        """

        def fill(text: str) -> str:
            text = text.replace(_PORT_PLACEHOLDER, str(port)).replace(
                _DATA_PLACEHOLDER, str(data_folder)
            )
            return _REFERENCE.sub(
                lambda match: format_address(match[1], public_ports[match[2]]), text
            )

        env = {name: fill(text) for name, text in self.env.items()}
        if self.port_env:
            env = {self.port_env: str(port)} | env
        return tuple(map(fill, self.command)), env

    def _templates(self) -> Iterator[str]:
        yield from self.command
        yield from self.env.values()


def format_address(kind: str, port: int) -> str:
    """The `url` or the `port` of a service on this machine, as text."""
    return f"http://127.0.0.1:{port}" if kind == "url" else str(port)


# ── Targets

COURSE_PORTS = BY_HAND_PORTS["async-bus"]
"""The ports of the course's services: `posts` 4000, `comments` 4001, `query` 4002, ..."""

NO_BUS = "none"
ANY_PORT = 0
_NO_PROXY = "localhost,127.0.0.1,::1"


class Target(FrozenModel):
    """A whole external system, or a part of one.

    `bus`: which of the services is the event bus; "none": there is no bus. `events`: the path on
    which the bus receives events, and on which it delivers them to each service. `hosts`: other
    host names with which services call each other (`posts-clusterip-srv`, or with a port), and the
    service behind each. `moderation`: the service that judges comments; without it, `lab check`
    finds it by its effect. `forbidden`: the word that it rejects. `moderated_within_s`: how long a
    verdict may take.
    """

    name: Annotated[str, Field(min_length=1)]
    folder: Path
    """The folder of the target file; `cwd` is relative to it."""
    title: Annotated[str, Field(max_length=200)] = ""
    services: Annotated[dict[ServiceName, ServiceSpec], Field(min_length=1, max_length=20)]
    bus: str | None = None
    events: mapping.Path = "/events"
    ready_within_s: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 20.0
    hosts: dict[HostName, str] = Field(default_factory=dict)
    moderation: str | None = None
    forbidden: Annotated[Text, Field(min_length=1)] = FORBIDDEN_WORD
    moderated_within_s: Annotated[float, Field(gt=0, le=120, allow_inf_nan=False)] = 10.0
    actions: Actions = Field(default_factory=Actions)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if problems := [problem for look in _CHECKS for problem in look(self)]:
            raise ValueError("\n".join(problems))
        return self

    @property
    def bus_name(self) -> str | None:
        """The name of its event bus; None if it has none."""
        if self.bus is None:
            return BUS if BUS in self.services else None
        return None if self.bus == NO_BUS else self.bus

    def public_port(self, name: str) -> int:
        """Where other services call a service; ANY_PORT if they get the number."""
        port = self.services[name].port
        return COURSE_PORTS.get(name, ANY_PORT) if port is None else port

    def working_folder(self, name: str) -> Path:
        """The working folder of a service."""
        return (self.folder / self.services[name].cwd).absolute()

    def missing_services(self) -> tuple[str, ...]:
        """Why it can't run alone, a sentence for each reason; () if it can. Also an incomplete
        target can replace a service of the lab."""
        asked = {how.service: action for action, how in self.actions}
        missing = {name: f"{action} asks it" for name, action in asked.items()}
        for name, service in self.services.items():
            missing |= dict.fromkeys(service.referenced_services(), f"{name} is told where it is")
        missing |= {to: f"the host {host!r} leads there" for host, to in self.hosts.items()}
        return tuple(
            f"services.{name}: there is none, and {why}."
            for name, why in missing.items()
            if name not in self.services
        )

    def can_have_sidecar(self, name: str) -> bool:
        """Whether a sidecar can be between a service and its callers: the service can listen on
        another port, or its callers use a host name, which can lead to the sidecar."""
        return self.services[name].movable or name in self.hosts.values()

    def proxy_environment(self, port: int | None) -> dict[str, str]:
        """Environment variables with which a service reaches others by the names in `hosts`.

        The names don't resolve on this machine. But most HTTP clients use the proxy of these
        variables, and the service's own sidecar, on this port, is a proxy that knows the names. {}
        if there are no names.
        """
        if not self.hosts or port is None:
            return {}
        proxy = format_address("url", port)
        return {
            "http_proxy": proxy,
            "HTTP_PROXY": proxy,
            "no_proxy": _NO_PROXY,
            "NO_PROXY": _NO_PROXY,
            "NODE_USE_ENV_PROXY": "1",
        }

    def host_ports(self, ports: Mapping[str, int]) -> dict[str, int]:
        """The port behind each host name, as a sidecar takes it for `hosts`.

        `ports`: the public port of each service; its own name always leads there.
        """
        return {**ports, **{host: ports[to] for host, to in self.hosts.items() if to in ports}}


def _check_bus(target: Target) -> Iterator[str]:
    if target.bus_name and target.bus_name not in target.services:
        yield f"bus: {_unknown_service(target.bus_name, (*target.services, NO_BUS))}"


def _check_ports(target: Target) -> Iterator[str]:
    taken: dict[int, str] = {}
    for name, service in target.services.items():
        port = target.public_port(name)
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


def _check_references(target: Target) -> Iterator[str]:
    known = tuple(dict.fromkeys((*target.services, *COURSE_PORTS)))
    for name, service in target.services.items():
        for other in service.referenced_services():
            if other not in known:
                yield f"services.{name}: {_unknown_service(other, known)}"
    for host, to in target.hosts.items():
        if to not in known:
            yield f"hosts: {host!r} is said to be {to!r}. {_unknown_service(to, known)}"
    if target.moderation and target.moderation not in target.services:
        yield f"moderation: {_unknown_service(target.moderation, target.services)}"
    for action, how in target.actions:
        if how.service not in known:
            yield f"actions.{action}.service: {_unknown_service(how.service, known)}"


def _unknown_service(name: str, known: Iterable[str]) -> str:
    return f"there is no service {name!r} here. {did_you_mean(name, known)}"


_CHECKS: tuple[Callable[[Target], Iterator[str]], ...] = (
    _check_bus,
    _check_ports,
    _check_references,
)


# ── Target files

JSON_SCHEMA_DRAFT = "https://json-schema.org/draft/2020-12/schema"


class TargetError(FileError):
    """A target file with errors."""


TARGET_FILE = FileType("a target", TargetError, patterns=PATTERNS)


def read_target(path: Path) -> Target:
    """The target in a file; its name is that of the file. Raises TargetError."""
    target = read_model(Target, path, TARGET_FILE, folder=path.absolute().parent)
    if problems := [
        f"services.{name}.cwd: there is no folder {service.cwd!r} beside this file. "
        f"It would be {target.working_folder(name)}."
        for name, service in target.services.items()
        if not target.working_folder(name).is_dir()
    ]:
        raise TargetError(path, problems, path.read_text("utf-8-sig"))
    return target


def is_target(path: Path) -> bool:
    """Whether a file is a target and not a scenario. Raises TargetError if it is not TOML."""
    return "services" in read_toml(path, TARGET_FILE)[0]


def target_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of target files."""
    schema = Target.model_json_schema()
    for key in ("name", "folder"):  # both come from the path of the file
        del schema["properties"][key]
        schema["required"].remove(key)
    command = schema["$defs"]["ServiceSpec"]["properties"]["command"]
    schema["$defs"]["ServiceSpec"]["properties"]["command"] = {
        "anyOf": [{"type": "string", "minLength": 1}, command]
    }
    return {
        "$schema": JSON_SCHEMA_DRAFT,
        **schema,
        "title": "A target of the sync-versus-async lab",
    }


# ── Commands that can't start

_SHELL_OPERATORS = frozenset(("&&", "||", "|", ";", "&", ">", ">>", "<"))
_SHELL_COMMANDS = frozenset(("cd", "export", "source", "set", "exec", "ulimit"))


def start_problems(target: Target) -> Iterator[str]:
    """A sentence for each service whose command can't start on this machine."""
    for name, service in target.services.items():
        program, *more = service.command
        if word := _shell_word(program, more):
            yield (
                f"services.{name}.command: {word!r} is for a shell, and no shell is in between. "
                "Use `cwd` for the folder and `env` for variables, or "
                """["sh", "-c", "…"] with all of it in one text."""
            )
        elif not _is_executable(program, target.working_folder(name), service.env.get("PATH")):
            where = "there is no such file" if "/" in program else "it is not on the PATH"
            yield (
                f"services.{name}.command: {program!r} can't be started on this machine: {where}. "
                "Is it installed, and spelled so?"
            )


def _shell_word(program: str, arguments: list[str]) -> str:
    """The first word that only a shell understands; "" if there is none."""
    if program in _SHELL_COMMANDS or "=" in program:
        return program
    return next((word for word in arguments if word in _SHELL_OPERATORS or word.endswith(";")), "")


def service_path(program: str) -> str | None:
    """The PATH of a service: without the `bin` of the lab's own virtual environment, whose Python
    lacks the packages of the service. Unchanged if `program` is nowhere else; None: no PATH."""
    path = os.environ.get("PATH")
    if path is None or sys.prefix == sys.base_prefix:
        return path
    own = Path(sys.prefix).resolve()
    others = [entry for entry in path.split(os.pathsep) if not _is_below(entry, own)]
    without_own = os.pathsep.join(others)
    return without_own if "/" in program or shutil.which(program, path=without_own) else path


def _is_below(folder: str, parent: Path) -> bool:
    return bool(folder) and Path(folder).resolve().is_relative_to(parent)


def _is_executable(program: str, cwd: Path, search_path: str | None) -> bool:
    if "{" in program:  # the value is known only at the start
        return True
    if "/" in program:
        return os.access(cwd / program, os.X_OK)
    return shutil.which(program, path=search_path) is not None
