"""Ticks: ten times a second, a snapshot of both panes, as one message for every screen.

A report of the load triggers a tick, because the figures of the load change fastest. The rest of
the tick (states of the processes, hops between services) is the newest that is known.

The states come from a control route of each process, polled five times a second. Control requests
bypass the fault filter and the workers, so a process responds even when all its workers are busy.
On a busy machine a response can be late: a process hangs only after two polls without a response.

The hops come from the span files that every process writes. Only the newest lines are parsed: at
a hundred requests a second a viewer can't follow each hop. An estimated total includes the skipped
ones. The hops from the client come from the report of the load.
"""

import asyncio
import json
import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from lab.cluster.arrangements import next_hop
from lab.cluster.fault_rules import consumers_of
from lab.cluster.stack import Stack
from lab.domain.services import BUS, EVENT_CONSUMERS, HOPS, MONOLITH, PUBLISHER_OF
from lab.live.load_client import Report
from lab.live.panes import CLIENT
from lab.load.live_stats import AGES_S

# ── States of the processes

POLL_INTERVAL_S = 0.2
SLOW_AFTER_S = 0.25
POLL_TIMEOUT_S = 0.6
HANGS_AFTER_POLLS = 2
HANGING_POLL_TIMEOUT_S = 30.0
"""A process that hangs gets one long poll: more of them would fill its queue of connections."""

Availability = bool | Literal["slow", "hangs"]


@dataclass
class ProcessState:
    """The newest known state of a process. Moments of `perf_counter`: `polled_s`, when the pending
    poll was sent, None if none is pending; `fresh_s`, when the poll was sent that `state` answers.
    `missed`: polls without a response since then."""

    up: Availability = True
    state: Mapping[str, Any] = field(default_factory=dict)
    polled_s: float | None = None
    fresh_s: float = float("-inf")
    missed: int = 0

    def to_json(self, head: int | None, consumes: bool) -> dict[str, Any]:
        workers = self.state.get("workers")
        in_progress = self.state.get("under_way", 0)
        busy = min(in_progress, workers or 0)
        offset = self.state.get("offset")
        lag = (
            max(0, head - offset) if consumes and head is not None and offset is not None else None
        )
        return {
            "up": self.up,
            "busy": busy,
            "workers": workers,
            "queue": in_progress - busy,
            "untold": self.state.get("untold"),
            "lag": lag,
        }


