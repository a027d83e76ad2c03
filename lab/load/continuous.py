"""A load without an end, for live viewing: `python -m lab.load.continuous PORT`.

It is an open loop with the schedule, sends and visibility probe of the generator. Its rate and mix
can be changed while it runs. It keeps no samples; ten times a second it reports statistics, so it
can run for hours in constant memory.

It runs as a separate process, as every load here. It connects to PORT of 127.0.0.1, where the
process that started it listens, and sends the token from its environment. From then on both sides
send lines of JSON: the load receives a plan, then load changes (`{"rate": 80}`), and sends
reports. When the connection ends, the load exits.

The arrivals are drawn in pieces of 50 ms, each shortly before it begins. An exponential gap has no
memory, so consecutive pieces form one Poisson process, and a load change takes effect with the
next piece.

The sender and the probe work as in a run. They also record each event in the statistics at once
(`lab/load/live_stats.py`), and drop what is long over.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify
from time import perf_counter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lab.load.anomalies import FeedRequest
from lab.load.generator import (
    Dispatcher,
    ScheduledSend,
    gc_paused,
    new_loop,
    raise_connection_limit,
)
from lab.load.live_stats import Lags, RecentStats
from lab.load.metrics_page import metrics_page
from lab.load.plan import LoadAction, PlanPhase, PlanVariant
from lab.load.samples import Sample
from lab.load.schedule import PhaseClock, build_schedule, stagger_s
from lab.load.sender import ENDPOINTS, Sender
from lab.load.visibility import _MAX_PAGE_SIZE, VisibilityProbe
from lab.support.http_client import HttpClient, HttpResult
from lab.support.parent_watch import exit_with_parent

# ── Plan and load changes

Weights = dict[LoadAction, Annotated[float, Field(ge=0, le=1_000)]]


class LoadChange(BaseModel):
    """A load change. `rate`: arrivals/s for each arrangement (0: none); `mix`: weights of the
    actions. None: as before."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rate: Annotated[float, Field(ge=0, le=1_000)] | None = None
    mix: Weights | None = None

    @field_validator("mix")
    @classmethod
    def _asks_for_something(cls, mix: Weights | None) -> Weights | None:
        if mix is not None and sum(mix.values()) <= 0:
            raise ValueError("the weights add up to nothing, so there is nothing to send")
        return mix


