"""Rewrites docs/scenarios.md: `make docs`, or `python -m tests.docs.write_scenarios [NAME …]`.

The texts come from the scenario files. The tables are measured: the named scenarios (or `all`) are
run and their tables replaced; without names the tables stay. Do not use the machine meanwhile.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.experiment.runner import Run
from lab.report import markdown
from lab.scenarios import catalogue

PLACE = Path(__file__).parents[2] / "docs" / "scenarios.md"
TRIES = 3  # an invalid run is repeated

HEAD = """
# The scenarios

Each in the order in which they are best met: the question to answer before one looks, what is done,
what one run has measured, and what it means. The tables are from one machine, named under each;
yours will have other milliseconds and, if the lab is right, the same verdicts: `lab run all`.
Columns: the share of good answers and their median; `visible` is the median time until a feed
showed a comment as decided. Generated from the scenario files by `make docs`.
"""


def words(measured: dict[str, str]) -> str:
    """The document with these tables in it."""
    return markdown.document(catalogue.builtin_scenarios(), HEAD, measured)


def main(wanted: list[str]) -> None:
    measured = markdown.extract_blocks(PLACE.read_text("utf-8")) if PLACE.exists() else {}
    names = catalogue.builtin_names() if wanted == ["all"] else wanted
    for name in names:
        measured[name] = _measured(name)
        PLACE.write_text(words(measured), "utf-8")
        sys.stdout.write(f"{name}: measured\n")
    PLACE.write_text(words(measured), "utf-8")


def _measured(name: str) -> str:
    for _ in range(TRIES):
        with TemporaryDirectory(prefix="lab-docs-") as folder:
            result = asyncio.run(Run(catalogue.find(name), Path(folder))())
        if result.valid:
            break
    return markdown.measured_block(result)


if __name__ == "__main__":
    main(sys.argv[1:])