class ProcessMonitor:
    """The processes of one stack; `run` polls them until it is cancelled."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._processes = {
            stack.arrangement.process_of(target) for target in stack.arrangement.targets
        }
        self._states = {home: ProcessState() for home in self._processes}
        self._consumers = set(consumers_of(stack.arrangement))
        self._poll_requested = asyncio.Event()

    @property
    def states(self) -> Mapping[str, ProcessState]:
        """The newest known state of each process."""
        return self._states

    def poll_now(self) -> None:
        """Poll now, not at the next interval: a fault was just added or removed."""
        self._poll_requested.set()

    def snapshot(self) -> dict[str, Any]:
        """The state of each target. In a monolith all targets have the state of its one process."""
        now_s = perf_counter()
        for node in self._states.values():
            waited_s = 0.0 if node.polled_s is None else now_s - node.polled_s
            if node.up is True and waited_s > SLOW_AFTER_S:
                node.up = "slow"
        bus = self._states.get(BUS)
        head = bus.state.get("head") if bus else None
        process_of = self._stack.arrangement.process_of
        return {
            target: self._states[process_of(target)].to_json(head, target in self._consumers)
            for target in self._stack.arrangement.targets
        }

    async def run(self) -> None:
        polls: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for process in self._processes:
                    if process not in polls or polls[process].done():
                        polls[process] = asyncio.create_task(self._poll(process))
                self._poll_requested.clear()
                try:
                    async with asyncio.timeout(POLL_INTERVAL_S):
                        await self._poll_requested.wait()
                except TimeoutError:
                    pass
        finally:
            for task in polls.values():
                task.cancel()
            await asyncio.gather(*polls.values(), return_exceptions=True)

    async def _poll(self, process: str) -> None:
        node, stack = self._states[process], self._stack
        target = next(
            target
            for target in stack.arrangement.targets
            if stack.arrangement.process_of(target) == process
        )
        node.polled_s = sent_s = perf_counter()
        within_s = POLL_TIMEOUT_S if node.missed < HANGS_AFTER_POLLS else HANGING_POLL_TIMEOUT_S
        response = await stack.call("GET", stack.urls[target], "/_lab/state", within_s=within_s)
        node.polled_s = None
        if response.ok:
            node.up, node.missed = True, 0
            node.state, node.fresh_s = response.data or {}, sent_s
        elif response.error == "timeout":
            node.missed += 1
            node.up = "hangs" if node.missed >= HANGS_AFTER_POLLS else "slow"
        else:
            node.up, node.missed = False, 0
            # The requests in progress ended with the process; its offset and its outbox are stored.
            node.state = {**node.state, "under_way": 0}


# ── Missing writes

ROUNDS = 3
"""A comment is visible after three events in a row: created, moderated, updated."""
_KEPT_ROUNDS = 100  # a feed may take longer than a round
MIN_AGE_S = 2


@dataclass
class Round:
    """`newest`: the newest event in the outbox of each service, for writes from before `began_s`.
    `published_s`: when all of these were seen to be on the bus. `bus`: its state after that."""

    began_s: float
    newest: Mapping[str, int]
    published_s: float | None = None
    bus: Mapping[str, Any] | None = None


class MissingWrites:
    """Counts the acknowledged writes of one stack that readers will never see.

    A write that readers do not see yet is *late* as long as an event of it may be in an outbox or
    before a consumer. In one round, each outbox is published up to the event that was its newest
    when the round began, and then each consumer reaches the event that is the newest on the bus;
    the events that this causes need another round. After three rounds nothing of an older write is
    on its way: if a feed that is requested then lacks it, it is *missing*. Positions decide, not
    empty queues: under load there may always be something in an outbox or in delivery. Where
    services ask each other, a write is complete when it is acknowledged."""

    def __init__(self, stack: Stack, states: Mapping[str, ProcessState]) -> None:
        self._publishes = stack.arrangement.ask_by is None
        self._consumers = consumers_of(stack.arrangement) if self._publishes else ()
        self._states = states
        self._ended: deque[tuple[float, float]] = deque(maxlen=_KEPT_ROUNDS)
        """When each round began and ended."""
        self._round: Round | None = None
        self._round_ended_s = perf_counter()
        self._confirmed_s = float("-inf")
        self._missing = 0

    def count(self, unseen_by_age: Sequence[int], looked_s: float, now_s: float) -> int:
        """The number of missing writes. `unseen_by_age`, `looked_s`: as in a report of the load."""
        if not self._publishes:
            self._confirmed_s = looked_s
        else:
            self._advance(now_s)
            before_look = [began_s for began_s, ended_s in self._ended if ended_s < looked_s]
            if len(before_look) >= ROUNDS:
                self._confirmed_s = before_look[-ROUNDS]
        age_s = now_s - self._confirmed_s
        if age_s < AGES_S - 1:
            self._missing = unseen_by_age[max(MIN_AGE_S, ceil(age_s))]
        self._missing = min(self._missing, unseen_by_age[0])
        return self._missing

    def _advance(self, now_s: float) -> None:
        bus = self._states[BUS]
        if self._round is None:
            oldest_s = min(node.fresh_s for node in self._states.values())
            if oldest_s <= self._round_ended_s:
                return
            newest = {name: node.state.get("committed", 0) for name, node in self._states.items()}
            self._round = Round(oldest_s, newest)
        if self._round.published_s is None:
            if not all(
                has_passed(self._states[name].state, "committed", "published", number)
                for name, number in self._round.newest.items()
            ):
                return
            self._round.published_s = now_s
        if self._round.bus is None:
            if bus.fresh_s <= self._round.published_s:
                return
            self._round.bus = bus.state
        head = self._round.bus.get("head")
        if head is None:  # the course's bus keeps no offsets: it numbers its deliveries
            is_over = has_passed(bus.state, "begun", "ended", self._round.bus["begun"])
        else:
            offsets = (self._states[name].state.get("offset") for name in self._consumers)
            is_over = all(offset is not None and offset >= head for offset in offsets)
        if is_over:
            self._ended.append((self._round.began_s, now_s))
            self._round, self._round_ended_s = None, now_s


def has_passed(state: Mapping[str, Any], newest: str, done: str, number: int) -> bool:
    """Whether all up to this number is done, or lost: numbers that start again are those of a
    process that kept nothing."""
    return int(state.get(done, 0)) >= number or int(state.get(newest, 0)) < number


# ── Hops, from the spans

MAX_HOPS = 30
"""The most hops in a tick for each pane."""
MAX_NUMBERED = 5_000
_MAX_LINES = 24
_MAX_READ_BYTES = 1 << 18
_TRUNCATE_ABOVE_BYTES = 1 << 24

Hop = tuple[str, str, str, str, float, float, bool, str]
"""Caller or publisher, target, `ask` or `tell`, route or event type, start (seconds since 1970),
duration (ms), whether it succeeded, the trace of its request."""

MONOLITH_CALLERS = {
    "GET /feed": "query",
    "POST /posts/{post_id}/comments": "comments",
}
"""In a monolith: the service that makes a call, by the route of the span that contains the call."""


class FileTail:
    """Reads the new lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0
        self._file: Any = None

    def read_new_lines(self) -> tuple[list[bytes], int]:
        """The newest of the complete lines since the last call, and the number of all of them."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return [], 0
        size = self._path.stat().st_size
        backlog = size - self._position - _MAX_READ_BYTES
        if backlog > 0:  # Too much for one read: skip the older lines.
            self._position += backlog
            self._file.seek(self._position)
            self._position += len(self._file.readline())
        elif self._position == size > _TRUNCATE_ABOVE_BYTES:
            # Keeps the file small in a long session. Safe, because the writer opens it to append.
            os.truncate(self._path, 0)
            self._position = 0
        self._file.seek(self._position)
        data: bytes = self._file.read(_MAX_READ_BYTES)
        data = data[: data.rfind(b"\n") + 1]
        self._position += len(data)
        lines = data.splitlines()
        return lines[-_MAX_LINES:], len(lines)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class HopReader:
    """The hops of one stack since the last call of `new`."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._hop_services = tuple(part for part in stack.arrangement.processes if part in HOPS)
        self._by_events = stack.arrangement.ask_by == "events"
        parts = stack.arrangement.processes
        self._tails = [FileTail(folder / f"{stack.name}.{part}.spans.ndjson") for part in parts]

    def read_new(self) -> tuple[list[Hop], int]:
        """At most MOST_HOPS hops, failed ones first, then the newest; and an estimate of how many
        there were: skipped lines count as if they had as many hops as the parsed ones."""
        hops: list[Hop] = []
        total = 0.0
        for tail in self._tails:
            lines, count = tail.read_new_lines()
            parsed = [hop for line in lines for hop in self._parse_line(line)]
            hops += parsed
            total += len(parsed) * count / len(lines) if lines else 0
        hops.sort(key=lambda hop: (hop[6], -hop[4]))
        return hops[:MAX_HOPS], round(total)

    def close(self) -> None:
        for tail in self._tails:
            tail.close()

    def _parse_line(self, line: bytes) -> Iterator[Hop]:
        try:
            span = json.loads(line)
        except ValueError:
            return
        if span["kind"] == "consumer":
            yield from _consumption_hops(span)
        caller = span["service"]
        if caller == MONOLITH:
            caller = MONOLITH_CALLERS.get(span["name"], "")
        for call in span.get("asked", ()):
            what, ok = f"{call['what'].partition('?')[0]}", "failed" not in call
            for start, end in self._path(caller, call["whom"]):
                yield start, end, "ask", what, call["at"], call["ms"], ok, span["trace"]

    def _path(self, caller: str, callee: str) -> list[tuple[str, str]]:
        callee = next_hop(callee, caller, self._hop_services)
        return [(caller, BUS), (BUS, callee)] if self._by_events else [(caller, callee)]