class ContinuousPlan(BaseModel):
    """What the load needs before it starts. `rate`: arrivals/s for each arrangement."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int
    rate: Annotated[float, Field(ge=0, le=1_000)]
    mix: Weights
    variants: Annotated[list[PlanVariant], Field(min_length=1)]
    timeout_s: Annotated[float, Field(gt=0)] = 2.0
    reader_delay_s: Annotated[float, Field(ge=0)] = 2.0


# ── Sender and visibility probe without samples

MAX_TRACKED_POSTS = 2_000
"""Only this many of the newest posts are remembered, with their pending and seen writes."""


class ContinuousProbe(VisibilityProbe):
    """Records each write that becomes visible.

    A write to a post older than the newest 2,000 is abandoned: on a bus that loses events some
    writes never appear, and the probe can't look for all of them until the end.
    """

    recent_stats: RecentStats
    looked_s = 0.0
    """When the probe sent the last request, or the first of several, whose answers together show
    all posts that have a pending write: a write that they lack was not visible then."""
    _pass_began_s: float | None = None
    _pages = 0
    _oldest_key = ""
    """Of the post with the oldest pending write, when the last request was sent."""

    def _next_page(self) -> tuple[int, str | None]:
        limit, before = super()._next_page()
        self._oldest_key = self._pending_heap[0][0]
        if limit < _MAX_PAGE_SIZE:
            self._pass_began_s = None
        elif self._cursor is None:
            if self._pass_began_s is not None and self._pages > 1:
                self.looked_s = self._pass_began_s
            self._pass_began_s, self._pages = perf_counter(), 0
        return limit, before

    def _on_response(self, outcome: HttpResult) -> None:
        if outcome.status == 200:
            self._pages += 1
        super()._on_response(outcome)

    def _process_feed(
        self, body: bytes, at_s: float, request: FeedRequest, degraded: bool
    ) -> list[str]:
        post_ids = super()._process_feed(body, at_s, request, degraded)
        # Posts that the load does not know, because their 201 came too late, may fill the page.
        reaches_oldest = bool(post_ids) and (
            len(post_ids) < request.limit or self._order.key(post_ids[-1]) <= self._oldest_key
        )
        is_own = request is self._last_request
        if is_own and self._pass_began_s is None and reaches_oldest and not degraded:
            self.looked_s = request.at_s
        return post_ids

    def _mark_visible(self, pending: dict[str, Sample], ids: Iterable[str], at_s: float) -> None:
        ids = list(ids)
        newly_visible = [pending[write_id] for write_id in ids if write_id in pending]
        super()._mark_visible(pending, ids, at_s)
        for sample in newly_visible:
            self.recent_stats.record_visible(sample)

    def prune(self) -> None:
        if len(self._known_keys) <= MAX_TRACKED_POSTS:
            return
        self._known_keys = self._known_keys[-MAX_TRACKED_POSTS:]
        oldest = self._known_keys[0]
        self._shown_posts = {post_id for post_id in self._shown_posts if post_id >= oldest}
        for pending in (self._pending_posts, self._pending_comments):
            for write_id, sample in list(pending.items()):
                if (sample.post_id or sample.id) < oldest:
                    del pending[write_id]
                    self.recent_stats.abandon(write_id)
        self._pending_heap = [pair for pair in self._pending_heap if pair[0] >= oldest]
        heapify(self._pending_heap)
        self._monotonic_reads.prune(oldest)
        self._shown_content.prune(oldest)
        while self._not_yet_eligible and self._not_yet_eligible[0][1] < oldest:
            self._not_yet_eligible.popleft()


class ContinuousSender(Sender):
    """Records each send and each answer in the statistics, and keeps no sample."""

    probe: ContinuousProbe
    recent_stats: RecentStats
    lags: Lags

    def prune(self) -> None:
        self.probe.prune()

    def _send(self, sample: Sample, *rest: Any) -> None:
        super()._send(sample, *rest)
        self.samples.clear()
        self.recent_stats.record_sent(sample)
        if not sample.dropped:
            self.lags.add(sample.lag_ms)

    def _on_outcome(self, sample: Sample, *rest: Any) -> None:
        super()._on_outcome(sample, *rest)
        if sample.dropped:
            self.recent_stats.undo_sent(sample)
            return
        endpoint = ENDPOINTS[sample.endpoint]
        request_line = f"{endpoint.method} {endpoint.path.partition('?')[0]}"
        self.recent_stats.record_outcome(sample, endpoint.service, request_line)


# ── The program

HOST = "127.0.0.1"
PIECE_S = 0.05
REPORT_EVERY_S = 0.1
PRUNE_EVERY_S = 5.0
_MAX_STALL_S = 1.0  # after a longer stall (a closed laptop lid), missed sends are skipped
_CONNECTIONS = 400
_LONGEST_LINE = 1 << 20


@dataclass
class ContinuousLoad:
    """A load that runs in `loop` until it is stopped. `failure` gets its error if it fails."""

    loop: asyncio.AbstractEventLoop
    plan: ContinuousPlan
    lags: Lags = field(default_factory=Lags)

    def __post_init__(self) -> None:
        self.rate, self.mix = self.plan.rate, dict(self.plan.mix)
        self.failure: asyncio.Future[None] = self.loop.create_future()
        self._started_at_s = perf_counter() + PIECE_S
        self.pieces = self._number = 0
        self._skipped_s = 0.0
        self._dispatchers: set[Dispatcher] = set()
        self._timer: asyncio.TimerHandle | None = None
        # Separate connections: a variant that hangs can't use up those of the others.
        allowed = raise_connection_limit() // len(self.plan.variants) - 1
        self._connections = max(1, min(_CONNECTIONS, allowed))
        self.senders = [
            self._create_sender(index, variant) for index, variant in enumerate(self.plan.variants)
        ]
        self._schedule_piece()

    def apply_change(self, change: LoadChange) -> None:
        """Apply a load change, from the next piece on."""
        self.rate = self.rate if change.rate is None else change.rate
        self.mix = self.mix if change.mix is None else dict(change.mix)

    def report(self) -> dict[str, Any]:
        """The statistics since the last report; `t` is a time of `perf_counter`."""
        return {
            "t": perf_counter(),
            "rate": self.rate,
            "mix": self.mix,
            "schedule_p99_ms": self.lags.p99(),
            "halves": {
                sender.variant.name: {
                    **sender.recent_stats.take_snapshot(),
                    "looked_s": sender.probe.looked_s,
                }
                for sender in self.senders
            },
        }

    def prune(self) -> None:
        """Drop what is long over."""
        for sender in self.senders:
            sender.prune()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for dispatcher in self._dispatchers:
            dispatcher.stop()
        for sender in self.senders:
            sender.close()

    def _create_sender(self, index: int, variant: PlanVariant) -> ContinuousSender:
        recent_stats = RecentStats()
        probe = ContinuousProbe(
            self.loop,
            HttpClient(self.loop, 1),
            variant.origin("query"),
            variant.seed_posts,
            self._started_at_s,
            self.plan.reader_delay_s,
            self.plan.timeout_s,
        )
        probe.recent_stats = recent_stats
        sender = ContinuousSender(
            index=index,
            variant=variant,
            client=HttpClient(self.loop, self._connections),
            probe=probe,
            phase_clock=PhaseClock([PlanPhase(name="steady", seconds=PIECE_S)]),
            started_at_s=self._started_at_s,
            timeout_s=self.plan.timeout_s,
            max_in_flight=self._connections,
        )
        sender.recent_stats, sender.lags = recent_stats, self.lags
        return sender

    def _schedule_piece(self) -> None:
        """Draw the next piece, and call this again when that piece begins."""
        begins_s = self._skipped_s + self.pieces * PIECE_S
        behind_s = perf_counter() - self._started_at_s - begins_s
        if behind_s > _MAX_STALL_S:
            self._skipped_s += behind_s
            begins_s += behind_s
        if self.rate > 0:
            self._dispatch_piece(begins_s)
        self.pieces += 1
        due_s = self._started_at_s + begins_s - perf_counter()
        self._timer = self.loop.call_later(max(0.0, due_s), self._schedule_piece)

    def _dispatch_piece(self, begins_s: float) -> None:
        piece = [PlanPhase(name="steady", seconds=PIECE_S)]
        arrivals = build_schedule(self.plan.seed + self.pieces, self.rate, piece, self.mix)
        sends = [
            ScheduledSend(
                at_s + stagger_s(sender.index, len(self.senders), self.rate, at_s),
                sender,
                self._number + n,
                arrival,
            )
            for n, arrival in enumerate(arrivals)
            for at_s in [begins_s + arrival.at_s]
            for sender in self.senders
        ]
        self._number += len(arrivals)
        sends.sort(key=lambda send: send.intended_s)
        dispatcher = Dispatcher(self.loop, sends, self._started_at_s)
        self._dispatchers.add(dispatcher)

        def on_all_sent(done: asyncio.Future[None]) -> None:
            self._dispatchers.discard(dispatcher)
            if not done.cancelled() and (error := done.exception()) and not self.failure.done():
                self.failure.set_exception(error)

        dispatcher.all_sent.add_done_callback(on_all_sent)
        dispatcher.fire_due()


async def run_load(port: int, token: str) -> None:
    """Connect, follow the plan and the load changes, and report, until the connection ends."""
    loop = asyncio.get_running_loop()
    exit_with_parent(loop)
    reader, writer = await asyncio.open_connection(HOST, port, limit=_LONGEST_LINE)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    _send_line(writer, {"token": token})
    first = await reader.readline()
    if not first:
        return
    load = ContinuousLoad(loop, ContinuousPlan.model_validate_json(first))
    try:
        async with metrics_page(load.senders):
            await _report_until_done(load, reader, writer)
    except (ConnectionError, asyncio.CancelledError):
        pass  # a signal, or the connection broke
    finally:
        load.stop()


async def _report_until_done(
    load: ContinuousLoad, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with gc_paused():  # except in `_collect_garbage`
        reporting = asyncio.create_task(_send_reports(load, writer))
        receiving = asyncio.create_task(_receive_changes(load, reader))
        done, _ = await asyncio.wait(
            (reporting, receiving, load.failure), return_when=asyncio.FIRST_COMPLETED
        )
        for finished in done:
            finished.result()


async def _receive_changes(load: ContinuousLoad, reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        load.apply_change(LoadChange.model_validate_json(line))


async def _send_reports(load: ContinuousLoad, writer: asyncio.StreamWriter) -> None:
    due_s = perf_counter()
    for number in range(1, 1 << 62):
        due_s = max(due_s + REPORT_EVERY_S, perf_counter())
        await asyncio.sleep(due_s - perf_counter())
        _send_line(writer, load.report())
        await writer.drain()
        if number % round(PRUNE_EVERY_S / REPORT_EVERY_S) == 0:
            load.prune()
        _collect_garbage(number)


def _send_line(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")


def _collect_garbage(report_number: int) -> None:
    """Collect garbage at chosen moments: the newest objects at each report (about 0.1 ms), all
    objects once a minute (some ms)."""
    gc.collect(2 if report_number % 600 == 0 else 1 if report_number % 50 == 0 else 0)


def main(argv: list[str] | None = None) -> None:
    """Exit 0 when the connection ends, and after SIGTERM or SIGINT. A bad plan raises: it is a
    bug."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.load.continuous", description="Put services under a steady load."
    )
    parser.add_argument("port", type=int, help="of 127.0.0.1: who listens there tells the plan")
    port = parser.parse_args(argv).port
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run_load(port, os.environ.get("LAB_TOKEN", "")))


if __name__ == "__main__":
    main()
