"""Consumer lag: how far each consumer is behind the bus's head, sampled ten times a second.

The lag is the first figure to watch in an event-driven system: while it grows, requests are still
answered as usual, but with stale data. Lag is head minus offset, as brokers count it. It therefore
includes events that a consumer ignores, until its offset has passed them.

A consumer that is down does not respond: its last known offset is used while the head moves on. On
a bus without offsets (the course's) nothing is measured.
"""

import asyncio
import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.cluster.fault_rules import consumers_of
from lab.cluster.stack import Stack
from lab.domain.services import BUS
from lab.load.metrics import percentile
from lab.results.result import ConsumerLag
from lab.results.timeline import Timeline
from lab.support.files import private_file

SAMPLE_INTERVAL_S = 0.1
USUAL_PERCENTILE = 90
MIN_USUAL_LAG = 1


@dataclass(frozen=True, slots=True)
class LagReading:
    """One consumer at one moment; `t` is in seconds from the start of the run.

    `applied`: how many events it has applied, summed over restarts of its process.
    `answered`: whether it responded at this moment; if not, its figures are the last known ones.
    """

    t: float
    variant: str
    service: str
    head: int
    offset: int
    applied: int
    answered: bool

    @property
    def lag(self) -> int:
        """In events, at least 0: head and offset come from two requests, and the offset may be
        the newer one."""
        return max(0, self.head - self.offset)


@dataclass
class _ConsumerState:
    """The last known state of one consumer. A restarted process counts from 0 again, so
    `applied_before` sums the counts of its earlier processes."""

    offset: int = -1
    instance: str = ""
    applied: int = 0
    applied_before: int = 0

    def update(self, state: dict[str, Any]) -> None:
        if state["instance"] != self.instance:
            self.applied_before += self.applied
            self.instance = state["instance"]
        self.offset, self.applied = state["offset"], state["applied"]


@dataclass
class LagSampler:
    """Samples the consumers of some stacks until it is cancelled. `start_at`: the value of
    `perf_counter` at the start of the run."""

    stacks: Sequence[Stack]
    start_at: float
    readings: list[LagReading] = field(default_factory=list)

    async def run(self) -> None:
        with_bus = [stack for stack in self.stacks if stack.arrangement.has_bus]
        await asyncio.gather(*(self._sample(stack) for stack in with_bus))

    async def _sample(self, stack: Stack) -> None:
        consumers = {name: _ConsumerState() for name in consumers_of(stack.arrangement)}
        targets = (BUS, *consumers) if consumers else ()
        requests: dict[str, asyncio.Task[dict[str, Any] | None]] = {}
        head, due_s = -1, perf_counter()
        try:
            while targets:
                # A process that hangs gets no further request while the first one is open.
                for name in targets:
                    if name not in requests:
                        requests[name] = asyncio.create_task(stack.state(name))
                await asyncio.wait(requests.values(), timeout=SAMPLE_INTERVAL_S)
                done = {name: requests.pop(name) for name in targets if requests[name].done()}
                answers = {name: state for name, task in done.items() if (state := task.result())}
                if BUS in answers and answers[BUS]["head"] is not None:
                    head = answers[BUS]["head"]
                for name, consumer in consumers.items():
                    state = answers.get(name)
                    if state and state.get("offset") is not None:
                        consumer.update(state)
                    self._record(stack, name, consumer, head, state is not None)
                due_s = max(due_s + SAMPLE_INTERVAL_S, perf_counter())
                await asyncio.sleep(due_s - perf_counter())
        finally:
            for task in requests.values():
                task.cancel()
            await asyncio.gather(*requests.values(), return_exceptions=True)

    def _record(
        self, stack: Stack, name: str, consumer: _ConsumerState, head: int, answered: bool
    ) -> None:
        if head < 0 or consumer.offset < 0:
            return
        t = round(perf_counter() - self.start_at, 3)
        applied = consumer.applied_before + consumer.applied
        self.readings.append(
            LagReading(t, stack.name, name, head, consumer.offset, applied, answered)
        )

    def figures(self, timeline: Timeline, variant: str) -> dict[str, ConsumerLag]:
        """The lag figures of one variant's consumers, by service."""
        own = [reading for reading in self.readings if reading.variant == variant]
        names = dict.fromkeys(reading.service for reading in own)
        disturbance = timeline.disturbance(variant)
        return {
            name: compute_consumer_lag(
                [reading for reading in own if reading.service == name],
                disturbance,
                timeline.until_s,
            )
            for name in names
        }


