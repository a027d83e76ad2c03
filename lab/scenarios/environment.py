"""The machine a run was measured on: without it, no figure means anything to anybody else."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


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
