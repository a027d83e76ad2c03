"""What would keep a service from starting on this machine, as far as can be seen before."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lab.foreign.target import Target

_BETWEEN = frozenset(("&&", "||", "|", ";", "&", ">", ">>", "<"))
_ONLY_A_SHELL_KNOWS = frozenset(("cd", "export", "source", "set", "exec", "ulimit"))


def remarks(target: Target) -> Iterator[str]:
    """A sentence for each service of which that can be said."""
    for name, service in target.services.items():
        program, *more = service.command
        if word := _of_a_shell(program, more):
            yield (
                f"services.{name}.command: {word!r} is for a shell, and no shell is in between. "
                "Use `cwd` for the folder and `env` for variables, or "
                """["sh", "-c", "…"] with all of it in one text."""
            )
        elif not _is_there(program, target.cwd_of(name), service.env.get("PATH")):
            where = "there is no such file" if "/" in program else "it is not on the PATH"
            yield (
                f"services.{name}.command: {program!r} can't be started on this machine: {where}. "
                "Is it installed, and spelled so?"
            )


def _of_a_shell(program: str, more: list[str]) -> str:
    """The first word that means something to a shell alone, "" for none."""
    if program in _ONLY_A_SHELL_KNOWS or "=" in program:
        return program
    return next((word for word in more if word in _BETWEEN or word.endswith(";")), "")


def _is_there(program: str, cwd: Path, path: str | None) -> bool:
    if "{" in program:  # what is filled in is known at the start
        return True
    if "/" in program:
        return os.access(cwd / program, os.X_OK)
    return shutil.which(program, path=path) is not None
