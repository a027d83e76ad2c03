"""One service that was found: its command, its port, its routes, and the variables it reads."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.domain.services import BUS
from lab.external.adopt.languages import Language
from lab.external.adopt.routes import DetectedRoute, find_routes
from lab.external.adopt.sources import GuessedValue, SourceFile, first_match

_ROLE_ENDS = "service|srv|svc|server|api|app|ms|microservice|svr|depl|deployment"
_NAME_END = re.compile(rf"-?(?:cluster-?ip(?:-(?:service|srv|svc|serv))?|{_ROLE_ENDS})$")
_ENV_IN = re.compile(r"process\.env\.(?P<env>\w+)|getenv\([\"'](?P<got>\w+)|environ\W+(?P<set>\w+)")
_NUMBER_IN = re.compile(r"(?<![\w.])(?P<port>[1-9]\d{2,4})(?![\w.])")


@dataclass
class DetectedService:
    """A service that was found. `cwd` is relative to the folder. `config`: files of settings that
    its code loads. `env`: variables that the code needs and only a deployment sets."""

    name: str
    cwd: Path
    command: GuessedValue
    sources: list[SourceFile]
    language: Language
    port: GuessedValue | None = None
    port_env: GuessedValue | None = None
    routes: list[DetectedRoute] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    config: list[SourceFile] = field(default_factory=list)
    env: dict[str, GuessedValue] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """The part of its name that says what it does: `posts` for `posts-service`."""
        return role_of(self.name)

    @property
    def texts(self) -> list[SourceFile]:
        """Its code, and the settings that its code loads."""
        return [*self.sources, *self.config]

    def read_code(self) -> None:
        """Find its port and its routes in its sources."""
        if not self._read_named_port() and (
            found := first_match(self.language.ports, self.sources)
        ):
            source, match = found
            reason = f"{source.location(match.start())}: {source.line_at(match.start())}"
            groups = match.groupdict()
            if groups.get("env"):
                self.port_env = GuessedValue(groups["env"], reason)
            if groups.get("port"):
                self.port = GuessedValue(groups["port"], reason)
        self.routes = find_routes(self.sources, self.language)

    def variables(self) -> Iterator[tuple[str, str]]:
        """Each environment variable that the code reads without a default, with file and line."""
        for source in self.sources:
            for pattern in self.language.variables:
                for match in pattern.finditer(source.without_comments):
                    yield match["env"], source.location(match.start())

    def _read_named_port(self) -> bool:
        """Find the port by the name that `listen` gets: `const PORT = …`, `port: …` elsewhere."""
        if self.language.port_name is None or not (
            called := first_match((self.language.port_name,), self.sources)
        ):
            return False
        name = called[1]["name"].split(".")[-1]
        others = [source for source in self.sources if source is not called[0]]
        return any(
            self._read_destructured(name, source) or self._read_definition(name, source)
            for source in (called[0], *others)
        )

    def _read_definition(self, name: str, source: SourceFile) -> bool:
        """`PORT = …`: a number, a variable of the environment, or both."""
        kinds = r"(?:\s*:\s*(?:number|string|int)(?:\s*\|\s*\w+)*)?"
        defined = re.compile(rf"\b{name}{kinds}\s*(?<![=!<>])[:=](?!=)\s*(?P<value>[^;\n]+)")
        for match in defined.finditer(source.without_comments):
            variable, number = _ENV_IN.search(match["value"]), _NUMBER_IN.search(match["value"])
            # In `4000 || process.env.PORT` the variable is never read.
            if variable and number and number.start() < variable.start():
                variable = None
            reason = f"{source.location(match.start())}: {source.line_at(match.start())}"
            if variable:
                env = next(text for text in variable.groups() if text)
                self.port_env = GuessedValue(env, reason)
            if number:
                self.port = GuessedValue(number["port"], reason)
            if variable or number:
                return True
        return False

    def _read_destructured(self, name: str, source: SourceFile) -> bool:
        """`const { PORT } = process.env`."""
        taken = rf"\{{[^}}]*\b{name}\b(?:\s*=\s*(?P<port>\d+))?[^}}]*\}}\s*=\s*process\.env"
        match = re.search(taken, source.without_comments)
        if match is None:
            return False
        reason = f"{source.location(match.start())}: {source.line_at(match.start())}"
        self.port_env = GuessedValue(name, reason)
        self.port = GuessedValue(match["port"], reason) if match["port"] else None
        return True


def role_of(name: str) -> str:
    """What a service or a host does, from its name: `posts` for `posts-clusterip-srv`."""
    role, shorter = name.lower(), ""
    while (shorter := _NAME_END.sub("", role)) not in (role, ""):
        role = shorter
    return BUS if role in ("event", "events", "broker", "message-bus", "bus") else role.strip("-")


def named_service(host: str, services: Iterable[DetectedService]) -> tuple[str, bool] | None:
    """The service that a host name or a label means, and whether that is certain.

    `posts-srv` means `posts`, also if the service is called `post-service`. `blog-posts-srv` most
    likely does.
    """
    every = list(services)
    role = role_of(host)
    for known, wanted in (
        ({service.name: service for service in every}, host),
        ({service.role: service for service in every}, role),
        ({_plain(service.role): service for service in every}, _plain(role)),
    ):
        if wanted in known:
            return known[wanted].name, True
    parts = [
        service
        for service in every
        if f"-{service.role.rstrip('s')}-" in f"-{role.replace('s-', '-').rstrip('s')}-"
    ]
    return (parts[0].name, False) if len(parts) == 1 else None


def _plain(role: str) -> str:
    return role.replace("-", "").rstrip("s")
