"""Where runs are kept: a folder each, with fixed file names, for its owner's eyes only.

The machine a run was measured on: without it, no figure means anything to anybody else.
"""

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lab.results.result import Result, ResultError

# ── Where runs are kept: a folder each, with fixed file names, for its owner's eyes only.

RUNS = Path("runs")


def new_folder(scenario: str, under: Path = RUNS) -> Path:
    """Make `<under>/<time>-<scenario>/`, 0700; two runs in one second get different ones."""
    under.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1_000):
        folder = under / (f"{stamp}-{scenario}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{under} has a thousand runs of this very second.")


def drop_databases(folder: Path) -> None:
    """Throw the services' databases away: result, samples, logs and spans stay."""
    for part in ("", "variant-*/", "run-*/", "run-*/variant-*/"):
        for data in folder.glob(f"{part}data"):
            shutil.rmtree(data, ignore_errors=True)


def kept(under: Path = RUNS) -> Iterator[tuple[Path, Result]]:
    """The runs kept here, newest first; folders without a readable result are passed over."""
    for path in sorted(under.glob("*/result.json"), reverse=True):
        try:
            yield path.parent, Result.load_file(path)
        except ResultError:
            continue


# ── The machine a run was measured on: without it, no figure means anything to anybody else.


def lab_version() -> str:
    try:
        return version("sync-async-lab")
    except PackageNotFoundError:
        return "unknown: not installed"


def environment() -> dict[str, Any]:
    """Python, system, processor, memory in GiB, and the load of the last minute at the start."""
    import psutil

    return {
        "lab": lab_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
