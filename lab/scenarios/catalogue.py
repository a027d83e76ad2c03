"""Finds scenarios: the built-in ones by name, any other by its path."""

import os
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import get_args

from lab.scenarios.names import builtin_names
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import Tag
from lab.support.text import did_you_mean

TAGS: tuple[str, ...] = get_args(Tag)

FLEETS = ("fleet-storm", "tail-at-scale")
"""Scenarios whose question is about a fleet (`lab simulate`); one blog alone does not answer it."""


class UnknownName(LookupError):
    """There is no such scenario or tag; the message names the nearest one."""


def find(name: str) -> Scenario:
    """The scenario of that name, or in that file when the name ends in `.toml`.

    Raises UnknownName when there is none, ScenarioError when the file is not valid.
    """
    if name.endswith(".toml"):
        # With an unknown user, `~user` stays as it is; the path is then not a file.
        path = Path(os.path.expanduser(name))
        if not path.is_file():
            raise UnknownName(
                f"There is no file {name}. A built-in scenario has no .toml: {_list_names()}"
            )
        return Scenario.load_file(path)
    folder = files("lab.scenarios")
    if name in FLEETS:
        folder /= "fleets"
    elif name not in builtin_names():
        if Path(name).exists():
            raise UnknownName(f"{name} is there, but a scenario's file has a name ending in .toml.")
        raise UnknownName(
            f"There is no scenario {name!r}. {did_you_mean(name, [*builtin_names(), *FLEETS])} "
            "A scenario of your own is given by its path, ending in .toml."
        )
    with as_file(folder / f"{name}.toml") as path:
        return Scenario.load_file(path)


def builtin_scenarios() -> tuple[Scenario, ...]:
    """All built-in scenarios."""
    return tuple(find(name) for name in builtin_names())


def find_tagged(tags: Iterable[str]) -> tuple[Scenario, ...]:
    """The built-in scenarios that have one of the tags. Raises UnknownName for an unknown tag."""
    wanted = tuple(tags)
    for tag in wanted:
        if tag not in TAGS:
            raise UnknownName(f"There is no tag {tag!r}. {did_you_mean(tag, TAGS)}")
    return tuple(scenario for scenario in builtin_scenarios() if set(wanted) & set(scenario.tags))


def _list_names() -> str:
    return ", ".join(builtin_names()) + "."
