"""A limit on a service's capacity: a single server, in the sense of queueing theory."""

import threading
import time
from collections import deque

from lab.domain.errors import DeadlineExceeded
from lab.service import deadline


class SingleServer:
    """A single server: it takes one request at a time, in order of arrival. Thread-safe.

    Each request holds it for `work_ms`, so the service completes at most 1000 / `work_ms` requests
    per second, however many workers wait. It models a processor, a disk, a lock in a database.
    (`apply_ms` does the same for a consumer of events.) The time is slept, not computed, so that
    variants do not slow each other down.
    """

    def __init__(self, work_ms: float) -> None:
        self._work_s = work_ms / 1_000
        self._free_at_s = 0.0
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()

    def serve(self) -> None:
        """Wait for this request's turn, then hold the server for `work_ms`.

        Raises DeadlineExceeded, without holding it, when the request's deadline has passed by then.
        """
        arrived_at_s = time.perf_counter()
        turn = threading.Event()
        with self._lock:
            self._queue.append(turn)
            if self._queue[0] is turn:
                turn.set()
        turn.wait()
        try:
            if deadline.expired():
                raise DeadlineExceeded(
                    "When its turn came, nobody waited any more: nothing was done."
                )
            # From the scheduled end of the last request: late wake-ups must not cost capacity.
            self._free_at_s = max(arrived_at_s, self._free_at_s) + self._work_s
            time.sleep(max(0.0, self._free_at_s - time.perf_counter()))
        finally:
            with self._lock:
                self._queue.popleft()
                if self._queue:
                    self._queue[0].set()
