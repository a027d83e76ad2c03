"""Reads what starts services elsewhere: `.env`, Docker Compose, Kubernetes and Dockerfiles.

They contain host names, ports, and variables that the code reads and that a start by hand lacks.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.external.adopt.services import DetectedService, named_service
from lab.external.adopt.sources import YAML_SUFFIXES, GuessedValue, SourceFile
from lab.external.responses import value_at

_LOADS_DOTENV = re.compile(r"dotenv|--env-file|environ\.Env\(|BaseSettings")
_DOTENV_PATH = re.compile(
    r"(?:config\(\s*\{[^}]*\bpath:\s*|load_dotenv\(\s*|env-file[= ])"
    r"[\"'`]?(?P<path>[\w./-]*\.env[\w.]*)"
)
_ASSIGNMENT = re.compile(
    r"^[ \t]*(?:export\s+)?(?P<name>\w+)[ \t]*=[ \t]*(?P<value>[^\n]*)$", re.MULTILINE
)
_DOCKER_ENV = re.compile(r"^ENV\s+(?P<name>\w+)(?:\s*=\s*|\s+)(?P<value>\S+)\s*$", re.MULTILINE)
_DOCKER_EXPOSE = re.compile(r"^EXPOSE\s+(?P<port>\d{2,5})", re.MULTILINE)
_PORT_ARGUMENT = re.compile(
    r"(?:--port|-p)[\"',=\s]+(?P<port>\d{2,5})|0\.0\.0\.0:(?P<bound>\d{2,5})"
)


@dataclass
class Deployment:
    """What a deployment says of one service. `built_from`: the folder of its image; `label`: its
    name there; `names`: its host names; `port`: where it listens in its container."""

    label: str
    built_from: Path | None = None
    names: set[str] = field(default_factory=set)
    env: dict[str, GuessedValue] = field(default_factory=dict)
    env_files: list[Path] = field(default_factory=list)
    port: GuessedValue | None = None


def read_deployments(sources: list[SourceFile], unknown: list[str]) -> list[Deployment]:
    """What Compose and Kubernetes files say. A sentence for each unreadable file to `unknown`."""
    found: list[Deployment] = []
    for source in sources:
        if source.path.suffix not in YAML_SUFFIXES:
            continue
        try:
            for document in yaml.safe_load_all(source.text):
                if isinstance(document, dict):
                    found += _kubernetes(document, source)
                    found += _compose(document, source)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{source.path.as_posix()}:{mark.line + 1}" if mark else source.path.as_posix()
            unknown.append(f"{where}: it is no valid YAML, so the names in it are not known.")
    return found


def deployed_service(deployment: Deployment, services: list[DetectedService]) -> str | None:
    """The service that a deployment is about; None if it is none of them."""
    if deployment.built_from is not None:
        for service in services:
            if service.cwd == deployment.built_from:
                return service.name
    found = named_service(deployment.label, services)
    return found[0] if found and found[1] else None


def apply_settings(
    services: list[DetectedService], sources: list[SourceFile], deployments: list[Deployment]
) -> None:
    """Give each service the port and the variables that its settings and deployments say."""
    by_path = {source.path.as_posix(): source for source in sources}
    for service in services:
        own = [one for one in deployments if deployed_service(one, services) == service.name]
        dockerfile = next(
            (each for each in sources if each.is_dockerfile and each.path.parent == service.cwd),
            None,
        )
        loaded = dict(_loaded_variables(service, by_path))
        deployed = dict(_docker_variables(dockerfile)) if dockerfile else {}
        for one in own:
            for file in one.env_files:
                if source := by_path.get(file.as_posix()):
                    deployed |= dict(_assignments(source))
            deployed |= one.env
        _settle_port(service, loaded, deployed, own, dockerfile)
        for name, where in service.variables():
            if name in loaded or name in service.env or _is_the_port(service, name):
                continue
            if value := deployed.get(name):
                service.env[name] = value
            elif name not in ("NODE_ENV", "HOME", "PWD", "PATH", "DEBUG"):
                service.env.setdefault(name, GuessedValue("", where, certain=False))

    _separate_container_ports(services)


def _separate_container_ports(services: list[DetectedService]) -> None:
    """In containers, several services may listen on one port. Here, callers use their names."""
    ports = [service.port.value for service in services if service.port]
    for service in services:
        movable = service.port_env or "{port}" in service.command.value
        if movable and service.port and ports.count(service.port.value) > 1:
            service.port = None


def _is_the_port(service: DetectedService, name: str) -> bool:
    return bool(service.port_env and service.port_env.value == name)


def _settle_port(
    service: DetectedService,
    loaded: dict[str, GuessedValue],
    deployed: dict[str, GuessedValue],
    own: list[Deployment],
    dockerfile: SourceFile | None,
) -> None:
    if service.port_env:
        name = service.port_env.value
        setting = loaded.get(name) or (None if service.port else deployed.get(name))
        if setting and setting.value.isdecimal():
            service.port = setting
    if service.port is None and (
        guess := next((one.port for one in own if one.port), None) or _docker_port(dockerfile)
    ):
        service.port = GuessedValue(guess.value, guess.reason, certain=False)


def _loaded_variables(
    service: DetectedService, by_path: dict[str, SourceFile]
) -> Iterator[tuple[str, GuessedValue]]:
    """The variables of the `.env` file that the code loads by itself."""
    code = "\n".join(source.without_comments for source in service.sources)
    manifest = by_path.get((service.cwd / "package.json").as_posix())
    code += manifest.text if manifest else ""
    if not _LOADS_DOTENV.search(code):
        return
    named = _DOTENV_PATH.search(code)
    paths = [posixpath.normpath((service.cwd / (named["path"] if named else ".env")).as_posix())]
    if service.language.name == "Python":  # python-dotenv looks in the folders above, too
        paths += [(folder / ".env").as_posix() for folder in service.cwd.parents]
    if source := next((by_path[path] for path in paths if path in by_path), None):
        service.config.append(source)
        yield from _assignments(source)


def _assignments(source: SourceFile) -> Iterator[tuple[str, GuessedValue]]:
    for match in _ASSIGNMENT.finditer(source.text):
        value = match["value"].strip()
        quoted = re.match(r"([\"'])(.*?)\1", value)
        value = quoted[2] if quoted else re.sub(r"\s+#.*", "", value)
        where = source.location(match.start())
        yield match["name"], GuessedValue(value, f"{where}: {match['name']}")


def _docker_variables(dockerfile: SourceFile) -> Iterator[tuple[str, GuessedValue]]:
    for match in _DOCKER_ENV.finditer(dockerfile.without_comments):
        where = dockerfile.location(match.start())
        yield match["name"], GuessedValue(match["value"].strip("\"'"), f"{where}: ENV")


def _docker_port(dockerfile: SourceFile | None) -> GuessedValue | None:
    """The port in the last line of a Dockerfile, or that it exposes."""
    if dockerfile is None:
        return None
    text = dockerfile.without_comments
    command = next((line for line in reversed(text.splitlines()) if line.startswith("CMD")), "")
    if match := _PORT_ARGUMENT.search(command):
        where = dockerfile.location(text.rfind(command))
        return GuessedValue(match["port"] or match["bound"], where)
    if match := _DOCKER_EXPOSE.search(text):
        return GuessedValue(match["port"], dockerfile.location(match.start()))
    return None


# ── Kubernetes


def _kubernetes(document: dict[Any, Any], source: SourceFile) -> Iterator[Deployment]:
    name, where = value_at(document, "metadata.name"), source.path.as_posix()
    if not isinstance(name, str):
        return
    if document.get("kind") == "Service":
        selector = value_at(document, "spec.selector")
        label = selector.get("app") or selector.get("name") if isinstance(selector, dict) else None
        if isinstance(label, str):
            yield Deployment(label.lower(), names={name.lower()})
    elif document.get("kind") in ("Deployment", "StatefulSet", "Pod"):
        template = value_at(document, "spec.template") or document
        label = value_at(template, "metadata.labels.app") or name
        containers = value_at(template, "spec.containers")
        for container in containers if isinstance(containers, list) else ():
            if not isinstance(container, dict):
                continue
            deployment = Deployment(str(label).lower())
            for entry in container.get("env") or ():
                if isinstance(entry, dict) and isinstance(entry.get("value"), str | int):
                    key = str(entry.get("name"))
                    deployment.env[key] = GuessedValue(str(entry["value"]), f"{where}: {key}")
            ports = container.get("ports")
            port = (
                value_at(ports[0], "containerPort") if isinstance(ports, list) and ports else None
            )
            if isinstance(port, int):
                deployment.port = GuessedValue(str(port), f"{where}: containerPort")
            yield deployment


# ── Docker Compose


def _compose(document: dict[Any, Any], source: SourceFile) -> Iterator[Deployment]:
    services, where = document.get("services"), source.path.as_posix()
    folder = source.path.parent
    for name, service in services.items() if isinstance(services, dict) else ():
        build = service.get("build") if isinstance(service, dict) else None
        context = build.get("context") if isinstance(build, dict) else build
        if not isinstance(name, str) or not isinstance(context, str):
            continue
        built_from = Path(posixpath.normpath((folder / context).as_posix()))
        # The folder is named after the service more often than the image.
        deployment = Deployment(built_from.name or name, built_from, {name.lower()})
        if isinstance(other := service.get("container_name"), str):
            deployment.names.add(other.lower())
        for key, value in _compose_variables(service.get("environment")):
            deployment.env[key] = GuessedValue(value, f"{where}: {key}")
        files = service.get("env_file") or []
        for file in [files] if isinstance(files, str) else files:
            if isinstance(file, str):
                deployment.env_files.append(Path(posixpath.normpath((folder / file).as_posix())))
        for port in service.get("ports") or ():
            if match := re.search(r"(\d{2,5})(?:/tcp)?$", str(port)):
                deployment.port = GuessedValue(match[1], f"{where}: ports")
                break
        yield deployment


def _compose_variables(environment: object) -> Iterator[tuple[str, str]]:
    if isinstance(environment, dict):
        yield from (
            (str(name), str(value)) for name, value in environment.items() if value is not None
        )
    elif isinstance(environment, list):
        for entry in environment:
            name, found, value = str(entry).partition("=")
            if found:
                yield name, value
