"""Who looks on: each has a short queue of its own, so that none of them can slow the lab.

A message is made into bytes once, whoever gets it. A queue that is full loses its oldest tick, and
its owner is told how many were lost; a watcher whose network takes nothing at all is let go.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager

MOST_WAITING = 50
"""Messages; 5 s of ticks."""
MOST_HERE, MOST_SHARED = 40, 250


def event(name: str, data: bytes) -> bytes:
    """A server-sent event (HTML Living Standard, section 9.2); `data` has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class Watcher:
    """One who looks on; `shared`: from elsewhere. `dropped`: how many ticks it missed."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self.dropped = 0
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._there_is_more = asyncio.Event()
        self.over = False

    def put(self, name: str, data: bytes) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._drop_one()
        self._waiting.append((name, data))
        self._there_is_more.set()

    def end(self) -> None:
        """There will be nothing more."""
        self.over = True
        self._there_is_more.set()

    async def next(self) -> bytes:
        """All that waits, as the bytes of events; nothing when it is over."""
        while not self._waiting and not self.over:
            self._there_is_more.clear()
            await self._there_is_more.wait()
        waiting, self._waiting = self._waiting, deque()
        return b"".join(event(name, self._marked(name, data)) for name, data in waiting)

    def _drop_one(self) -> None:
        """The oldest tick; where all that waits is something else, the oldest of that."""
        self.dropped += 1
        for place, (name, _) in enumerate(self._waiting):
            if name == "tick":
                del self._waiting[place]
                return
        self._waiting.popleft()

    def _marked(self, name: str, data: bytes) -> bytes:
        if name != "tick" or not self.dropped:
            return data
        return data[:-1] + b',"dropped":%d}' % self.dropped


class Watchers:
    """All of them."""

    def __init__(self) -> None:
        self._all: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def all(self) -> Collection[Watcher]:
        return self._all

    def full(self, shared: bool) -> bool:
        """Whether there is no room for one more from elsewhere, or from here: those from elsewhere
        can't take the place of who is to control."""
        most = MOST_SHARED if shared else MOST_HERE
        return sum(one.shared == shared for one in self._all) >= most

    @contextmanager
    def one_more(self, shared: bool) -> Iterator[Watcher]:
        watcher = Watcher(shared)
        self._all.add(watcher)
        try:
            yield watcher
        finally:
            self._all.discard(watcher)

    def tell(self, name: str, data: bytes) -> None:
        for watcher in self._all:
            watcher.put(name, data)

    def end(self) -> None:
        for watcher in self._all:
            watcher.end()
