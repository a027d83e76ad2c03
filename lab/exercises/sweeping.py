"""What a student's program has started by itself ends with the check, too.

The supervisor ends the programs that it has started, but a program may have started others. Those
are still of its process group, or carry the mark of the check in their environment.
"""

import os
from collections.abc import Collection
from contextlib import suppress

import psutil

from lab.cluster.link import LAB_RUN

MARK = "LAB_EXERCISE"


def sweep(mark: str, groups: Collection[int]) -> int:
    """Kill what carries a mark, or is of one of these groups and of our own run; how many."""
    ended = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            of = process.environ()
            ours = of.get(LAB_RUN, "").startswith(f"{os.getpid()}:")
            if ours and (of.get(MARK) == mark or os.getpgid(process.pid) in groups):
                process.kill()  # psutil sees to it that the pid is still the same process's
                ended += 1
    return ended
