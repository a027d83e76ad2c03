"""Duration of a report card.

The course's worked target, five Node services, is started eight times and broken seven times.
"""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from lab.conformance.runner import check_system
from tests.bench.table import Figure, at_most, missing
from tests.support.worked_targets import copy_on_free_ports

RUNS = 3


def figures() -> Iterator[Figure]:
    what = "a course system of five Node services: from its start to its report card"
    if shutil.which("node") is None:
        yield missing(what, "there is no node here")
        return
    took = []
    for _ in range(RUNS):
        with TemporaryDirectory() as folder:
            target = copy_on_free_ports("node-blog", Path(folder) / "blog")
            begun_s = perf_counter()
            card = asyncio.run(check_system(target))
            took.append(perf_counter() - begun_s)
            assert not card.trouble, card.trouble
    yield at_most(what, 90, took, "s")
