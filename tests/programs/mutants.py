"""Runs a program of the lab with one bug in it: `python -m tests.programs.mutants BUG MODULE …`.

The bug is put into the named module, in this process alone; then the module's `main` runs with the
remaining arguments. So a mutant is started, killed and requested like any other program, and no
code of the lab knows about it.
"""

import importlib
import sys
from collections.abc import Callable

from tests.programs import mutants_asking, mutants_carrying, mutants_telling, mutants_unsynced

Bug = Callable[..., None]
"""Breaks one thing in the module that is about to run, which it gets as argument."""

BUGS: dict[str, Bug] = mutants_telling.BUGS | mutants_carrying.BUGS | mutants_asking.BUGS
"""The bugs that show without a power cut."""


def main(argv: list[str] | None = None) -> None:
    bug, module, *words = sys.argv[1:] if argv is None else argv
    program = importlib.import_module(module)
    (BUGS | mutants_unsynced.BUGS)[bug](program)
    program.main(words)


if __name__ == "__main__":
    main()
