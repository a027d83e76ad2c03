"""Finds the services in a folder, and the command that starts each of them.

Each function in DETECTORS takes a folder and a list. To that list it adds a sentence for each thing
that looks like a service but is none.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from lab.external.adopt.languages import GO, PYTHON, SHELL
from lab.external.adopt.node import find_node
from lab.external.adopt.services import DetectedService
from lab.external.adopt.sources import (
    GuessedValue,
    SourceFile,
    SourceFolder,
    first_match,
    service_slug,
)
from lab.external.target import COURSE_PORTS

# ── Services of each language

_START_SCRIPTS = ("start.sh", "run.sh", "serve.sh", "service.sh")
_PORT_ARGUMENT = re.compile(r"sys\.argv\[1\]")
_DOCKER_CMD = re.compile(r"^CMD\s+(?P<list>\[[^\]\n]+\])|^CMD\s+(?P<text>.+)$", re.MULTILINE)
_DOCKER_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)?([\w./-]+)", re.MULTILINE | re.IGNORECASE)
_STOCK_IMAGES = frozenset(
    (
        *("redis", "nginx", "mongo", "postgres", "mysql", "mariadb", "rabbitmq", "nats", "kafka"),
        *("zookeeper", "traefik", "haproxy", "memcached", "elasticsearch", "httpd", "caddy"),
        *("nats-streaming", "adminer", "mongo-express", "envoy", "jaeger", "prometheus", "grafana"),
    )
)
_DOCKER_EXPOSE = re.compile(r"^EXPOSE\s+(?P<port>\d{2,5})", re.MULTILINE)


def find_go(folder: SourceFolder, skipped: list[str]) -> Iterator[DetectedService]:
    """A Go program that listens."""
    code = [
        file for file in folder.files if file.path.suffix == ".go" and "package main" in file.text
    ]
    if any(GO.server.search(file.text) for file in code):
        every = [file for file in folder.files_below if file.path.suffix == ".go"]
        service = DetectedService(
            service_slug(folder.name),
            folder.path,
            GuessedValue("go run .", f"{code[0].path.as_posix()}"),
            every,
            GO,
        )
        service.notes.append(
            "`go run` compiles at each start. Faster: `go build -o service .`, and its name here."
        )
        yield service


_PROGRAM_FOLDERS = ("app", "src", "cmd")


def find_python(folder: SourceFolder, skipped: list[str]) -> Iterator[DetectedService]:
    """Python programs: each file that serves HTTP and that no other file imports."""
    code = {file.path.stem: file for file in folder.files if file.path.suffix == ".py"}
    imported = {
        stem
        for stem in code
        for file in code.values()
        if re.search(
            rf"^\s*(?:from|import) (?:\.|{re.escape(folder.path.name)}\.)?{re.escape(stem)}\b",
            file.text,
            re.MULTILINE,
        )
    }
    programs = [
        file
        for stem, file in code.items()
        if stem not in imported and (first_match((PYTHON.server, *PYTHON.routes), [file]))
    ]
    libraries = [code[stem] for stem in imported]
    if len(programs) == 1:
        libraries += [
            file
            for file in folder.files_below
            if file.path.suffix == ".py" and file not in folder.files
        ]
    for file in programs:
        sources = [file, *libraries]
        service = DetectedService(
            service_slug(file.path.stem if len(programs) > 1 else folder.name),
            _python_folder(folder.path, file),
            _guess_python_command(
                file, libraries, _python_folder(folder.path, file) != folder.path
            ),
            sources,
            PYTHON,
        )
        if needs := list(_python_packages(sources, folder.files_below)):
            service.notes.append(
                f"It needs {', '.join(needs[:6])}: install them once for the Python of its command."
            )
        yield service


def _python_folder(cwd: Path, program: SourceFile) -> Path:
    """Where it starts: above a folder by whose name its modules import each other."""
    package = rf"^\s*from (?:\.|{re.escape(cwd.name)}\.)"
    inside = cwd.name and re.search(package, program.text, re.MULTILINE)
    return cwd.parent if inside else cwd


def _python_packages(sources: list[SourceFile], files: list[SourceFile]) -> Iterator[str]:
    """The packages that have to be installed, by their names in `import`."""
    own = {part for file in files for part in (file.path.stem, *file.path.parts)}
    seen = dict.fromkeys(
        match[1]
        for source in sources
        for match in re.finditer(r"^(?:from|import) (\w+)", source.text, re.MULTILINE)
    )
    return (name for name in seen if name not in sys.stdlib_module_names and name not in own)


def _guess_python_command(
    program: SourceFile, libraries: list[SourceFile], from_above: bool
) -> GuessedValue:
    text, stem, at = program.text, program.path.stem, program.path.as_posix()
    module = f"{program.path.parent.name}.{stem}" if from_above else stem
    app = re.search(
        r"^(\w+)(?:\s*:\s*\w+)?\s*=\s*(Flask|FastAPI|Starlette|Quart)\(", text, re.MULTILINE
    )
    name = app[1] if app else "app"
    runs = re.search(
        rf"\b(?:uvicorn|hypercorn|socketio|{name})\.run\(|serve_forever|run_app\(|^\s*serve\(",
        text,
        re.MULTILINE,
    )
    if app and not runs:
        if app[2] == "Flask":
            return GuessedValue(
                f"flask --app {module}:{app[1]} run --port {{port}}", f"{at}: {app[0]}...)"
            )
        return GuessedValue(f"uvicorn {module}:{app[1]} --port {{port}}", f"{at}: {app[0]}...)")
    if from_above:
        return GuessedValue(f"python3 -m {module}", at)
    if first_match((_PORT_ARGUMENT,), [program, *libraries]):
        return GuessedValue(f"python3 {stem}.py {{port}}", f"{at}; its first argument is the port")
    return GuessedValue(f"python3 {stem}.py", at)


def find_shell(folder: SourceFolder, skipped: list[str]) -> Iterator[DetectedService]:
    """A shell script with a usual name, such as `start.sh`."""
    for starter in _START_SCRIPTS:
        if script := next((source for source in folder.files if source.path.name == starter), None):
            code = [source for source in folder.files if source.path.suffix == ".sh"]
            yield DetectedService(
                service_slug(folder.name),
                folder.path,
                GuessedValue(f"sh {starter}", script.path.as_posix()),
                code,
                SHELL,
            )
            return


def find_docker(folder: SourceFolder, skipped: list[str]) -> Iterator[DetectedService]:
    """A service in any other language, known only from its Dockerfile."""
    if any(file.path.name == "package.json" for file in folder.files):
        return  # a package without code that listens, whatever starts it
    for file in folder.files:
        command_line = _DOCKER_CMD.search(file.text) if file.is_dockerfile else None
        images = _DOCKER_FROM.findall(file.text) if file.is_dockerfile else []
        if images and images[-1].rpartition("/")[2] in _STOCK_IMAGES:
            skipped.append(
                f"{folder.path.as_posix()}: it is {images[-1]}, which is no service of the blog."
            )
            return
        if command_line is None:
            continue
        try:
            words = (
                json.loads(command_line["list"])
                if command_line["list"]
                else [command_line["text"].strip()]
            )
            command = " ".join(map(str, words))
        except ValueError:
            continue
        service = DetectedService(
            service_slug(folder.name),
            folder.path,
            GuessedValue(command, file.location(command_line.start()), certain=False),
            [file],
            SHELL,
        )
        service.notes.append("Nothing but its Dockerfile was understood.")
        if exposed := _DOCKER_EXPOSE.search(file.text):
            service.port = GuessedValue(
                exposed["port"], file.location(exposed.start()), certain=False
            )
        yield service


DETECTORS = (find_node, find_go, find_python, find_shell, find_docker)
"""The most certain first. The first function that finds services in a folder decides."""


# ── Services of a folder

_ORDER = tuple(COURSE_PORTS)


def find_services(
    sources: list[SourceFile], folder: str
) -> tuple[list[DetectedService], list[str]]:
    """The services, and a sentence for each thing that looks like a service but is none."""
    by_folder: dict[Path, list[SourceFile]] = {}
    for source in sources:
        by_folder.setdefault(source.path.parent, []).append(source)
    found: list[DetectedService] = []
    skipped: list[str] = []
    used_folders: set[Path] = set()
    for cwd in by_folder:
        if any(cwd.is_relative_to(other) and other != Path() for other in used_folders):
            continue
        # `posts/src/main.py` is the service posts.
        named_above = cwd.name in _PROGRAM_FOLDERS and cwd.parent != Path()
        name = cwd.parent.name if named_above else cwd.name or folder
        files_below = [source for source in sources if source.path.is_relative_to(cwd)]
        source_folder = SourceFolder(cwd, name, by_folder[cwd], files_below)
        for detect in DETECTORS:
            left_out = len(skipped)
            services = list(detect(source_folder, skipped))
            found += services
            if services:
                used_folders.add(cwd)
            if services or len(skipped) > left_out:
                break
    if any(service.cwd != Path() for service in found):
        for service in [
            service for service in found if service.cwd == Path() and service.language is SHELL
        ]:
            found.remove(service)
            skipped.append(f"{service.command.reason}: it seems to start what is below it.")
    for service in found:
        service.read_code()
    found.sort(
        key=lambda service: _ORDER.index(service.name) if service.name in _ORDER else len(_ORDER)
    )
    return found, skipped


def with_unique_names(services: list[DetectedService]) -> list[DetectedService]:
    """The services; of several with the same name, the later ones get a number."""
    seen: dict[str, int] = {}
    for service in services:
        seen[service.name] = seen.get(service.name, 0) + 1
        if seen[service.name] > 1:
            service.name = f"{service.name[:37]}-{seen[service.name]}"
    return services
