"""Where scenarios are found: those that come with the lab, by name, and anyone's, by path."""

import os
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from lab.scenarios.figures import did_you_mean
from lab.scenarios.scenario import Scenario

_ORDER = (
    *("calm", "slow-service", "downed-service", "hung-service", "blast-radius"),
    *("request-reply", "monolith"),
    *("downed-bus", "lost-events", "dual-write", "duplicates", "out-of-order", "poison-event"),
    "read-your-writes",
)
"""As they are best met; others follow by name."""


class UnknownName(LookupError):
    """There is no such scenario; the message says what was probably meant."""


@cache
def names() -> tuple[str, ...]:
    """The names of the built-in scenarios, in the order in which they are best met."""
    found = {
        entry.name.removesuffix(".toml")
        for entry in files("lab.scenarios").iterdir()
        if entry.name.endswith(".toml")
    }
    return (*(name for name in _ORDER if name in found), *sorted(found.difference(_ORDER)))


def find(name: str) -> Scenario:
    """The scenario of that name, or in that file when the name ends in `.toml`.

    Raises UnknownName when there is none, ScenarioError when the file can't be run as it is.
    """
    if name.endswith(".toml"):
        path = Path(os.path.expanduser(name))  # ~nobody stays as it is, and is no file
        if not path.is_file():
            raise UnknownName(
                f"There is no file {name}. A built-in scenario has no .toml: {_all()}"
            )
        return Scenario.load_file(path)
    if name not in names():
        raise UnknownName(
            f"There is no scenario {name!r}. {did_you_mean(name, names())} "
            "A scenario of your own is given by its path, ending in .toml."
        )
    with as_file(files("lab.scenarios") / f"{name}.toml") as path:
        return Scenario.load_file(path)


def built_in() -> tuple[Scenario, ...]:
    """All scenarios that come with the lab."""
    return tuple(find(name) for name in names())


def _all() -> str:
    return ", ".join(names()) + "."
