"""One service of somebody else's as data: what starts it, and how to see that it is ready.

Texts in braces are filled in when it is started, in `command` and `env`: `{port}` is where it is to
listen, `{port:posts}` and `{url:posts}` lead to another service (through the sidecar before it),
`{data}` is an empty folder that each run has anew. All other braces stay as they are.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path as Folder
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from lab.foreign import mapping
from lab.foreign.mapping import Path

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
