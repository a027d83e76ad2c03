"""The broadcast: sends every message to all screens, and the current state to new ones.

Each subscriber has its own short queue, so a slow screen can't delay the lab. A message is encoded
once for all. A full queue drops its oldest tick, and later ticks say how many were dropped. The
server disconnects a subscriber that reads nothing for some seconds.
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

# ── Subscribers

MOST_WAITING = 50
"""Messages in a queue: 5 s of ticks."""
MOST_HERE, MOST_SHARED = 40, 250


def event(name: str, data: bytes) -> bytes:
    """A server-sent event (HTML Living Standard, section 9.2); `data` has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class Watcher:
    """A subscriber: one connected screen. `shared`: a spectator on the second listener; `dropped`:
    how many messages its full queue has dropped."""

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
        """Send nothing more."""
        self.over = True
        self._there_is_more.set()

    async def next(self) -> bytes:
        """Wait for messages, and return all of them as server-sent events; empty at the end."""
        while not self._waiting and not self.over:
            self._there_is_more.clear()
            await self._there_is_more.wait()
        waiting, self._waiting = self._waiting, deque()
        return b"".join(event(name, self._marked(name, data)) for name, data in waiting)

    def _drop_one(self) -> None:
        """Drop the oldest tick, or the oldest message if no tick is in the queue."""
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
    """All subscribers."""

    def __init__(self) -> None:
        self._all: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def all(self) -> Collection[Watcher]:
        return self._all

    def full(self, shared: bool) -> bool:
        """Whether no more spectators (`shared`) or no more presenters fit. The limits are separate,
        so spectators can't lock out a presenter."""
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


# ── Broadcast

WINDOW_S = 60
KEPT_DONE = 50

Role = Literal["presenter", "watcher"]
DoneKind = Literal["fault", "heal", "load", "reset", "script", "exit"]


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Show:
    """The state that the screens show, and the subscribers that get its changes.

    `stage`: what is fixed between two starts (panes, choices of a reset); `now`: what may change.
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
        """Seconds since the last start of the stacks."""
        return round(perf_counter() - self.began_s, 3)

    def begin(self, stage: Mapping[str, Any]) -> None:
        """Reset the state for a new start of both panes, and send it to all screens."""
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
        """The first message for a new screen, as JSON: the current state, the log, and the ticks
        of the last WINDOW_S seconds."""
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
        """Add a line to the log of actions. `half` None: both panes."""
        line = {"t": self.t, "says": says, "half": half, "kind": kind}
        self._done.append(line)
        self.watchers.tell("done", encoded(line))

    def change(self, name: str, value: Any) -> None:
        """Set a part of the current state: `faults`, `seen`, `script` or `load`."""
        self.now[name] = value
        if name != "load":  # the ticks send the load
            self.watchers.tell(name, encoded(value))

    def _by_role(self) -> dict[Role, Iterable[Any]]:
        return {
            "presenter": [one for one in self.watchers.all if not one.shared],
            "watcher": [one for one in self.watchers.all if one.shared],
        }
