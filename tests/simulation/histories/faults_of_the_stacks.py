"""Puts each fault of the stacks into a copy of the lab, and lets `lab search` find it there.

`python -m tests.simulation.histories.faults_of_the_stacks` prints the table of docs/search.md: for
each fault, the variant and goal with which it was found, and its smallest history.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any

from tests.mutation.faults import FAULTS, SourceMutation

ROOT = Path(__file__).parents[3]
ROOMS = ("service/", "async_bus/", "sync_chain/", "bus/", "domain/")
OF_THE_STACKS = [fault for fault in FAULTS if fault.file.startswith(ROOMS)]
_CHAIN = (
    "lost + missing + duplicated + refused_kept + refused_judged + misjudged + stuck > 0 "
    "or undecided > 0"
)
SEARCHES = {
    "async-bus": ("any", "idempotency=on dead-letter=on"),
    "async-bus, restored logs": (
        "lost + missing + duplicated > 0",
        "idempotency=on dead-letter=on",
    ),
    "sync-chain": (_CHAIN, "sync-chain idempotency=on"),
    "sync-chain, fallback": ("unmonotonic > 0", "sync-chain fallback=on"),
    "sync-chain, one retry": ("asked > 2", "sync-chain retries=1"),
    "async-bus, the course's bus": ("sent_again > 0", "bus=course"),
}
"""By arrangement: what never happens in it without a fault, and the variant."""
_SEARCHED_FOR = {
    "sync_chain/resilience/fallback.py": ("sync-chain, fallback",),
    "sync_chain/resilience/retries.py": ("sync-chain, one retry",),
    "sync_chain/": ("sync-chain",),
    "domain/errors.py": ("sync-chain",),
    "bus/course/": ("async-bus, the course's bus",),
    "async_bus/": ("async-bus", "async-bus, restored logs"),
    "bus/": ("async-bus", "async-bus, restored logs"),
}
HISTORIES = 1_500


def searches_for(fault: SourceMutation) -> list[str]:
    for folder, names in _SEARCHED_FOR.items():
        if fault.file.startswith(folder):
            return list(names)
    return list(SEARCHES)[:3]


def find(fault: SourceMutation, histories: int = HISTORIES) -> tuple[str, dict[str, Any]] | None:
    """The arrangement in which a search found this fault, and the history; None if none did."""
    with TemporaryDirectory(prefix="search-") as folder:
        copy = Path(folder).resolve()
        copytree(ROOT / "lab", copy / "lab", ignore=ignore_patterns("__pycache__"))
        file = copy / "lab" / fault.file
        source = file.read_text()
        assert source.count(fault.old) == 1, fault.name
        file.write_text(source.replace(fault.old, fault.new))
        for arrangement in searches_for(fault):
            goal, variant = SEARCHES[arrangement]
            words = ["search", goal, "--variant", variant, "--histories", str(histories), "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "lab", *words],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 1 and done.stdout.startswith("{"):
                return arrangement, json.loads(done.stdout)
            if done.returncode not in (0, 1) or "Traceback" in done.stderr:
                sys.stderr.write(f"{fault.name}: {done.stderr[-800:]}\n")
    return None


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="a fault, or a part of its name")
    parser.add_argument("--histories", type=int, default=HISTORIES)
    told = parser.parse_args(argv)
    missed = 0
    for fault in OF_THE_STACKS:
        if told.names and not any(part in fault.name for part in told.names):
            continue
        found = find(fault, told.histories)
        missed += found is None
        text = "not found"
        if found:
            name, history = found
            text = f"{name} | {history['verdict']['sentence']}"
        sys.stdout.write(f"| {fault.file} | {fault.name} | {text} |\n")
        sys.stdout.flush()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
