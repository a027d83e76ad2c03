"""What all screens are told, now and when they come later.

Who looks on: each has a short queue of its own, so that none of them can slow the lab.

A message is made into bytes once, whoever gets it. A queue that is full loses its oldest tick, and
its owner is told how many were lost; a watcher whose network takes nothing at all is let go.
"""

import asyncio
import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Literal

from lab.live.snapshots import EVERY_MS, Tick, without_hops
from lab.results.claims import CLAIMS
from lab.results.run_folder import lab_version

# ── Who looks on: each has a short queue of its own, so that none of them can slow the lab.

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


# ── What all screens are told, now and when they come later.

WINDOW_S = 60
KEPT_DONE = 50

Role = Literal["presenter", "watcher"]
DoneKind = Literal["fault", "heal", "load", "reset", "script", "exit"]


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Show:
    """Everything a screen shows, and everybody who looks at one.

    `stage`: what does not change between two starts (halves, what can be chosen); `now`: what may.
    """

    def __init__(self) -> None:
        self.watchers = Watchers()
        self.stage: dict[str, Any] = {}
        self.now: dict[str, Any] = {"load": {}, "faults": [], "script": None, "seen": None}
        self.epoch = 0
        self.began_s = perf_counter()
        self._done: deque[dict[str, Any]] = deque(maxlen=KEPT_DONE)
        self._history: deque[bytes] = deque(maxlen=WINDOW_S * 1_000 // EVERY_MS)

    @property
    def t(self) -> float:
        """Seconds since this start."""
        return round(perf_counter() - self.began_s, 3)

    def begin(self, stage: Mapping[str, Any]) -> None:
        """Both halves start, or start anew: nothing of the past counts."""
        self.epoch += 1
        self.began_s = perf_counter()
        self.stage = dict(stage)
        self.now |= {"faults": [], "seen": None}
        self._history.clear()
        self._done.clear()
        for role, watchers in self._by_role().items():
            data = self.hello(role)
            for watcher in watchers:
                watcher.put("hello", data)

    def hello(self, role: Role) -> bytes:
        """What one who comes now has to know."""
        told = {
            "role": role,
            "version": lab_version(),
            "epoch": self.epoch,
            "t": self.t,
            "window_s": WINDOW_S,
            "every_ms": EVERY_MS,
            **self.stage,
            **self.now,
            "done": list(self._done),
            "claims": {name: claim.says for name, claim in CLAIMS.items()},
        }
        return encoded(told)[:-1] + b',"history":[' + b",".join(self._history) + b"]}"

    def tick(self, tick: Tick) -> None:
        self._history.append(encoded(without_hops(tick)))
        self.watchers.tell("tick", encoded(tick))

    def done(self, says: str, kind: DoneKind, half: str | None = None) -> None:
        """A line for the log of what was done."""
        line = {"t": self.t, "says": says, "half": half, "kind": kind}
        self._done.append(line)
        self.watchers.tell("done", encoded(line))

    def change(self, name: str, value: Any) -> None:
        """Something that holds from now on: `faults`, `seen`, `script`, `load`."""
        self.now[name] = value
        if name != "load":  # that goes with the ticks
            self.watchers.tell(name, encoded(value))

    def _by_role(self) -> dict[Role, Iterable[Any]]:
        return {
            "presenter": [one for one in self.watchers.all if not one.shared],
            "watcher": [one for one in self.watchers.all if one.shared],
        }
