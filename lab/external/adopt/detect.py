"""Finds the services in a folder, and the command that starts each of them.

Each function in LOOKS takes the folder, the files in it, the files in and below it, the folder's
name, and a list. To that list it adds a sentence for each thing that looks like a service but is
none.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from lab.external.adopt.languages import FRONT_ENDS, GO, NODE, PYTHON, SHELL
from lab.external.adopt.sources import Found, Guess, Source, first, slug_of
from lab.external.target import COURSE_PORTS

# ── Services of each language

_RUNNERS = re.compile(r"^(?:npx\s+)?nodemon\s+(?:--?\w+\s+)*")
_ENTRIES = ("index.js", "app.js", "server.js", "src/index.js", "index.mjs", "src/server.js")
_STARTERS = ("start.sh", "run.sh", "serve.sh", "service.sh")
_LISTENED = re.compile(r"sys\.argv\[1\]")
_COMMAND = re.compile(r"^CMD\s+(?P<list>\[[^\]\n]+\])|^CMD\s+(?P<text>.+)$", re.MULTILINE)
_EXPOSED = re.compile(r"^EXPOSE\s+(?P<port>\d{2,5})", re.MULTILINE)


def node(
    cwd: Path, here: list[Source], inside: list[Source], name: str, left_out: list[str]
) -> Iterator[Found]:
    """A package.json with code that listens, or has routes or a port. Without a package.json: a
    file that listens and has a usual name, such as `server.js`."""
    package = next((one for one in here if one.path.name == "package.json"), None)
    if package is None:
        yield from _bare_node(cwd, here, inside, name)
        return
    try:
        told = json.loads(package.text)
        scripts, needs = dict(told.get("scripts") or {}), dict(told.get("dependencies") or {})
        every = {**needs, **dict(told.get("devDependencies") or {})}
    except (ValueError, AttributeError, TypeError, RecursionError):
        left_out.append(f"{package.path.as_posix()}: it is no JSON that npm could read.")
        return
    if front := [one for one in FRONT_ENDS if one in every]:
        left_out.append(f"{cwd.as_posix()}: it uses {front[0]}, so it runs in a browser.")
        return
    code = [one for one in inside if one.path.suffix in NODE.suffixes and _is_own(one, cwd, inside)]
    if not first((NODE.serves, *NODE.routes, *NODE.ports), code):
        return
    files = {one.path.relative_to(cwd).as_posix() for one in code}
    service = Found(slug_of(name), cwd, _node_command(package, told, scripts, files), code, NODE)
    if needs:
        service.notes.append(
            f"It needs {', '.join(list(needs)[:6])}: run `npm install` there once."
        )
    yield service


def _bare_node(cwd: Path, here: list[Source], inside: list[Source], name: str) -> Iterator[Found]:
    entries = [one for one in inside if one.path.name in _ENTRIES and NODE.serves.search(one.text)]
    entry = min(
        (one for one in entries if one in here),
        key=lambda one: _ENTRIES.index(one.path.name),
        default=None,
    )
    if entry is None:
        return
    others = [one.path.parent for one in entries if one not in here]
    code = [
        one
        for one in inside
        if one.path.suffix in NODE.suffixes
        and _is_own(one, cwd, inside)
        and not any(one.path.is_relative_to(folder) for folder in others)
    ]
    why = f"{entry.path.as_posix()} listens, and no package.json is beside it"
    yield Found(slug_of(name), cwd, Guess(f"node {entry.path.name}", why), code, NODE)


def _node_command(
    package: Source, told: dict[str, object], scripts: object, files: set[str]
) -> Guess:
    at = package.path.as_posix()
    start = scripts.get("start") if isinstance(scripts, dict) else None
    if isinstance(start, str):
        plain = _RUNNERS.sub("node ", start)
        if plain != start:
            return Guess(plain, f'{at}: "start": "{start}"; nodemon would start it by itself')
        if re.fullmatch(r"node\s+[\w./-]+", start):
            return Guess(start, f'{at}: "start": "{start}"')
        return Guess("npm start", f'{at}: "start": "{start}"', sure="ts-node" not in start)
    main = str(told.get("main") or "")
    entry = next((one for one in (main, *_ENTRIES) if one in files), "")
    if entry:
        why = f'{at}: "main"' if entry == main else f"there is {entry}"
        return Guess(f"node {entry}", f"{why}, and no start script")
    return Guess("npm start", "a package.json, and nothing in it says how to start", sure=False)


def go(
    cwd: Path, here: list[Source], inside: list[Source], name: str, left_out: list[str]
) -> Iterator[Found]:
    """A Go program that listens."""
    code = [one for one in here if one.path.suffix == ".go" and "package main" in one.text]
    if any(GO.serves.search(one.text) for one in code):
        every = [one for one in inside if one.path.suffix == ".go"]
        service = Found(
            slug_of(name), cwd, Guess("go run .", f"{code[0].path.as_posix()}"), every, GO
        )
        service.notes.append(
            "`go run` compiles at each start. Faster: `go build -o service .`, and its name here."
        )
        yield service


def python(
    cwd: Path, here: list[Source], inside: list[Source], name: str, left_out: list[str]
) -> Iterator[Found]:
    """Python programs: each file that serves HTTP and that no other file imports."""
    code = {one.path.stem: one for one in here if one.path.suffix == ".py"}
    imported = {
        stem
        for stem in code
        for one in code.values()
        if re.search(rf"^\s*(?:from|import) {re.escape(stem)}\b", one.text, re.MULTILINE)
    }
    programs = [
        one
        for stem, one in code.items()
        if stem not in imported and (first((PYTHON.serves, *PYTHON.routes), [one]))
    ]
    libraries = [code[stem] for stem in imported]
    for one in programs:
        called = one.path.stem if len(programs) > 1 else name
        yield Found(
            slug_of(called), cwd, _python_command(one, libraries), [one, *libraries], PYTHON
        )


def _python_command(program: Source, libraries: list[Source]) -> Guess:
    text, stem, at = program.text, program.path.stem, program.path.as_posix()
    app = re.search(r"^(\w+)\s*=\s*(Flask|FastAPI|Starlette|Quart)\(", text, re.MULTILINE)
    runs = re.search(r"\.run\(|serve_forever|run_app\(|^\s*serve\(", text, re.MULTILINE)
    if app and not runs:
        if app[2] == "Flask":
            return Guess(f"flask --app {stem}:{app[1]} run --port {{port}}", f"{at}: {app[0]}...)")
        return Guess(f"uvicorn {stem}:{app[1]} --port {{port}}", f"{at}: {app[0]}...)")
    if first((_LISTENED,), [program, *libraries]):
        return Guess(f"python3 {stem}.py {{port}}", f"{at}; its first argument is the port")
    return Guess(f"python3 {stem}.py", at)


def shell(
    cwd: Path, here: list[Source], inside: list[Source], name: str, left_out: list[str]
) -> Iterator[Found]:
    """A shell script with a usual name, such as `start.sh`."""
    for starter in _STARTERS:
        if one := next((source for source in here if source.path.name == starter), None):
            code = [source for source in here if source.path.suffix == ".sh"]
            yield Found(
                slug_of(name), cwd, Guess(f"sh {starter}", one.path.as_posix()), code, SHELL
            )
            return


def docker(
    cwd: Path, here: list[Source], inside: list[Source], name: str, left_out: list[str]
) -> Iterator[Found]:
    """A service in any other language, known only from its Dockerfile."""
    for one in here:
        told = _COMMAND.search(one.text) if one.path.name == "Dockerfile" else None
        if told is None:
            continue
        try:
            words = json.loads(told["list"]) if told["list"] else [told["text"].strip()]
            command = " ".join(map(str, words))
        except ValueError:
            continue
        service = Found(
            slug_of(name), cwd, Guess(command, one.place(told.start()), sure=False), [one], SHELL
        )
        service.notes.append("Nothing but its Dockerfile was understood.")
        if exposed := _EXPOSED.search(one.text):
            service.port = Guess(exposed["port"], one.place(exposed.start()), sure=False)
        yield service


def _is_own(source: Source, cwd: Path, inside: list[Source]) -> bool:
    """Whether a file belongs to the service in `cwd`, and not to a package in a folder below."""
    below = (one.path.parent for one in inside if one.path.name == "package.json")
    return not any(folder != cwd and source.path.is_relative_to(folder) for folder in below)


LOOKS = (node, go, python, shell, docker)
"""The most certain first. The first function that finds services in a folder decides."""


# ── Services of a folder

_ORDER = tuple(COURSE_PORTS)


def find_services(sources: list[Source], folder: str) -> tuple[list[Found], list[str]]:
    """The services, and a sentence for each thing that looks like a service but is none."""
    of: dict[Path, list[Source]] = {}
    for source in sources:
        of.setdefault(source.path.parent, []).append(source)
    found: list[Found] = []
    left_out: list[str] = []
    taken: set[Path] = set()
    for cwd in of:
        if any(cwd.is_relative_to(other) and other != Path() for other in taken):
            continue
        inside = [one for one in sources if one.path.is_relative_to(cwd)]
        for look in LOOKS:
            services = list(look(cwd, of[cwd], inside, cwd.name or folder, left_out))
            if services:
                found += services
                taken.add(cwd)
                break
    if any(one.cwd != Path() for one in found):
        for one in [one for one in found if one.cwd == Path() and one.language is SHELL]:
            found.remove(one)
            left_out.append(f"{one.command.why}: it seems to start what is below it.")
    for one in found:
        one.read_code()
    found.sort(key=lambda one: _ORDER.index(one.name) if one.name in _ORDER else len(_ORDER))
    return _with_names_of_their_own(found), left_out


def _with_names_of_their_own(found: list[Found]) -> list[Found]:
    seen: dict[str, int] = {}
    for one in found:
        seen[one.name] = seen.get(one.name, 0) + 1
        if seen[one.name] > 1:
            one.name = f"{one.name[:37]}-{seen[one.name]}"
    return found
