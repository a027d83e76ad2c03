"""A service of a known capacity: each request needs something of which there is only one.

A processor, a disk, a lock in a database: whatever it is, it takes one request at a time, in the
order in which they come, and a fixed time for each. So the service answers 1000 / `work_ms` a
second and not one more, however many workers wait for it (`apply_ms` is the same for a consumer of
events). The time is slept and not worked, so that variants don't slow each other down.
"""

import threading
import time
from collections import deque

from lab import deadline
from lab.domain.errors import GivenUp


class Bottleneck:
    """`work_ms`: how long each request has it to itself; 0: there is none. For many threads."""

    def __init__(self, work_ms: float) -> None:
        self._work_s = work_ms / 1_000
        self._free_at_s = 0.0
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()

    def take_turn(self) -> None:
        """Wait until it is our turn, and have it for so long.

        Raises GivenUp when the asker's deadline has passed by then: that takes no time.
        """
        if not self._work_s:
            return
        came_s = time.perf_counter()
        turn = threading.Event()
        with self._lock:
            self._line.append(turn)
            if self._line[0] is turn:
                turn.set()
        turn.wait()
        try:
            if deadline.is_over():
                raise GivenUp("When its turn came, nobody waited any more: nothing was done.")
            # Counted on from when it was to be free, or every late awakening would cost capacity.
            self._free_at_s = max(came_s, self._free_at_s) + self._work_s
            time.sleep(max(0.0, self._free_at_s - time.perf_counter()))
        finally:
            with self._lock:
                self._line.popleft()
                if self._line:
                    self._line[0].set()
