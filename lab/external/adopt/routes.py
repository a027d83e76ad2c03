"""Finds the routes of a service, and the paths at which its routers are mounted.

A route in `routes/posts.js` is often `router.post("/", …)`; another file adds the beginning of its
path: `app.use("/posts", postsRouter)`.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from re import Match
from typing import NamedTuple

from lab.external.adopt.languages import NODE, PYTHON, Language
from lab.external.adopt.sources import SourceFile


@dataclass(frozen=True)
class DetectedRoute:
    """`method` is "" if the code does not give it. `location`: file and line; `offset`: in it."""

    method: str
    path: str
    location: str
    source: SourceFile
    offset: int


def find_routes(sources: Iterable[SourceFile], language: Language) -> list[DetectedRoute]:
    """The routes in the code of one service, in the order of its files."""
    code = list(sources)
    mounts = _mounts(code, language)
    routes = []
    for source in code:
        prefixes = _prefixes_of_names(source, language, mounts)
        for pattern in language.routes:
            for match in pattern.finditer(source.without_comments):
                begin = prefixes.get(match.groupdict().get("on") or "", "")
                path = join(mounts.get(source.path.as_posix(), ""), begin, match["path"])
                where = source.location(match.start())
                routes += [
                    DetectedRoute(method, path, where, source, match.start())
                    for method in _methods(match, language)
                ]
        if language is NODE:
            routes += _controller_routes(source)
    return routes


def join(*parts: str) -> str:
    """A path made of its parts: `/posts` and `/` is `/posts`."""
    whole = "".join(f"/{part.strip('/')}" for part in parts if part.strip("/"))
    return whole or "/"


def _methods(match: Match[str], language: Language) -> list[str]:
    groups = match.groupdict()
    if groups.get("chain"):
        return [verb.upper() for verb in re.findall(r"\.(get|post|put|patch)\(", groups["chain"])]
    if groups.get("methods"):
        return re.findall(r"GET|POST|PUT|PATCH", groups["methods"].upper())
    if "methods" in groups and language is PYTHON:
        return ["GET"]  # what Flask does with a route without methods
    return [(groups.get("method") or "").upper()]


_CONTROLLER = re.compile(r"@Controller\(\s*(?:[\"'`](?P<path>[^\"'`]*)[\"'`])?\s*\)")
_CONTROLLER_ROUTE = re.compile(
    r"@(?P<method>Get|Post|Put|Patch)\(\s*(?:[\"'`](?P<path>[^\"'`]*)[\"'`])?\s*\)"
)


def _controller_routes(source: SourceFile) -> Iterator[DetectedRoute]:
    """The routes of a NestJS controller."""
    if (controller := _CONTROLLER.search(source.without_comments)) is None:
        return
    for match in _CONTROLLER_ROUTE.finditer(source.without_comments):
        path = join(controller["path"] or "", match["path"] or "")
        where = source.location(match.start())
        yield DetectedRoute(match["method"].upper(), path, where, source, match.start())


# ── Mounted routers

_USE = re.compile(
    r"\.use\(\s*(?:[\"'`](?P<path>/[^\"'`\s]*)[\"'`]\s*,)?(?P<rest>[^;\n]*)", re.MULTILINE
)
_REQUIRE = re.compile(
    r"(?:const|let|var)\s+(?P<names>\w+|\{[^}]*\})\s*=\s*require\(\s*[\"'`](?P<file>\.[^\"'`]*)"
)
_IMPORT = re.compile(r"import\s+(?P<names>[\w\s{},*]+?)\s+from\s+[\"'`](?P<file>\.[^\"'`]*)")
_INLINE_REQUIRE = re.compile(r"require\(\s*[\"'`](?P<file>\.[^\"'`]*)")
_INCLUDE = re.compile(
    r"(?:include_router|register_blueprint)\(\s*(?P<name>[\w.]+)(?P<rest>[^)]*)\)"
)
_PREFIX = re.compile(r"prefix\s*=\s*[\"'](?P<path>/[^\"']*)[\"']")
_PYTHON_IMPORT = re.compile(
    r"^\s*from\s+(?P<module>[\w.]+)\s+import\s+(?P<name>\w+)(?:\s+as\s+(?P<as>\w+))?", re.MULTILINE
)


class _Mount(NamedTuple):
    """A router that a file adds: under `path`, by its `name` in that file; `file`: where it is
    from."""

    path: str
    name: str
    file: str | None


def _mounts(code: list[SourceFile], language: Language) -> dict[str, str]:
    """For each file whose routers another file mounts: the beginning of their paths."""
    files = {source.path.as_posix() for source in code}
    found = {source.path.as_posix(): list(_mounts_in(source, language, files)) for source in code}
    mounts: dict[str, str] = {}
    for _ in range(3):  # a mounted file may mount others
        for by, added in found.items():
            for mount in added:
                if mount.file and mount.file != by:
                    mounts[mount.file] = join(mounts.get(by, ""), mount.path)
    return {file: path for file, path in mounts.items() if path != "/"}


def _prefixes_of_names(
    source: SourceFile, language: Language, mounts: Mapping[str, str]
) -> dict[str, str]:
    """The beginning of the paths on each router that this file makes."""
    text = source.without_comments
    prefixes = {
        match["name"]: match["path"]
        for pattern in language.prefixes
        for match in pattern.finditer(text)
    }
    for mount in _mounts_in(source, language, set()):
        if mount.file is None and mount.path:
            prefixes[mount.name] = join(mount.path, prefixes.get(mount.name, ""))
    return prefixes


def _mounts_in(source: SourceFile, language: Language, files: set[str]) -> Iterator[_Mount]:
    if language is NODE:
        yield from _node_mounts(source, files)
    elif language is PYTHON:
        yield from _python_mounts(source, files)


def _node_mounts(source: SourceFile, files: set[str]) -> Iterator[_Mount]:
    text = source.without_comments
    imported = {
        name: match["file"]
        for pattern in (_REQUIRE, _IMPORT)
        for match in pattern.finditer(text)
        for name in re.findall(r"\w+", match["names"])
    }
    for match in _USE.finditer(text):
        path = match["path"] or ""
        for inline in _INLINE_REQUIRE.finditer(match["rest"]):
            yield _Mount(path, "", _resolve(source, inline["file"], files))
        for name in re.findall(r"\b[A-Za-z_]\w*\b(?!\s*\()", match["rest"]):
            if name in imported:
                yield _Mount(path, name, _resolve(source, imported[name], files))
            elif path:
                yield _Mount(path, name, None)


def _resolve(source: SourceFile, target: str, files: set[str]) -> str:
    """The file that a relative import names."""
    path = posixpath.normpath(posixpath.join(source.path.parent.as_posix(), target))
    stem = path.removesuffix(".js")
    endings = (".js", ".ts", ".mjs", ".cjs", "/index.js", "/index.ts")
    candidates = (path, *(f"{name}{end}" for name in (path, stem) for end in endings))
    return next((name for name in candidates if name in files), path)


def _python_mounts(source: SourceFile, files: set[str]) -> Iterator[_Mount]:
    text = source.without_comments
    modules = {
        match["as"] or match["name"]: (match["module"], match["name"])
        for match in _PYTHON_IMPORT.finditer(text)
    }
    for match in _INCLUDE.finditer(text):
        prefix = _PREFIX.search(match["rest"])
        path, name = (prefix["path"] if prefix else ""), match["name"].split(".")[0]
        stems = [part for part in modules.get(name, ("", ""))[0].split(".") if part]
        stems += [name, *modules.get(name, ("", ""))[1:]]
        file = next(
            (file for stem in stems for file in files if posixpath.basename(file) == f"{stem}.py"),
            None,
        )
        yield _Mount(path, name, None if name not in modules and "." not in match["name"] else file)
