"""The broadcast: sends every message to all screens, and the current state to new ones.

Each subscriber has its own short queue, so a slow screen can't delay the lab. A message is encoded
once for all. A full queue drops its oldest tick, and later ticks say how many were dropped. The
server disconnects a subscriber that reads nothing for some seconds.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Literal

from lab.live.snapshots import TICK_MS, Tick, without_hops
from lab.load.metrics import LATE_AFTER_MS
from lab.results.claims import CLAIMS
from lab.results.run_folder import lab_version

# ── Subscribers

MAX_QUEUED = 50
"""Messages in a queue: 5 s of ticks."""
MAX_PRESENTERS, MAX_SPECTATORS = 40, 250


def encode_event(name: str, data: bytes) -> bytes:
    """A server-sent event (HTML Living Standard, section 9.2); `data` has no line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


def parse_events(data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and data of each event in these bytes of a stream of server-sent events."""
    for event in data.split(b"\n\n")[:-1]:
        name, _, payload = event.partition(b"\n")
        yield name.removeprefix(b"event: ").decode(), json.loads(payload.removeprefix(b"data: "))


class ScreenSubscriber:
    """A subscriber: one connected screen. `shared`: a spectator on the second listener; `dropped`:
    how many messages its full queue has dropped."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self.dropped = 0
        self._queue: deque[tuple[str, bytes]] = deque()
        self._wake_up = asyncio.Event()
        self.ended = False

    def enqueue(self, name: str, data: bytes) -> None:
        if len(self._queue) >= MAX_QUEUED:
            self._drop_oldest()
        self._queue.append((name, data))
        self._wake_up.set()

    def end(self) -> None:
        """Send nothing more."""
        self.ended = True
        self._wake_up.set()

    async def next_messages(self) -> bytes:
        """Wait for messages, and return all of them as server-sent events; empty at the end."""
        while not self._queue and not self.ended:
            self._wake_up.clear()
            await self._wake_up.wait()
        messages, self._queue = self._queue, deque()
        return b"".join(
            encode_event(name, self._with_dropped_count(name, data)) for name, data in messages
        )

    def _drop_oldest(self) -> None:
        """Drop the oldest tick, or the oldest message if no tick is in the queue."""
        self.dropped += 1
        for index, (name, _) in enumerate(self._queue):
            if name == "tick":
                del self._queue[index]
                return
        self._queue.popleft()

    def _with_dropped_count(self, name: str, data: bytes) -> bytes:
        if name != "tick" or not self.dropped:
            return data
        return data[:-1] + b',"dropped":%d}' % self.dropped


class ScreenSubscribers:
    """All subscribers."""

    def __init__(self) -> None:
        self._all: set[ScreenSubscriber] = set()
        self.on_message: Callable[[str, bytes], None] = lambda name, data: None
        """Gets every message, also without any screen."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def all(self) -> Collection[ScreenSubscriber]:
        return self._all

    def is_full(self, shared: bool) -> bool:
        """Whether no more spectators (`shared`) or no more presenters fit. The limits are separate,
        so spectators can't lock out a presenter."""
        limit = MAX_SPECTATORS if shared else MAX_PRESENTERS
        return sum(subscriber.shared == shared for subscriber in self._all) >= limit

    @contextmanager
    def subscribe(self, shared: bool) -> Iterator[ScreenSubscriber]:
        subscriber = ScreenSubscriber(shared)
        self._all.add(subscriber)
        try:
            yield subscriber
        finally:
            self._all.discard(subscriber)

    def publish(self, name: str, data: bytes) -> None:
        self.on_message(name, data)
        for subscriber in self._all:
            subscriber.enqueue(name, data)

    def end(self) -> None:
        for subscriber in self._all:
            subscriber.end()


# ── Broadcast

HISTORY_S = 60
LOG_LINES = 50
MAX_CARDS = 50
MAX_PAST_FAULTS = 200

Role = Literal["presenter", "watcher"]
LogKind = Literal["fault", "heal", "load", "reset", "script", "exit"]


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Broadcast:
    """The state that the screens show, and the subscribers that get its changes. `phones` get
    messages of their own (phones.py).

    `fixed_state`: what is fixed between two starts (panes, choices of a reset); `current_state`:
    what may change.
    """

    def __init__(self) -> None:
        self.subscribers = ScreenSubscribers()
        self.phones = ScreenSubscribers()
        self.fixed_state: dict[str, Any] = {}
        self.current_state: dict[str, Any] = {
            "load": {},
            "faults": [],
            "script": None,
            "seen": None,
            "cards": [],
        }
        self.epoch = 0
        self.started_s = perf_counter()
        self._log: deque[dict[str, Any]] = deque(maxlen=LOG_LINES)
        self._history: deque[bytes] = deque(maxlen=HISTORY_S * 1_000 // TICK_MS)
        self._past_faults: deque[dict[str, Any]] = deque(maxlen=MAX_PAST_FAULTS)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the last start of the stacks."""
        return round(perf_counter() - self.started_s, 3)

    def reset(self, fixed_state: Mapping[str, Any]) -> None:
        """Reset the state for a new start of both panes, and send it to all screens."""
        self.epoch += 1
        self.started_s = perf_counter()
        self.fixed_state = dict(fixed_state)
        self.current_state |= {"faults": [], "seen": None, "cards": []}
        self._history.clear()
        self._log.clear()
        self._past_faults.clear()
        self.subscribers.on_message("hello", self.hello_message("watcher"))
        for role, watchers in self._by_role().items():
            data = self.hello_message(role)
            for watcher in watchers:
                watcher.enqueue("hello", data)

    def hello_message(self, role: Role, with_ticks: bool = True) -> bytes:
        """The first message for a new screen, as JSON: the current state, the log, and the ticks
        and the faults of the last HISTORY_S seconds."""
        message = {
            "role": role,
            "version": lab_version(),
            "epoch": self.epoch,
            "t": self.elapsed_s,
            "window_s": HISTORY_S,
            "every_ms": TICK_MS,
            "late_after_ms": LATE_AFTER_MS,
            **self.fixed_state,
            **self.current_state,
            "done": list(self._log),
            "past_faults": self._recent_past_faults(),
            "claims": {name: claim.says for name, claim in CLAIMS.items()},
        }
        history = b",".join(self._history) if with_ticks else b""
        return encode(message)[:-1] + b',"history":[' + history + b"]}"

    def publish_tick(self, tick: Tick) -> None:
        self._history.append(encode(without_hops(tick)))
        self.subscribers.publish("tick", encode(tick))

    def log_action(self, text: str, kind: LogKind, pane: str | None = None) -> None:
        """Add a line to the log of actions. `half` None: both panes."""
        line = {"t": self.elapsed_s, "says": text, "half": pane, "kind": kind}
        self._log.append(line)
        self.subscribers.publish("done", encode(line))

    def add_card(self, card: Mapping[str, Any]) -> None:
        """Add a card, or replace the one with its number."""
        others = [one for one in self.current_state["cards"] if one["n"] != card["n"]]
        self.current_state["cards"] = [*others, card][-MAX_CARDS:]
        self.subscribers.publish("card", encode(card))

    def set_state(self, name: str, value: Any) -> None:
        """Set a part of the current state: `faults`, `seen`, `script` or `load`."""
        if name == "faults":
            ended = [fault for fault in self.current_state["faults"] if fault not in value]
            self._past_faults += [{**fault, "until_t": self.elapsed_s} for fault in ended]
        self.current_state[name] = value
        if name != "load":  # the ticks send the load
            self.subscribers.publish(name, encode(value))

    def all_faults(self) -> list[dict[str, Any]]:
        """The newest healed faults, with `until_t`, and then the active ones."""
        return [*self._past_faults, *self.current_state["faults"]]

    def _recent_past_faults(self) -> list[dict[str, Any]]:
        """The healed faults of the last HISTORY_S seconds, with `until_t`, the oldest first."""
        oldest_t = self.elapsed_s - HISTORY_S
        return [fault for fault in self._past_faults if fault["until_t"] >= oldest_t]

    def _by_role(self) -> dict[Role, Iterable[Any]]:
        return {
            "presenter": [
                subscriber for subscriber in self.subscribers.all if not subscriber.shared
            ],
            "watcher": [subscriber for subscriber in self.subscribers.all if subscriber.shared],
        }
