"""A program of the lab with one bug in it: `python -m tests.programs.mutants BUG MODULE …`.

The bug is put into the module that is named, in this process alone; then the module's own `main`
runs with the rest of the words. So a mutant is started, killed and asked like any other program,
and nothing in the lab knows of it.
"""

import importlib
import sys
from collections.abc import Callable, Mapping

from tests.programs import mutants_asking, mutants_carrying, mutants_telling

Bug = Callable[..., None]
"""Breaks one thing; takes the module that is about to run."""

BUGS: Mapping[str, Bug] = mutants_telling.BUGS | mutants_carrying.BUGS | mutants_asking.BUGS


def main(argv: list[str] | None = None) -> None:
    bug, module, *words = sys.argv[1:] if argv is None else argv
    program = importlib.import_module(module)
    BUGS[bug](program)
    program.main(words)


if __name__ == "__main__":
    main()
