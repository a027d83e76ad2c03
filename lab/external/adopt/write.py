"""Writes the first target file, with the source of each value in a comment on its line."""

import json
import os
from pathlib import Path

from lab.external.adopt.detect import find_services
from lab.external.adopt.sources import Found, Guess, read_folder
from lab.external.adopt.system import System, find_system
from lab.external.target import ANY_PORT, COURSE_PORTS

UNSURE = "(?)"
_PORT_HINT = (
    "# It can't be moved from that port, so no sidecar can stand before it: only its process can",
    '# be broken (down, hang). Once it listens where a variable says: port_env = "PORT"',
)


class NothingFound(LookupError):
    """Nothing in the folder looks like a service. The message lists what was looked for."""


def adopt(folder: Path, file: Path) -> list[str]:
    """Write a first target file for the services in `folder`. Returns its uncertain lines.

    Raises NothingFound, FileExistsError if `file` exists, OSError.
    """
    if file.exists():
        raise FileExistsError(f"{file} is there already, and stays as it is. Try --to OTHER.toml.")
    sources = read_folder(folder)
    name = folder.resolve().name or "mine"
    found, left_out = find_services(sources, name)
    if not found:
        raise NothingFound(
            f"Nothing in {folder} looks like a service. Looked for: package.json with code that "
            "listens, Python with Flask, FastAPI or http.server, Go with ListenAndServe, start.sh, "
            "a Dockerfile; four folders deep. docs/bring-your-own.md says how to write the file "
            "by hand."
        )
    system = find_system(found, sources)
    lines = _lines(name, found, left_out, system, file, folder)
    with file.open("x", encoding="utf-8") as written:
        written.write("\n".join(lines) + "\n")
    return [line.strip() for line in lines if UNSURE in line and not line.startswith("# A line")]


def _lines(
    name: str, found: list[Found], left_out: list[str], system: System, file: Path, folder: Path
) -> list[str]:
    lines = [
        f"# Written by `lab adopt` from what is in {name}: nothing of it was run.",
        f"# A line with {UNSURE} is a guess that needs your eye. Every key: docs/bring-your-own.md",
        f"# Next: lab validate {file.name}",
        *(f"# Left out: {_one_line(why)}" for why in left_out),
        "",
        f"title = {_text(name)}",
    ]
    if system.bus is None:
        lines.append(f'bus = "none"  # {UNSURE} nobody was seen who brings events to others')
    elif system.bus.value != "event-bus":
        lines.append(_line("bus", system.bus))
    if system.events:
        lines.append(_line("events", system.events))
    lines += [f"# {UNSURE} {_one_line(one)}" for one in dict.fromkeys(system.unknown)]
    named = {guess.value for guess in system.hosts.values()}
    for one in found:
        lines += ["", f"[services.{one.name}]", *_service(one, one.name in named, file, folder)]
    if system.hosts:
        lines += ["", "# The names by which they call each other.", "[hosts]"]
        lines += [_line(host, guess) for host, guess in system.hosts.items()]
    for action, keys in system.actions.items():
        if keys:
            lines += ["", f"[actions.{action}]"]
            lines += [
                _line(key, guess, raw=guess.value.startswith("{")) for key, guess in keys.items()
            ]
    return lines


def _service(one: Found, by_name: bool, file: Path, folder: Path) -> list[str]:
    lines = [f"# {_one_line(note)}" for note in one.notes]
    lines.append(_line("command", one.command))
    cwd = Path(os.path.relpath((folder / one.cwd).resolve(), file.resolve().parent)).as_posix()
    if cwd != ".":
        lines.append(f"cwd = {_text(cwd)}")
    told = "{port}" in one.command.value
    usual = COURSE_PORTS.get(one.name)
    if one.port_env:
        lines.append(_line("port_env", one.port_env))
    if one.port:
        if one.port.value != str(usual) or not (one.port_env or told):
            lines.append(_line("port", one.port, raw=True))
        if not (one.port_env or told or by_name):
            lines += _PORT_HINT
    elif (one.port_env or told) and usual is None:
        lines.append(f"port = {ANY_PORT}  # any: nobody was seen who looks for it in one place")
    elif not (one.port_env or told):
        guess = f"the course's, {usual}," if usual else "one that you know"
        lines.append(
            f"# {UNSURE} nothing was read about its port; {guess} is taken: port = {usual or '…'}"
        )
    return lines


def _line(key: str, guess: Guess, raw: bool = False) -> str:
    value = guess.value if raw else _text(guess.value)
    doubt = "" if guess.sure else f"{UNSURE} "
    return f"{key} = {value}  # {doubt}{_one_line(guess.why)}".rstrip(" #")


def _text(value: str) -> str:
    """A TOML string. TOML and JSON escape the same characters, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _one_line(text: str) -> str:
    """Replace characters that would end a comment or control a terminal with blanks."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
