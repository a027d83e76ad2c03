"""The load generator: `python -m lab.load.generator PLAN.json`.

It follows the plan to the end, whatever the servers do, and writes one CSV row per send, a
progress line every 0.25 s, and one summary. The generator also measures itself: if it falls behind
its schedule, its latencies are its own, so the summary says how late the sends were.

It runs as a separate process, because a generator that shares an interpreter with its target
measures itself. All other processes have lower priority (`lab.cluster.forkserver`). Two more
measures keep the sends on time. The event loop does not wait with epoll, which rounds every wait up
to a whole millisecond (see `PunctualSelector`). The garbage collector is off during the run,
because one collection takes milliseconds and delays every send behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import select
import selectors
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, process_time, time
from typing import Any, NamedTuple, TextIO

import psutil

from lab.load.anomalies import PostOrder
from lab.load.closed_loop import create_users
from lab.load.metrics import BEHIND_MS, lag_figures
from lab.load.metrics_page import metrics_page
from lab.load.plan import BadPlan, Plan, read_plan
from lab.load.samples import write_samples
from lab.load.schedule import Arrival, PhaseClock, build_schedule, stagger_s
from lab.load.sender import Sender
from lab.load.visibility import VisibilityProbe
from lab.support.http_client import HttpClient
from lab.support.parent_watch import exit_with_parent

# ── Sends on time

_MAX_BURST = 64  # most sends in a row before the loop reads answers


class ScheduledSend(NamedTuple):
    """One arrival for one sender. `intended_s`: the intended send time, seconds from the start;
    `number`: the arrival's index in the schedule."""

    intended_s: float
    sender: Sender
    number: int
    arrival: Arrival


class Dispatcher:
    """Fires each send at its intended send time. `all_sent` is done at the end of the schedule."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sends: Sequence[ScheduledSend], started_at_s: float
    ) -> None:
        self.all_sent: asyncio.Future[None] = loop.create_future()
        self._loop, self._sends, self._started_at_s = loop, sends, started_at_s
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def fire_due(self) -> None:
        """Fire the sends that are due, and set a timer for the next one."""
        try:
            self._fire_burst()
        except Exception as error:  # in a callback it would only be logged, and the run would hang
            self.all_sent.set_exception(error)

    def stop(self) -> None:
        """Fire nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire_burst(self) -> None:
        # Limited in number: a generator that is late must not delay the answers as well.
        for _ in range(_MAX_BURST):
            if self._next == len(self._sends):
                self.all_sent.set_result(None)
                return
            send = self._sends[self._next]
            wait_s = self._started_at_s + send.intended_s - perf_counter()
            if wait_s > 0:
                self._timer = self._loop.call_later(wait_s, self.fire_due)
                return
            self._next += 1
            send.sender.fire(send.number, send.arrival, send.intended_s)
        self._timer = self._loop.call_later(0.0, self.fire_due)


class Heartbeat:
    """A timer that is due every HEARTBEAT_S, and notes how late it was: the generator can't send,
    or read an answer, while its loop does not run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, started_at_s: float) -> None:
        self._loop, self._started_at_s = loop, started_at_s
        self._last_s = perf_counter()
        self._timer = loop.call_later(HEARTBEAT_S, self._beat)
        self.stalls: list[tuple[float, float]] = []
        """From the last beat before each stall until the first one after it, in seconds from the
        start of the run."""

    def stop(self) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        now_s = perf_counter()
        if now_s - self._last_s > HEARTBEAT_S + BEHIND_MS / 1_000:
            begin_s, end_s = self._last_s - self._started_at_s, now_s - self._started_at_s
            if self.stalls and self.stalls[-1][1] == begin_s:
                begin_s = self.stalls.pop()[0]
            self.stalls.append((begin_s, end_s))
        self._last_s = now_s
        self._timer = self._loop.call_later(HEARTBEAT_S, self._beat)


class PunctualSelector(selectors.DefaultSelector):
    """Wakes up within microseconds of the requested time, with any number of connections.

    epoll waits for whole milliseconds, and select() takes no file descriptor above 1023. But an
    epoll object is a file itself, readable when one of its files is: select() waits for that one.
    kqueue (macOS) waits for nanoseconds and needs no help.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if sys.platform == "linux" and timeout is not None and timeout > 0:
            if not select.select([self], [], [], timeout)[0]:
                return []
            timeout = 0
        return super().select(timeout)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes up within microseconds of the requested time."""
    return asyncio.SelectorEventLoop(PunctualSelector())


@contextmanager
def gc_paused() -> Iterator[None]:
    """Switch the garbage collector off inside this block."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


# ── The program

HEARTBEAT_S = 0.004
PROGRESS_EVERY_S = 0.25

_OPEN_FILES = 10_240  # macOS allows a process no more (OPEN_MAX)
_RESERVED_FILES = 64


