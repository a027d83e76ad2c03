"""Finds services in Node, and the command that starts each of them."""

import json
import re
from collections.abc import Iterator

from lab.external.adopt.languages import FRONT_ENDS, NODE
from lab.external.adopt.services import DetectedService
from lab.external.adopt.sources import (
    GuessedValue,
    SourceFile,
    SourceFolder,
    first_match,
    service_slug,
)

_ENTRY_FILES = (
    *("index.js", "app.js", "server.js", "src/index.js", "index.mjs", "src/server.js"),
    *("main.js", "src/app.js", "src/main.js", "bin/www"),
    *("index.ts", "app.ts", "server.ts", "src/index.ts", "src/app.ts", "src/server.ts"),
    *("main.ts", "src/main.ts"),
)
_START_SCRIPTS = ("start", "dev", "serve", "server", "start:dev")
_ONLY_IN_BROWSERS = ("react-scripts", "@angular/core", "next", "nuxt", "gatsby")
_BUILT = re.compile(r"\b(?:dist|build|out|lib)/[\w./-]+")
_FILE = re.compile(r"(?<!\S)[\w./-]+(?:\.(?:[mc]?js|ts)|/www|/(?:index|app|server|main))(?!\S)")
_RUNS_TYPESCRIPT = ("tsx", "ts-node")


def find_node(folder: SourceFolder, skipped: list[str]) -> Iterator[DetectedService]:
    """A package.json with code that listens, or has routes or a port. Without a package.json: a
    file that listens and has a usual name, such as `server.js`."""
    package = next((file for file in folder.files if file.path.name == "package.json"), None)
    if package is None:
        yield from _find_bare_node(folder)
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
    code = [
        file
        for file in folder.files_below
        if file.suffix in NODE.suffixes and _belongs_to(file, folder)
    ]
    front = [name for name in FRONT_ENDS if name in every]
    if front and (front[0] in _ONLY_IN_BROWSERS or not first_match((NODE.server,), code)):
        skipped.append(f"{folder.path.as_posix()}: it uses {front[0]}, so it runs in a browser.")
        return
    if not first_match((NODE.server, *NODE.routes, *NODE.ports), code):
        return
    files = {file.path.relative_to(folder.path).as_posix() for file in code}
    command = guess_command(package, str(manifest.get("main") or ""), scripts, set(every), files)
    service = DetectedService(service_slug(folder.name), folder.path, command, code, NODE)
    if needs:
        service.notes.append(
            f"It needs {', '.join(list(needs)[:6])}: run `npm install` there once."
        )
    if lacking := [
        name for name in _RUNS_TYPESCRIPT if f"npx {name} " in command.value and name not in every
    ]:
        install = f"npm install {lacking[0]} typescript"
        service.notes.append(f"{lacking[0]} is not in its package.json: run `{install}` there.")
    if _BUILT.search(command.reason) or _BUILT.search(command.value):
        build = "npm run build" if "build" in scripts else "npx tsc"
        service.notes.append(f"It has to be built first, and after each change: `{build}`.")
    yield service


def _find_bare_node(folder: SourceFolder) -> Iterator[DetectedService]:
    entries = [
        file
        for file in folder.files_below
        if file.path.name in _ENTRY_FILES and NODE.server.search(file.text)
    ]
    entry = min(
        (file for file in entries if file in folder.files),
        key=lambda file: _ENTRY_FILES.index(file.path.name),
        default=None,
    )
    if entry is None:
        return
    others = [file.path.parent for file in entries if file not in folder.files]
    code = [
        file
        for file in folder.files_below
        if file.suffix in NODE.suffixes
        and _belongs_to(file, folder)
        and not any(file.path.is_relative_to(other) for other in others)
    ]
    why = f"{entry.path.as_posix()} listens, and no package.json is beside it"
    yield DetectedService(
        service_slug(folder.name),
        folder.path,
        GuessedValue(f"node {entry.path.name}", why),
        code,
        NODE,
    )


def guess_command(
    package: SourceFile, main: str, scripts: dict[str, object], needs: set[str], files: set[str]
) -> GuessedValue:
    """What starts it. A program that starts it anew after each change, as nodemon does, would
    hide that it has ended: its command is used without that."""
    at = package.path.as_posix()
    script = next((name for name in _START_SCRIPTS if isinstance(scripts.get(name), str)), None)
    entry = next((name for name in (main.removeprefix("./"), *_ENTRY_FILES) if name in files), "")
    if script is None:
        if not entry:
            why = "a package.json, and nothing in it says how to start"
            return GuessedValue("npm start", why, certain=False)
        why = f'{at}: "main"' if entry == main.removeprefix("./") else f"there is {entry}"
        return _run_file(entry, f"{why}, and no start script", needs)
    text = str(scripts[script])
    why = f'{at}: "{script}": "{text}"'
    if re.fullmatch(r"node\s+[\w./-]+", text):
        return GuessedValue(text, why)
    words = text.split()
    program = words[1:] if words[:1] == ["npx"] else words
    if program[:1] == ["nodemon"] and not {"&&", "&", "|", ";"} & set(words):
        named = _FILE.findall(text)
        file = named[-1].removeprefix("./") if named else entry
        if file:
            return _run_file(file, f"{why}; nodemon would start it by itself", needs)
    if text.startswith(("node --watch ", "node --watch-path")) and (named := _FILE.findall(text)):
        return _run_file(named[-1], f"{why}; --watch would start it by itself", needs)
    command = "npm start" if script == "start" else f"npm run {script}"
    return GuessedValue(command, why, certain="ts-node" not in text)


def _run_file(file: str, why: str, needs: set[str]) -> GuessedValue:
    if not file.endswith(".ts"):
        return GuessedValue(f"node {file}", why)
    runner = next((name for name in _RUNS_TYPESCRIPT if name in needs), "ts-node")
    return GuessedValue(f"npx {runner} {file}", why, certain=False)


def _belongs_to(source: SourceFile, folder: SourceFolder) -> bool:
    """Whether a file belongs to the service in `folder`, and not to a package in a folder below."""
    packages = (file.path.parent for file in folder.files_below if file.path.name == "package.json")
    return not any(
        package != folder.path and source.path.is_relative_to(package) for package in packages
    )
