"""Ticks: ten times a second, a snapshot of both panes, as one message for every screen.

A report of the load triggers a tick, because the figures of the load change fastest. The rest of
the tick (states of the processes, hops between services) is the newest that is known.

The states come from a control route of each process, polled five times a second. Control requests
bypass the fault filter and the workers, so a process responds even when all its workers are busy; a
process that does not respond is down or hangs. It is not polled again while a poll is pending.

The hops come from the span files that every process writes. Only the newest lines are parsed: at
a hundred requests a second a viewer can't follow each hop. An estimated total includes the skipped
ones. The hops from the client come from the report of the load.
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

# ── States of the processes

EVERY_S = 0.2
HANGS_AFTER_S = 0.25
PATIENCE_S = 30.0

Up = bool | Literal["hangs"]


@dataclass
class Node:
    """The newest known state of a process. `asked_s`: when the pending poll was sent (a moment of
    `perf_counter`), None if none is pending."""

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
    """The processes of one stack; `run` polls them until it is cancelled."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._homes = {stack.arrangement.home(target) for target in stack.arrangement.targets}
        self._nodes = {home: Node() for home in self._homes}
        self._hear = set(hearers(stack.arrangement))
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """Poll now, not at the next interval: a fault was just added or removed."""
        self._look_now.set()

    def told(self) -> dict[str, Any]:
        """The state of each target. In a monolith all targets have the state of its one process."""
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
            # The requests in progress ended with the process; its offset and its outbox are stored.
            node.state = {**node.state, "under_way": 0}


# ── Hops, from the spans

MOST_HOPS = 30
"""The most hops in a tick for each pane."""
_MOST_LINES = 24
_MOST_BYTES = 1 << 18
_TOO_LONG = 1 << 24

Hop = tuple[str, str, str, str, float, float, bool]
"""Caller or publisher, target, `ask` or `tell`, route or event type, start (seconds since 1970),
duration (ms), whether it succeeded."""

ASKS_IN_MONOLITH = {
    "GET /feed": "query",
    "POST /posts/{post_id}/comments": "comments",
}
"""In a monolith: the service that makes a call, by the route of the span that contains the call."""


class Tail:
    """Reads the new lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        self._file: Any = None

    def lines(self) -> tuple[list[bytes], int]:
        """The newest of the complete lines since the last call, and the number of all of them."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return [], 0
        size = self._path.stat().st_size
        behind = size - self._read - _MOST_BYTES
        if behind > 0:  # Too much for one read: skip the older lines.
            self._read += behind
            self._file.seek(self._read)
            self._read += len(self._file.readline())
        elif self._read == size > _TOO_LONG:
            # Keeps the file small in a long session. Safe, because the writer opens it to append.
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
    """The hops of one stack since the last call of `new`."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._hops = tuple(part for part in stack.arrangement.parts if part in HOPS)
        self._by_events = stack.arrangement.ask_by == "events"
        parts = stack.arrangement.parts
        self._tails = [Tail(folder / f"{stack.name}.{part}.spans.ndjson") for part in parts]

    def new(self) -> tuple[list[Hop], int]:
        """At most MOST_HOPS hops, failed ones first, then the newest; and an estimate of how many
        there were: skipped lines count as if they had as many hops as the parsed ones."""
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
    """The hops of a consumed event: from the bus to the consumer, and from the publisher to the
    bus. Each consumer has a span of the event, so only its first consumer yields the second one."""
    event, who = span["name"], span["service"]
    ok = "failed" not in span
    if HEARD_BY.get(event, ("",))[0] == who:
        yield TOLD_BY[event], BUS, "tell", event, span["at"], span["ms"], ok
    yield BUS, who, "tell", event, span["at"], span["ms"], ok


def of_load(call: list[Any], now_s: float) -> Hop:
    """The hop of a call in a report of the load, which gives its start in ms relative to now."""
    service, what, at_ms, took_ms, ok = call
    return CLIENT, service, "ask", what, now_s + at_ms / 1_000, took_ms, ok


# ── Ticks

EVERY_MS = 100
_OF_LOAD = (
    *("reads", "writes", "waiting", "unsent", "answered_ms", "read_ms", "visible_ms"),
    *("unseen", "feed_age_ms", "feed_ok"),
)

Tick = dict[str, Any]


class Ticks:
    """Makes the ticks of one start of the stacks."""

    def __init__(
        self, stacks: Sequence[Stack], nodes: Mapping[str, Nodes], hops: Mapping[str, Hops]
    ) -> None:
        self._stacks, self._nodes, self._hops = stacks, nodes, hops
        self._load: dict[str, Any] = {}

    def of(self, report: Report, began_s: float) -> Tick:
        """The tick for this report. `t` in it: seconds since `began_s`, a moment of
        `perf_counter`. `load` is in it only when the load has changed."""
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
        # The client's calls come first, so that hops between services do not crowd them out.
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
    """The tick as it is saved for screens that connect later: old hops are not animated."""
    halves = {name: {**half, "hops": []} for name, half in tick["halves"].items()}
    return {**tick, "halves": halves}
