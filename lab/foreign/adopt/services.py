"""From the files of a folder to the services that are in it."""

from pathlib import Path

from lab.foreign.adopt.found import Found
from lab.foreign.adopt.languages import SHELL
from lab.foreign.adopt.programs import LOOKS
from lab.foreign.adopt.sources import Source
from lab.foreign.target import COURSE_PORTS

_ORDER = tuple(COURSE_PORTS)


def find_services(sources: list[Source], folder: str) -> tuple[list[Found], list[str]]:
    """The services, and a sentence for each thing that looked like one and is none."""
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
