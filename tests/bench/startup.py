"""Start-up time of nine healthy processes, and their memory.

Each start is in a fresh interpreter, so the imports are included.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from tests.bench.table import Figure, at_most

RUNS = 7


def figures() -> Iterator[Figure]:
    runs = [_one() for _ in range(RUNS)][1:]  # the first one compiles
    yield at_most(
        "both stacks and the bus, nine processes, from nothing to healthy",
        0.4,
        [run["seconds"] for run in runs],
        "s",
    )
    yield at_most(
        "memory of both stacks, the bus and the lab together (sum of PSS)",
        450,
        [run["pss_mib"] for run in runs],
        "MiB",
    )


def _one() -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.startup"], capture_output=True, text=True, check=True
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


async def _start() -> dict[str, float]:
    begun = perf_counter()
    from contextlib import ExitStack

    from lab.cluster.arrangements import ARRANGEMENTS, PRELOAD
    from lab.cluster.supervisor import Supervisor
    from lab.domain.services import TWINS

    with tempfile.TemporaryDirectory() as place:
        supervisor = Supervisor(PRELOAD, Path(place))
        supervisor.launch()
        from lab.cluster.stack import Stack

        async with supervisor:
            with ExitStack() as held:
                stacks = [
                    held.enter_context(Stack(name, ARRANGEMENTS[name], supervisor, Path(place)))
                    for name in TWINS
                ]
                await supervisor.start(*(one for stack in stacks for one in stack.programs))
                seconds = perf_counter() - begun
                return {"seconds": seconds, "pss_mib": _pss_mib()}


def _pss_mib() -> float:
    """Memory of this process and its descendants in MiB: PSS on Linux, elsewhere RSS."""
    import psutil

    own = psutil.Process()
    weights = []
    for process in (own, *own.children(recursive=True)):
        memory = process.memory_full_info()
        weights.append(getattr(memory, "pss", memory.rss))
    return sum(weights) / 2**20


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_start())))
