"""Run folders, which only their owner can read, and the description of the machine.

Each run has one folder with fixed file names. The figures of a run mean little without the machine
on which they were measured.
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

from lab.results.result import ResultError, RunResult
from lab.results.saved_names import LAST, RUNS, saved_folders, scenario_of
from lab.support.text import did_you_mean

# ── Run folders


def create_run_folder(scenario: str, parent: Path = RUNS) -> Path:
    """Make `<under>/<time>-<scenario>/` (0700), with a number added if that folder exists.

    Raises FileExistsError when a thousand of them exist.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 1_000):
        folder = parent / (f"{stamp}-{scenario}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{parent} has a thousand runs of this very second.")


def drop_databases(folder: Path) -> None:
    """Delete the services' databases; result, samples, logs and spans stay."""
    for prefix in ("", "variant-*/", "run-*/", "run-*/variant-*/"):
        for data in folder.glob(f"{prefix}data"):
            shutil.rmtree(data, ignore_errors=True)


def saved_runs(parent: Path = RUNS) -> Iterator[tuple[Path, RunResult]]:
    """The saved runs, newest first; folders without a readable result are skipped."""
    for folder in saved_folders(parent):
        try:
            yield folder, RunResult.load_file(folder / "result.json")
        except ResultError:
            continue


def find_run(run: str = LAST, parent: Path = RUNS) -> Path:
    """The folder of a saved run: `last`, the name of a scenario (its newest run), or a path.

    Raises ResultError, which says what there is.
    """
    path = Path(run)
    if path.is_dir() and (path / "result.json").exists():
        return path
    if path.is_file():
        return path.parent
    saved = saved_folders(parent)
    if run == LAST and saved:
        return saved[0]
    for folder in saved:
        if scenario_of(folder) == run:
            return folder
    if not saved:
        raise ResultError(
            f"There is no saved run in {parent}/ here. Run a scenario first: lab run slow-service"
        )
    names = dict.fromkeys(map(scenario_of, saved))
    raise ResultError(
        f"There is no saved run {run!r}: neither a folder nor a scenario that was run here. "
        f"{did_you_mean(run, [LAST, *names])} lab runs lists them."
    )


# ── Description of the machine


def lab_version() -> str:
    try:
        return version("sync-async-lab")
    except PackageNotFoundError:
        return "unknown: not installed"


def describe_environment() -> dict[str, Any]:
    """Versions of the lab and Python, system, processor, cores, memory (GiB), and the current load
    average over one minute."""
    import psutil

    return {
        "lab": lab_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
