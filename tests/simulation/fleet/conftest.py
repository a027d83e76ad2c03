"""The engine is compiled once for all workers: the first compiles, the others load what it kept."""

import fcntl
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    pytest.importorskip("numba", reason="the extra `simulate` is not installed")
    from lab.scenarios.catalogue import find
    from lab.simulation.fleet.model import simulate
    from lab.simulation.fleet.parameters import shipped_parameters
    from lab.simulation.fleet.world import NUMBA

    folder = Path(NUMBA.config.CACHE_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compiling").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        simulate(find("downed-service").quick(), shipped_parameters())