def _consumption_hops(span: dict[str, Any]) -> Iterator[Hop]:
    """The hops of a consumed event: from the bus to the consumer, and from the publisher to the
    bus. Each consumer has a span of the event, so only its first consumer yields the second one."""
    event, consumer = span["name"], span["service"]
    ok, trace = "failed" not in span, span["trace"]
    if EVENT_CONSUMERS.get(event, ("",))[0] == consumer:
        yield PUBLISHER_OF[event], BUS, "tell", event, span["at"], span["ms"], ok, trace
    yield BUS, consumer, "tell", event, span["at"], span["ms"], ok, trace


def hop_from_load(call: list[Any], now_s: float) -> Hop:
    """The hop of a call in a report of the load, which gives its start in ms relative to now."""
    service, what, at_ms, took_ms, ok, trace = call
    return CLIENT, service, "ask", what, now_s + at_ms / 1_000, took_ms, ok, trace


class RequestNumbers:
    """A short number for each trace, so that a screen knows which hops belong together."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._last = 0

    def __getitem__(self, trace: str) -> int:
        if trace not in self._numbers:
            self._last += 1
            self._numbers[trace] = self._last
            if len(self._numbers) > MAX_NUMBERED:
                self._numbers.popitem(last=False)
        return self._numbers[trace]


# ── Ticks

TICK_MS = 100
_LOAD_KEYS = (
    *("reads", "writes", "posts", "comments", "waiting", "unsent"),
    *("answered_ms", "read_ms", "visible_ms"),
    *("unseen", "feed_age_ms", "feed_ok"),
)

Tick = dict[str, Any]


class TickBuilder:
    """Makes the ticks of one start of the stacks."""

    def __init__(
        self,
        stacks: Sequence[Stack],
        monitors: Mapping[str, ProcessMonitor],
        hop_readers: Mapping[str, HopReader],
    ) -> None:
        self._stacks, self._monitors, self._hop_readers = stacks, monitors, hop_readers
        self._missing = {
            stack.name: MissingWrites(stack, monitors[stack.name].states) for stack in stacks
        }
        self._load: dict[str, Any] = {}
        self._missing_writes: dict[str, Any] = {}
        self._numbers = RequestNumbers()

    def missing_write(self, pane: str) -> dict[str, Any] | None:
        """The oldest missing write of a pane, as in a report of the load; None if none is."""
        found: dict[str, Any] | None = self._missing_writes.get(pane)
        return found

    def build(self, report: Report, began_s: float) -> Tick:
        """The tick for this report. `t` in it: seconds since `began_s`, a moment of
        `perf_counter`. `load` is in it only when the load has changed."""
        now_unix_s = time.time()
        halves = {
            stack.name: self._build_pane(
                stack.name, report["halves"][stack.name], now_unix_s, report["t"]
            )
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

    def _build_pane(
        self, name: str, pane_report: Mapping[str, Any], now_unix_s: float, now_s: float
    ) -> dict[str, Any]:
        service_hops, total = self._hop_readers[name].read_new()
        # The client's calls come first, so that hops between services do not crowd them out.
        calls = [hop_from_load(call, now_unix_s) for call in pane_report["calls"]]
        hops = [*calls, *service_hops[: MAX_HOPS - len(calls)]]
        missing = self._missing[name].count(
            pane_report["unseen_by_age"], pane_report["looked_s"], now_s
        )
        self._missing_writes[name] = pane_report["oldest_unseen"] if missing else None
        return {
            **{key: pane_report[key] for key in _LOAD_KEYS},
            "missing": missing,
            "nodes": self._monitors[name].snapshot(),
            "hops": [self._encode_hop(hop, now_unix_s) for hop in hops],
            "hops_total": total + pane_report["calls_total"],
        }

    def _encode_hop(self, hop: Hop, now_unix_s: float) -> list[Any]:
        *ends, kind, what, at_s, took_ms, ok, trace = hop
        at_ms = min(0, round((at_s - now_unix_s) * 1_000, 1))
        return [*ends, kind, what, at_ms, round(took_ms, 1), ok, self._numbers[trace]]

    def close(self) -> None:
        for hops in self._hop_readers.values():
            hops.close()


def without_hops(tick: Tick) -> Tick:
    """The tick as it is saved for screens that connect later: old hops are not animated."""
    halves = {name: {**half, "hops": []} for name, half in tick["halves"].items()}
    return {**tick, "halves": halves}
