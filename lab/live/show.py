"""What all screens are told, now and when they come later."""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any, Literal

from lab.live.ticks import EVERY_MS, Tick, without_hops
from lab.live.watchers import Watchers
from lab.scenarios.claims import CLAIMS
from lab.scenarios.environment import lab_version

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
