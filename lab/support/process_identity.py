"""Tells a process from a later one with the same pid.

The identity must not depend on the wall clock. A start time in seconds since 1970 does: Linux
derives it from `btime` of /proc/stat, which moves with each step of the clock (the first
synchronisation of NTP, a resumed virtual machine, `date -s`). So on Linux the identity is the start
in clock ticks since boot, field 22 of /proc/PID/stat, together with the id of this boot.
"""

import sys
from pathlib import Path

_STATE, _START_TICKS = 0, 19  # indexes of fields 3 and 22 of /proc/PID/stat, after the name


def process_identity(pid: int) -> str | None:
    """What identifies the process with this pid; None if none runs. A zombie does not run."""
    if sys.platform != "linux":
        return _start_time(pid)
    try:
        # The name, in parentheses, may itself contain parentheses and spaces.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[_STATE] in "ZX":
            return None
        return f"{_boot_id()}/{fields[_START_TICKS]}"
    except (OSError, IndexError):
        return None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _start_time(pid: int) -> str | None:
    # macOS stores this time when the process starts, and never corrects it.
    import psutil

    try:
        process = psutil.Process(pid)
        running = process.status() != psutil.STATUS_ZOMBIE
        return f"{process.create_time():.6f}" if running else None
    except psutil.NoSuchProcess:
        return None
