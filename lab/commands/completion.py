"""What the shell completes: names of scenarios, saved runs, services, kinds of faults, and so on.

`lab --install-completion` installs it. A person waits for the answer after each Tab, so nothing
that is completed often imports more than it has to.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

# ── Commands


class _AsTyped:
    """Replaces Typer's conversion of a parameter, whose first use imports pydantic."""

    @staticmethod
    def coerce(value: Any, **_: Any) -> Any:
        return value


class QuickCompletion:
    """A command whose parameters are not converted while the shell completes its line.

    Its help shows no type for a flag: people would type `--quick true`.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if ctx.resilient_parsing:
                param._runtime_param = _AsTyped
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class LabCommand(QuickCompletion, TyperCommand):
    pass


# ── Words


def _matching(names: Iterable[str], begun: str) -> list[str]:
    return [name for name in names if name.startswith(begun)]


def scenarios(incomplete: str) -> list[str]:
    """Built-in scenarios, and the `.toml` files of the folder that is being typed."""
    from lab.scenarios.names import builtin_names

    return _matching((*builtin_names(), *_files(incomplete)), incomplete)


def scenarios_to_run(incomplete: str) -> list[str]:
    return [*scenarios(incomplete), *_matching(["all"], incomplete)]


def saved_runs(incomplete: str) -> list[str]:
    """`last`, the scenarios that have a saved run, and the folders of the runs."""
    from lab.results.saved_names import LAST, saved_folders, scenario_of

    folders = saved_folders()
    names = (LAST, *map(scenario_of, folders), *map(str, folders))
    return _matching(dict.fromkeys(names), incomplete)


def tags(incomplete: str) -> list[str]:
    from lab.scenarios.catalogue import TAGS

    return _matching(TAGS, incomplete)


def fault_kinds(incomplete: str) -> list[str]:
    from lab.faults.kinds import KINDS

    return _matching(KINDS, incomplete)


def fault_targets(incomplete: str) -> list[str]:
    from lab.domain.services import BUS, HOPS, SERVICES

    return _matching((*SERVICES, BUS, *HOPS), incomplete)


def services(incomplete: str) -> list[str]:
    from lab.domain.services import SERVICES

    return _matching(SERVICES, incomplete)


def code_files(incomplete: str) -> list[str]:
    from lab.report.terminal.code_diff import FILES

    return _matching(FILES, incomplete)


def arrangements(incomplete: str) -> list[str]:
    from lab.domain.services import BY_HAND_PORTS

    return _matching(BY_HAND_PORTS, incomplete)


def stacks(incomplete: str) -> list[str]:
    return [*arrangements(incomplete), *_matching(["both"], incomplete)]


def requests(incomplete: str) -> list[str]:
    from lab.report.tracing.trace import REQUESTS

    return _matching(REQUESTS, incomplete)


def exercises(incomplete: str) -> list[str]:
    from lab.exercises.catalogue import EXERCISES

    return _matching(EXERCISES, incomplete)


def _files(incomplete: str) -> list[str]:
    """Folders, and `.toml` files, in the folder that is being typed."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []
    prefix = "./" if incomplete.startswith("./") else ""
    # Folders only once one is being typed: else they would hide the names of scenarios.
    found = [f"{prefix}{entry}/" for entry in entries if "/" in incomplete and entry.is_dir()]
    return [*found, *(f"{prefix}{entry}" for entry in entries if entry.suffix == ".toml")]
