"""Ten times a second, all that was seen of both halves, as one message for every screen.

A tick is made when the load has reported, for its figures are the ones that change fastest; what
else is in it (how the processes are, what went from whom to whom) is the newest that is known.

How each process is: asked five times a second, by the lab's own control route.

That route turns off before the door and before the workers, so it answers also when all of these
are busy; what does not answer there is down, or hangs. One that hangs is not asked again while the
question stands.

What went from whom to whom in the last moments: read from the spans that every process writes.

Only what is new in a file is read, and of that only so much is understood: a request costs some
300 bytes of spans, and at a hundred requests a second nobody could follow each of them anyway. What
is passed over is counted. What the load itself sent is told by the load.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from lab.cluster.arrangements import who_is
from lab.cluster.fault_rules import HEARD_BY, hearers
from lab.cluster.stack import Stack
from lab.domain.services import BUS, HOPS, MONOLITH
from lab.live.load_client import Report
from lab.live.panes import CLIENT, TOLD_BY

# ── How each process is: asked five times a second, by the lab's own control route.

EVERY_S = 0.2
HANGS_AFTER_S = 0.25
PATIENCE_S = 30.0

Up = bool | Literal["hangs"]


@dataclass
class Node:
    """A process at its newest answer."""

    up: Up = True
    state: Mapping[str, Any] = field(default_factory=dict)
    asked_s: float | None = None

    def told(self, head: int | None, hears: bool) -> dict[str, Any]:
        workers = self.state.get("workers")
        under_way = self.state.get("under_way", 0)
        busy = min(under_way, workers or 0)
        offset = self.state.get("offset")
        lag = max(0, head - offset) if hears and head is not None and offset is not None else None
        return {
            "up": self.up,
            "busy": busy,
            "workers": workers,
            "queue": under_way - busy,
            "untold": self.state.get("untold"),
            "lag": lag,
        }


class Nodes:
    """The processes of one stack; `run` looks after them until it is cancelled."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._homes = {stack.arrangement.home(target) for target in stack.arrangement.targets}
        self._nodes = {home: Node() for home in self._homes}
        self._hear = set(hearers(stack.arrangement))
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """Something was done: don't wait for the next turn."""
        self._look_now.set()

    def told(self) -> dict[str, Any]:
        """By target. In a monolith all are the one process."""
        now_s = perf_counter()
        for node in self._nodes.values():
            if node.asked_s is not None and now_s - node.asked_s > HANGS_AFTER_S:
                node.up = "hangs"
        bus = self._nodes.get(BUS)
        head = bus.state.get("head") if bus else None
        home = self._stack.arrangement.home
        return {
            target: self._nodes[home(target)].told(head, target in self._hear)
            for target in self._stack.arrangement.targets
        }

    async def run(self) -> None:
        asking: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for home in self._homes:
                    if home not in asking or asking[home].done():
                        asking[home] = asyncio.create_task(self._ask(home))
                self._look_now.clear()
                try:
                    async with asyncio.timeout(EVERY_S):
                        await self._look_now.wait()
                except TimeoutError:
                    pass
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _ask(self, home: str) -> None:
        node, stack = self._nodes[home], self._stack
        target = next(
            one for one in stack.arrangement.targets if stack.arrangement.home(one) == home
        )
        node.asked_s = perf_counter()
        answer = await stack.call("GET", stack.urls[target], "/_lab/state", within_s=PATIENCE_S)
        node.asked_s = None
        if answer.ok:
            node.up, node.state = True, answer.data or {}
        elif answer.error == "timeout":
            node.up = "hangs"
        else:
            node.up = False
            # What a process had under way is gone with it; its offset and its outbox are not.
            node.state = {**node.state, "under_way": 0}


# ── What went from whom to whom in the last moments: read from the spans that every process writes.

MOST_HOPS = 30
"""Told in a tick for each half."""
_MOST_LINES = 24
_MOST_BYTES = 1 << 18
_TOO_LONG = 1 << 24

Hop = tuple[str, str, str, str, float, float, bool]
"""From, to, ask or tell, what, when (seconds since 1970), how long (ms), whether it went well."""

ASKS_IN_MONOLITH = {
    "GET /feed": "query",
    "POST /posts/{post_id}/comments": "comments",
}
"""Which of the services that live in one process has a question, by the route that it stands in."""


