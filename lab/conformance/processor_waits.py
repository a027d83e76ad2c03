"""How long services waited for a processor, as Linux counts it: a measure of a busy machine.

A service on a quiet machine gets a processor as soon as it has work. On a busy one its requests
fail for want of a processor, and say nothing about the service.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lab.cluster.errors import NotRunning
from lab.cluster.supervisor import Supervisor


class ProcessorTime(NamedTuple):
    """How long a process ran, and how long it waited to run, ns."""

    ran_ns: int
    waited_ns: int


def read_processor_times(supervisor: Supervisor, names: Iterable[str]) -> dict[int, ProcessorTime]:
    """The times of all processes of these programs, by process id; {} where the system does not
    count them."""
    pids = set[int]()
    for name in names:
        with suppress(NotRunning):
            pids.update(supervisor.descendant_pids(name))
    return {pid: times for pid in pids if (times := _times_of(pid))}


def _times_of(pid: int) -> ProcessorTime | None:
    ran_ns = waited_ns = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            ran, waited, _ = (thread / "schedstat").read_text().split()
            ran_ns, waited_ns = ran_ns + int(ran), waited_ns + int(waited)
    except (OSError, ValueError):
        return None
    return ProcessorTime(ran_ns, waited_ns)


def waited_share(before: Mapping[int, ProcessorTime], after: Mapping[int, ProcessorTime]) -> float:
    """Of the time in which the processes had work, the share in which they waited; 0 for none."""
    both = before.keys() & after.keys()
    ran_ns = sum(after[pid].ran_ns - before[pid].ran_ns for pid in both)
    waited_ns = sum(after[pid].waited_ns - before[pid].waited_ns for pid in both)
    return waited_ns / (ran_ns + waited_ns) if waited_ns > 0 else 0.0
