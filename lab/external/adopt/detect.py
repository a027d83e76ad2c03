"""Finds the services in a folder, and the command that starts each of them.

Each function in DETECTORS takes the folder, the files in it, the files in and below it, the
folder's name, and a list. To that list it adds a sentence for each thing that looks like a service
but is none.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from lab.external.adopt.languages import FRONT_ENDS, GO, NODE, PYTHON, SHELL
from lab.external.adopt.sources import (
    DetectedService,
    GuessedValue,
    SourceFile,
    first_match,
    service_slug,
)
from lab.external.target import COURSE_PORTS

# ── Services of each language

_NODEMON = re.compile(r"^(?:npx\s+)?nodemon\s+(?:--?\w+\s+)*")
_NODE_ENTRY_FILES = (
    "index.js",
    "app.js",
    "server.js",
    "src/index.js",
    "index.mjs",
    "src/server.js",
)
_START_SCRIPTS = ("start.sh", "run.sh", "serve.sh", "service.sh")
_PORT_ARGUMENT = re.compile(r"sys\.argv\[1\]")
_DOCKER_CMD = re.compile(r"^CMD\s+(?P<list>\[[^\]\n]+\])|^CMD\s+(?P<text>.+)$", re.MULTILINE)
_DOCKER_EXPOSE = re.compile(r"^EXPOSE\s+(?P<port>\d{2,5})", re.MULTILINE)


def find_node(
    cwd: Path,
    files_here: list[SourceFile],
    files_below: list[SourceFile],
    name: str,
    skipped: list[str],
) -> Iterator[DetectedService]:
    """A package.json with code that listens, or has routes or a port. Without a package.json: a
    file that listens and has a usual name, such as `server.js`."""
    package = next((file for file in files_here if file.path.name == "package.json"), None)
    if package is None:
        yield from _find_bare_node(cwd, files_here, files_below, name)
        return
    try:
        manifest = json.loads(package.text)
        scripts, needs = (
            dict(manifest.get("scripts") or {}),
            dict(manifest.get("dependencies") or {}),
        )
        every = {**needs, **dict(manifest.get("devDependencies") or {})}
    except (ValueError, AttributeError, TypeError, RecursionError):
        skipped.append(f"{package.path.as_posix()}: it is no JSON that npm could read.")
        return
    if front := [name for name in FRONT_ENDS if name in every]:
        skipped.append(f"{cwd.as_posix()}: it uses {front[0]}, so it runs in a browser.")
        return
    code = [
        file
        for file in files_below
        if file.path.suffix in NODE.suffixes and _belongs_to(file, cwd, files_below)
    ]
    if not first_match((NODE.server, *NODE.routes, *NODE.ports), code):
        return
    files = {file.path.relative_to(cwd).as_posix() for file in code}
    service = DetectedService(
        service_slug(name), cwd, _guess_node_command(package, manifest, scripts, files), code, NODE
    )
    if needs:
        service.notes.append(
            f"It needs {', '.join(list(needs)[:6])}: run `npm install` there once."
        )
    yield service


def _find_bare_node(
    cwd: Path, files_here: list[SourceFile], files_below: list[SourceFile], name: str
) -> Iterator[DetectedService]:
    entries = [
        file
        for file in files_below
        if file.path.name in _NODE_ENTRY_FILES and NODE.server.search(file.text)
    ]
    entry = min(
        (file for file in entries if file in files_here),
        key=lambda file: _NODE_ENTRY_FILES.index(file.path.name),
        default=None,
    )
    if entry is None:
        return
    others = [file.path.parent for file in entries if file not in files_here]
    code = [
        file
        for file in files_below
        if file.path.suffix in NODE.suffixes
        and _belongs_to(file, cwd, files_below)
        and not any(file.path.is_relative_to(folder) for folder in others)
    ]
    why = f"{entry.path.as_posix()} listens, and no package.json is beside it"
    yield DetectedService(
        service_slug(name), cwd, GuessedValue(f"node {entry.path.name}", why), code, NODE
    )


def _guess_node_command(
    package: SourceFile, manifest: dict[str, object], scripts: object, files: set[str]
) -> GuessedValue:
    at = package.path.as_posix()
    start = scripts.get("start") if isinstance(scripts, dict) else None
    if isinstance(start, str):
        plain = _NODEMON.sub("node ", start)
        if plain != start:
            return GuessedValue(
                plain, f'{at}: "start": "{start}"; nodemon would start it by itself'
            )
        if re.fullmatch(r"node\s+[\w./-]+", start):
            return GuessedValue(start, f'{at}: "start": "{start}"')
        return GuessedValue(
            "npm start", f'{at}: "start": "{start}"', certain="ts-node" not in start
        )
    main = str(manifest.get("main") or "")
    entry = next((name for name in (main, *_NODE_ENTRY_FILES) if name in files), "")
    if entry:
        why = f'{at}: "main"' if entry == main else f"there is {entry}"
        return GuessedValue(f"node {entry}", f"{why}, and no start script")
    return GuessedValue(
        "npm start", "a package.json, and nothing in it says how to start", certain=False
    )


def find_go(
    cwd: Path,
    files_here: list[SourceFile],
    files_below: list[SourceFile],
    name: str,
    skipped: list[str],
) -> Iterator[DetectedService]:
    """A Go program that listens."""
    code = [
        file for file in files_here if file.path.suffix == ".go" and "package main" in file.text
    ]
    if any(GO.server.search(file.text) for file in code):
        every = [file for file in files_below if file.path.suffix == ".go"]
        service = DetectedService(
            service_slug(name),
            cwd,
            GuessedValue("go run .", f"{code[0].path.as_posix()}"),
            every,
            GO,
        )
        service.notes.append(
            "`go run` compiles at each start. Faster: `go build -o service .`, and its name here."
        )
        yield service


def find_python(
    cwd: Path,
    files_here: list[SourceFile],
    files_below: list[SourceFile],
    name: str,
    skipped: list[str],
) -> Iterator[DetectedService]:
    """Python programs: each file that serves HTTP and that no other file imports."""
    code = {file.path.stem: file for file in files_here if file.path.suffix == ".py"}
    imported = {
        stem
        for stem in code
        for file in code.values()
        if re.search(rf"^\s*(?:from|import) {re.escape(stem)}\b", file.text, re.MULTILINE)
    }
    programs = [
        file
        for stem, file in code.items()
        if stem not in imported and (first_match((PYTHON.server, *PYTHON.routes), [file]))
    ]
    libraries = [code[stem] for stem in imported]
    for file in programs:
        program_name = file.path.stem if len(programs) > 1 else name
        yield DetectedService(
            service_slug(program_name),
            cwd,
            _guess_python_command(file, libraries),
            [file, *libraries],
            PYTHON,
        )


def _guess_python_command(program: SourceFile, libraries: list[SourceFile]) -> GuessedValue:
    text, stem, at = program.text, program.path.stem, program.path.as_posix()
    app = re.search(r"^(\w+)\s*=\s*(Flask|FastAPI|Starlette|Quart)\(", text, re.MULTILINE)
    runs = re.search(r"\.run\(|serve_forever|run_app\(|^\s*serve\(", text, re.MULTILINE)
    if app and not runs:
        if app[2] == "Flask":
            return GuessedValue(
                f"flask --app {stem}:{app[1]} run --port {{port}}", f"{at}: {app[0]}...)"
            )
        return GuessedValue(f"uvicorn {stem}:{app[1]} --port {{port}}", f"{at}: {app[0]}...)")
    if first_match((_PORT_ARGUMENT,), [program, *libraries]):
        return GuessedValue(f"python3 {stem}.py {{port}}", f"{at}; its first argument is the port")
    return GuessedValue(f"python3 {stem}.py", at)


def find_shell(
    cwd: Path,
    files_here: list[SourceFile],
    files_below: list[SourceFile],
    name: str,
    skipped: list[str],
) -> Iterator[DetectedService]:
    """A shell script with a usual name, such as `start.sh`."""
    for starter in _START_SCRIPTS:
        if script := next((source for source in files_here if source.path.name == starter), None):
            code = [source for source in files_here if source.path.suffix == ".sh"]
            yield DetectedService(
                service_slug(name),
                cwd,
                GuessedValue(f"sh {starter}", script.path.as_posix()),
                code,
                SHELL,
            )
            return


def find_docker(
    cwd: Path,
    files_here: list[SourceFile],
    files_below: list[SourceFile],
    name: str,
    skipped: list[str],
) -> Iterator[DetectedService]:
    """A service in any other language, known only from its Dockerfile."""
    for file in files_here:
        command_line = _DOCKER_CMD.search(file.text) if file.path.name == "Dockerfile" else None
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
            service_slug(name),
            cwd,
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


def _belongs_to(source: SourceFile, cwd: Path, files_below: list[SourceFile]) -> bool:
    """Whether a file belongs to the service in `cwd`, and not to a package in a folder below."""
    below = (file.path.parent for file in files_below if file.path.name == "package.json")
    return not any(folder != cwd and source.path.is_relative_to(folder) for folder in below)


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
        files_below = [source for source in sources if source.path.is_relative_to(cwd)]
        for detect in DETECTORS:
            services = list(detect(cwd, by_folder[cwd], files_below, cwd.name or folder, skipped))
            if services:
                found += services
                used_folders.add(cwd)
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
    return _with_unique_names(found), skipped


def _with_unique_names(services: list[DetectedService]) -> list[DetectedService]:
    seen: dict[str, int] = {}
    for service in services:
        seen[service.name] = seen.get(service.name, 0) + 1
        if seen[service.name] > 1:
            service.name = f"{service.name[:37]}-{seen[service.name]}"
    return services