class Tail:
    """The new lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._file: Any = None

    def lines(self) -> tuple[list[bytes], int]:
        """Of the whole lines since the last time the newest, and how many there were."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return [], 0
        size = self._path.stat().st_size
        behind = size - self._read - _MOST_BYTES
        if behind > 0:  # We were away for long: what lies so far back is past.
            self._read += behind
            self._file.seek(self._read)
            self._read += len(self._file.readline())
        elif self._read == size > _TOO_LONG:
            # Its writer appends, wherever the end is: so a lab that is up for hours fills no disk.
            os.truncate(self._path, 0)
            self._read = 0
        self._file.seek(self._read)
        data: bytes = self._file.read(_MOST_BYTES)
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        lines = data.splitlines()
        return lines[-_MOST_LINES:], len(lines)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Hops:
    """The hops of one stack, since the last time they were asked for."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._hops = tuple(part for part in stack.arrangement.parts if part in HOPS)
        self._by_events = stack.arrangement.ask_by == "events"
        parts = stack.arrangement.parts
        self._tails = [Tail(folder / f"{stack.name}.{part}.spans.ndjson") for part in parts]

    def new(self) -> tuple[list[Hop], int]:
        """At most MOST_HOPS of them, failed ones first, and how many there were in all, or about:
        of the lines that were not read it is assumed that they are like those that were."""
        hops: list[Hop] = []
        total = 0.0
        for tail in self._tails:
            lines, count = tail.lines()
            found = [hop for line in lines for hop in self._of(line)]
            hops += found
            total += len(found) * count / len(lines) if lines else 0
        hops.sort(key=lambda hop: (hop[6], -hop[4]))
        return hops[:MOST_HOPS], round(total)

    def close(self) -> None:
        for tail in self._tails:
            tail.close()

    def _of(self, line: bytes) -> Iterator[Hop]:
        try:
            span = json.loads(line)
        except ValueError:
            return
        if span["kind"] == "consumer":
            yield from _heard(span)
        asker = span["service"]
        if asker == MONOLITH:
            asker = ASKS_IN_MONOLITH.get(span["name"], "")
        for note in span.get("asked", ()):
            what, ok = f"{note['what'].partition('?')[0]}", "failed" not in note
            for one, other in self._way(asker, note["whom"]):
                yield one, other, "ask", what, note["at"], note["ms"], ok

    def _way(self, asker: str, whom: str) -> list[tuple[str, str]]:
        whom = who_is(whom, asker, self._hops)
        return [(asker, BUS), (BUS, whom)] if self._by_events else [(asker, whom)]


def _heard(span: dict[str, Any]) -> Iterator[Hop]:
    """An event's way in. Its way out, from its teller to the bus, is told once, of those who hear
    it by the first."""
    event, who = span["name"], span["service"]
    ok = "failed" not in span
    if HEARD_BY.get(event, ("",))[0] == who:
        yield TOLD_BY[event], BUS, "tell", event, span["at"], span["ms"], ok
    yield BUS, who, "tell", event, span["at"], span["ms"], ok


def of_load(call: list[Any], now_s: float) -> Hop:
    """A call of the load's, as its report has it."""
    service, what, at_ms, took_ms, ok = call
    return CLIENT, service, "ask", what, now_s + at_ms / 1_000, took_ms, ok


# ── Ten times a second, all that was seen of both halves, as one message for every screen.

EVERY_MS = 100
_OF_LOAD = (
    *("reads", "writes", "waiting", "unsent", "answered_ms", "read_ms", "visible_ms"),
    *("unseen", "feed_age_ms", "feed_ok"),
)

Tick = dict[str, Any]


class Ticks:
    """Those of one start of the stacks. `began_s`: the moment of `perf_counter` they count from."""

    def __init__(
        self, stacks: Sequence[Stack], nodes: Mapping[str, Nodes], hops: Mapping[str, Hops]
    ) -> None:
        self._stacks, self._nodes, self._hops = stacks, nodes, hops
        self._load: dict[str, Any] = {}

    def of(self, report: Report, began_s: float) -> Tick:
        """The tick that ends with this report."""
        now_unix_s = time.time()
        halves = {
            stack.name: self._half(stack.name, report["halves"][stack.name], now_unix_s)
            for stack in self._stacks
        }
        tick: Tick = {
            "t": round(report["t"] - began_s, 3),
            "halves": halves,
            "lag": {"schedule_p99_ms": report["schedule_p99_ms"]},
        }
        load = {"rate": report["rate"], "mix": report["mix"]}
        if load != self._load:
            self._load = tick["load"] = load
        return tick

    def _half(self, name: str, told: Mapping[str, Any], now_unix_s: float) -> dict[str, Any]:
        between, total = self._hops[name].new()
        # By turns from both, so that a busy chain does not crowd out who asked it.
        calls = [of_load(call, now_unix_s) for call in told["calls"]]
        hops = [*calls, *between[: MOST_HOPS - len(calls)]]
        return {
            **{key: told[key] for key in _OF_LOAD},
            "nodes": self._nodes[name].told(),
            "hops": [_drawn(hop, now_unix_s) for hop in hops],
            "hops_total": total + told["calls_total"],
        }

    def close(self) -> None:
        for hops in self._hops.values():
            hops.close()


def _drawn(hop: Hop, now_unix_s: float) -> list[Any]:
    one, other, kind, what, at_s, took_ms, ok = hop
    at_ms = min(0, round((at_s - now_unix_s) * 1_000))
    return [one, other, kind, what, at_ms, round(took_ms, 1), ok]


def without_hops(tick: Tick) -> Tick:
    """As it is kept for those who come later: what moved then is over."""
    halves = {name: {**half, "hops": []} for name, half in tick["halves"].items()}
    return {**tick, "halves": halves}