def compute_consumer_lag(
    readings: Sequence[LagReading], disturbance: tuple[float, float] | None, load_ends_s: float
) -> ConsumerLag:
    """The figures of one consumer, from its readings (at least one). Pure.

    `disturbance`: start of the first and end of the last fault or surge, in seconds from the start
    of the run; None without any. `load_ends_s`: the end of the load, likewise. The outage ends with
    the first response after the last fault. The backlog is drained when the lag is usual again: at
    most the 90th percentile of the lag before, or one event. Arrivals are counted from the first
    fault until the backlog is drained; if there is no such moment, from the first reading to the
    last reading under load with a usual lag. At both ends the lag is small, so the events applied
    in between are the events that arrived.
    """
    began_s, ended_s = disturbance or (load_ends_s, load_ends_s)
    before = [float(reading.lag) for reading in readings if reading.t < began_s]
    usual = max(MIN_USUAL_LAG, percentile(before, USUAL_PERCENTILE) or 0)
    recovered = next(
        (
            reading
            for reading in readings
            if disturbance and reading.t >= ended_s and reading.answered
        ),
        None,
    )
    drained = next(
        (
            reading
            for reading in readings
            if recovered and reading.t >= recovered.t and reading.lag <= usual
        ),
        None,
    )
    if drained:
        first, last = (
            [reading for reading in readings if reading.t <= began_s or reading is readings[0]][-1],
            drained,
        )
    else:
        at_usual_lag = [
            reading for reading in readings if reading.t <= load_ends_s and reading.lag <= usual
        ]
        first, last = readings[0], [*readings[:1], *at_usual_lag][-1]
    return ConsumerLag(
        max=max(reading.lag for reading in readings),
        arrival_rate=_rate(last.applied - first.applied, last.t - first.t),
        told_rate=_rate(last.head - first.head, last.t - first.t),
        outage_seconds=round(recovered.t - began_s, 3) if recovered else None,
        drained_seconds=round(drained.t - recovered.t, 3) if drained and recovered else None,
        drain_rate=_rate(drained.applied - recovered.applied, drained.t - recovered.t)
        if drained and recovered
        else None,
    )


def _rate(events: int, seconds: float) -> float | None:
    return round(events / seconds, 3) if seconds > 0 else None


def write_lag(path: Path, readings: Iterable[LagReading]) -> None:
    """Write the readings as CSV with a header, readable by its owner only."""
    with private_file(path) as file:
        writer = csv.writer(file)
        writer.writerow([column.name for column in fields(LagReading)])
        writer.writerows([*astuple(reading)[:-1], int(reading.answered)] for reading in readings)


def read_lag(path: Path) -> list[LagReading]:
    """Read what `write_lag` wrote. Raises OSError, or ValueError for a file of another kind."""
    with path.open(encoding="utf-8", newline="") as source:
        reader = csv.reader(source)
        if (header := next(reader, [])) != [column.name for column in fields(LagReading)]:
            raise ValueError(f"{path}: not a file of readings; its first line is {header}")
        return [
            LagReading(
                float(t),
                variant,
                service,
                int(head),
                int(offset),
                int(applied),
                bool(int(answered)),
            )
            for t, variant, service, head, offset, applied, answered in reader
        ]
