"""Writes the first target file, with the source of each value in a comment on its line."""

import json
import os
import re
from pathlib import Path

from lab.domain.model import FORBIDDEN_WORD
from lab.external.adopt.blog import NoBlog as NoBlog
from lab.external.adopt.blog import blog_of, without_strays
from lab.external.adopt.detect import find_services, with_unique_names
from lab.external.adopt.services import DetectedService
from lab.external.adopt.sources import GuessedValue, read_folder
from lab.external.adopt.system import DetectedSystem, find_system
from lab.external.target import ANY_PORT, COURSE_PORTS
from lab.support.files import write_new
from lab.support.text import shell_word

UNCERTAIN = "(?)"
SLOW_START_S = 60
_STARTS_SLOWLY = re.compile(r"^(?:npx (?:ts-node|tsx)|npm (?:start|run)|go run)\b")
_PORT_HINT = (
    "# The lab can't choose its port, so it has no sidecar, and only its process can be broken",
    '# (down, hang). Once it reads its port from a variable, add: port_env = "PORT"',
)


class NoServiceFound(LookupError):
    """Nothing in the folder looks like a service. The message lists what was looked for."""


def adopt(folder: Path, output: Path) -> list[str]:
    """Write a first target file for the services in `folder`. Returns its uncertain lines.

    Raises NoServiceFound, NoBlog, FileExistsError if `output` exists, OSError.
    """
    if output.exists():
        raise FileExistsError(
            f"{output} is there already, and stays as it is. Try --to OTHER.toml."
        )
    sources = read_folder(folder)
    name = folder.resolve().name or "mine"
    services, skipped = find_services(sources, name)
    if not services:
        raise NoServiceFound(
            f"Nothing in {folder} looks like a service. Looked for: package.json with code that "
            "listens, Python with Flask, FastAPI or http.server, Go with ListenAndServe, start.sh, "
            "a Dockerfile; four folders deep. docs/bring-your-own.md says how to write the file "
            "by hand."
        )
    services = with_unique_names(blog_of(services, skipped, name))
    system = find_system(services, sources)
    services = without_strays(services, system, skipped)
    lines = _render(name, services, skipped, system, output, folder)
    write_new(output, "\n".join(lines) + "\n")
    return [line.strip() for line in lines if UNCERTAIN in line and not line.startswith("# A line")]


def _render(
    name: str,
    services: list[DetectedService],
    skipped: list[str],
    system: DetectedSystem,
    output: Path,
    folder: Path,
) -> list[str]:
    lines = [
        f"# Written by `lab adopt` from what is in {name}: nothing of it was run.",
        f"# A line with {UNCERTAIN} is a guess: check it. Every key: docs/bring-your-own.md",
        f"# Next: lab validate {shell_word(output.name)}",
        *(f"# Left out: {_printable(why)}" for why in skipped),
        "",
        f"title = {_toml_string(name)}",
    ]
    if system.bus is None:
        lines.append(f'bus = "none"  # {UNCERTAIN} no service was found that delivers events')
    elif system.bus.value != "event-bus":
        lines.append(_render_value("bus", system.bus))
    if system.events:
        lines.append(_render_value("events", system.events))
    if slow := next((each for each in services if _STARTS_SLOWLY.search(each.command.value)), None):
        lines.append(
            f"ready_within_s = {SLOW_START_S}  # {slow.name} may be compiled at each start"
        )
    if system.moderation:
        lines.append(_render_value("moderation", system.moderation))
    if system.forbidden and system.forbidden.value != FORBIDDEN_WORD:
        lines.append(_render_value("forbidden", system.forbidden))
    lines += [f"# {UNCERTAIN} {_printable(sentence)}" for sentence in dict.fromkeys(system.unknown)]
    called_by_name = {guess.value for guess in system.hosts.values()}
    for service in services:
        lines += [
            "",
            f"[services.{service.name}]",
            *_render_service(service, service.name in called_by_name, output, folder),
            *_render_variables(service, services, system),
        ]
    if system.hosts:
        lines += ["", "# The names by which they call each other.", "[hosts]"]
        lines += [_render_value(host, guess) for host, guess in system.hosts.items()]
    for action, keys in system.actions.items():
        if keys:
            lines += ["", f"[actions.{action}]"]
            lines += [
                _render_value(key, guess, raw=guess.value.startswith("{"))
                for key, guess in keys.items()
            ]
    return lines


def _render_service(
    service: DetectedService, called_by_name: bool, output: Path, folder: Path
) -> list[str]:
    lines = [f"# {_printable(note)}" for note in service.notes]
    lines.append(_render_value("command", service.command))
    cwd = Path(
        os.path.relpath((folder / service.cwd).resolve(), output.resolve().parent)
    ).as_posix()
    if cwd != ".":
        lines.append(f"cwd = {_toml_string(cwd)}")
    port_in_command = "{port}" in service.command.value
    course_port = COURSE_PORTS.get(service.name)
    if service.port_env:
        lines.append(_render_value("port_env", service.port_env))
    if service.port:
        if service.port.value != str(course_port) or not (service.port_env or port_in_command):
            lines.append(_render_value("port", service.port, raw=True))
        if not (service.port_env or port_in_command or called_by_name):
            lines += _PORT_HINT
    elif (service.port_env or port_in_command) and course_port is None:
        lines.append(f"port = {ANY_PORT}  # any: no fixed port for it was found")
    elif not (service.port_env or port_in_command):
        guess = f"the course's, {course_port}," if course_port else "one that you know"
        lines.append(
            f"# {UNCERTAIN} no port was found in its code; {guess} is assumed: "
            f"port = {course_port or '…'}"
        )
    return lines


_ADDRESS = re.compile(r"https?://([A-Za-z][\w-]*)(?::\d{2,5})?(?=/|$)")


def _render_variables(
    service: DetectedService, services: list[DetectedService], system: DetectedSystem
) -> list[str]:
    """The variables that a deployment sets for a service. The lab fills in where others are."""
    names = {each.name for each in services}

    def address(match: re.Match[str]) -> str:
        host = match[1].lower()
        to = system.hosts[host].value if host in system.hosts else host
        return f"{{url:{to}}}" if to in names else match[0]

    known = {name: guess for name, guess in service.env.items() if guess.certain}
    lines = [
        f"# {UNCERTAIN} {_printable(guess.reason)}: it reads {name}, and no file says its value. "
        f'Add: env = {{ {name} = "…" }}'
        for name, guess in service.env.items()
        if not guess.certain
    ]
    if known:
        inside = ", ".join(
            f"{name} = {_toml_string(_ADDRESS.sub(address, guess.value))}"
            for name, guess in known.items()
        )
        reasons = ", ".join(dict.fromkeys(guess.reason for guess in known.values()))
        lines.append(f"env = {{ {inside} }}  # {_printable(reasons)}")
    return lines


def _render_value(key: str, guess: GuessedValue, raw: bool = False) -> str:
    value = guess.value if raw else _toml_string(guess.value)
    doubt = "" if guess.certain else f"{UNCERTAIN} "
    return f"{key} = {value}  # {doubt}{_printable(guess.reason)}".rstrip(" #")


def _toml_string(value: str) -> str:
    """A TOML string. TOML and JSON escape the same characters, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _printable(text: str) -> str:
    """Replace characters that would end a comment or control a terminal with blanks."""
    return "".join(character if character.isprintable() else " " for character in text)