def main(argv: list[str] | None = None) -> None:
    """Follow one plan. Exits with 0, also after SIGTERM or SIGINT, and with 2 for a bad plan."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.load.generator", description="Put the services of a plan under load."
    )
    parser.add_argument("plan", type=Path, help="the plan, a JSON file")
    try:
        plan = read_plan(parser.parse_args(argv).plan)
        progress = _open_progress(plan)
    except BadPlan as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    with progress, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_run_until_interrupted(plan, progress))


async def _run_until_interrupted(plan: Plan, progress: TextIO) -> None:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    exit_with_parent(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interrupted.set)
    await run(plan, progress, interrupted)


async def run(plan: Plan, progress: TextIO, interrupted: asyncio.Event) -> dict[str, Any]:
    """Follow the plan on the running loop, and write samples and summary; returns the summary."""
    loop = asyncio.get_running_loop()
    started_at_s = perf_counter() + 0.1 if plan.start_at is None else plan.start_at
    timeline = PhaseClock(plan.phases)
    arrivals = build_schedule(plan.seed, plan.rate, plan.phases, plan.mix)
    senders = _create_senders(loop, plan, timeline, started_at_s)
    sends = [
        ScheduledSend(
            arrival.at_s + stagger_s(sender.index, len(senders), plan.rate, arrival.at_s),
            sender,
            n,
            arrival,
        )
        for sender in senders
        if sender.variant.users is None
        for n, arrival in enumerate(arrivals)
    ]
    users = create_users(loop, senders, arrivals)
    sends.sort(key=lambda send: send.intended_s)
    reporter = loop.create_task(_report_progress(progress, senders, timeline, started_at_s))
    dispatcher = Dispatcher(loop, sends, started_at_s)
    heartbeat = Heartbeat(loop, started_at_s)
    try:
        async with metrics_page(senders):
            with gc_paused():
                cpu_before_s = process_time()
                psutil.cpu_percent()  # The next call returns the share since this one.
                dispatcher.fire_due()
                for user in users:
                    user.begin()
                everything = asyncio.gather(dispatcher.all_sent, *(user.all_sent for user in users))
                await _wait_for_first(interrupted, everything)
                cpu_s, wall_s = process_time() - cpu_before_s, perf_counter() - started_at_s
                machine_share = psutil.cpu_percent() / 100
                await _settle(senders, plan.settle_s, interrupted)
    finally:
        reporter.cancel()
        dispatcher.stop()
        heartbeat.stop()
        for user in users:
            user.stop()
        for sender in senders:
            sender.close()
    _write_progress(progress, senders, timeline, started_at_s)
    samples = [sample for sender in senders for sample in sender.samples]
    summary: dict[str, Any] = {
        "started_at": started_at_s,
        "started_at_unix": time() - (perf_counter() - started_at_s),
        **lag_figures(samples, plan.late_after_ms),
        "cpu_share": cpu_s / wall_s if wall_s > 0 else None,
        "machine_share": machine_share,
        "stalls": {sender.variant.name: heartbeat.stalls for sender in senders},
        "probes": {sender.variant.name: sender.probe.probes for sender in senders},
        "interrupted": interrupted.is_set(),
        "unsettled": {sender.variant.name: sender.probe.pending for sender in senders},
    }
    write_samples(plan.samples, samples)
    plan.summary.write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    return summary


def _create_senders(
    loop: asyncio.AbstractEventLoop, plan: Plan, timeline: PhaseClock, started_at_s: float
) -> list[Sender]:
    # Separate connections: a variant that hangs can't use up those of the others.
    connections = max(1, raise_connection_limit() // len(plan.variants) - 1)
    return [
        Sender(
            index=index,
            variant=variant,
            client=HttpClient(loop, connections),
            probe=VisibilityProbe(
                loop,
                HttpClient(loop, 1),
                variant.origin("query"),
                variant.seed_posts,
                started_at_s,
                plan.reader_delay_s,
                plan.timeout_s,  # the probe has the timeout of a reader
                PostOrder(variant.ordered_ids),
            ),
            phase_clock=timeline,
            started_at_s=started_at_s,
            timeout_s=plan.timeout_s,
            max_in_flight=plan.max_in_flight,
            follow_ups=tuple(plan.at_once),
            retries=plan.retries,
            rejected_share=plan.orange,
        )
        for index, variant in enumerate(plan.variants)
    ]


def raise_connection_limit() -> int:
    """How many connections this process can hold. Raises its soft limit of open files if it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit - len(os.listdir("/dev/fd")) - _RESERVED_FILES


async def _wait_for_first(interrupted: asyncio.Event, all_sent: asyncio.Future[Any]) -> None:
    interruption = asyncio.ensure_future(interrupted.wait())
    await asyncio.wait((interruption, all_sent), return_when=asyncio.FIRST_COMPLETED)
    interruption.cancel()
    if all_sent.done():
        all_sent.result()


async def _settle(senders: Sequence[Sender], settle_s: float, interrupted: asyncio.Event) -> None:
    """Wait for every answer, and up to `settle_s` for each acknowledged write to become visible."""
    give_up_at_s = perf_counter() + settle_s
    while not interrupted.is_set():
        unanswered = any(sender.counts.in_flight for sender in senders)
        unseen = any(sender.probe.pending for sender in senders)
        if not unanswered and (not unseen or perf_counter() >= give_up_at_s):
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(interrupted.wait(), 0.01)


def _open_progress(plan: Plan) -> TextIO:
    """Open the progress file. Raises BadPlan if the results could not be written at the end."""
    for path in (plan.samples, plan.summary, plan.progress):
        if not os.access(path.parent, os.W_OK):
            raise BadPlan(f"Nothing can be written to {path.parent}: make that folder first.")
    return plan.progress.open("a", encoding="utf-8")


async def _report_progress(
    out: TextIO, senders: Sequence[Sender], timeline: PhaseClock, started_at_s: float
) -> None:
    await asyncio.sleep(max(0.0, started_at_s - perf_counter()))
    while True:
        _write_progress(out, senders, timeline, started_at_s)
        await asyncio.sleep(PROGRESS_EVERY_S)


def _write_progress(
    out: TextIO, senders: Sequence[Sender], timeline: PhaseClock, started_at_s: float
) -> None:
    now_s = perf_counter() - started_at_s
    line = {
        "t": round(now_s, 3),
        "phase": timeline.phase_at(now_s) if now_s < timeline.end_s else "settling",
        "variants": {
            sender.variant.name: {
                **asdict(sender.counts),
                "pending_visible": sender.probe.pending,
            }
            for sender in senders
        },
    }
    out.write(json.dumps(line) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
