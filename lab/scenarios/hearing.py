"""What was measured of those who hear: how far behind they were, and how newcomers caught up.

A part of the result's document, as `lab.scenarios.result` has it, with the figures that expressions
may name.
"""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A table of the document; keys it doesn't know are kept."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)


class ConsumerLag(Part):
    """How far one consumer was behind the bus's head, in events, and how it caught up.

    `arrival_rate`: events a second that it hears; `told_rate`: that are told on the bus, heard here
    or not; `drain_rate`: that it applied while it was catching up. `outage_seconds`: from the first
    fault to its first answer after the last one; `drained_seconds`: from there until the lag was
    usual again, None when it never was.
    """

    max: int
    arrival_rate: float | None = None
    told_rate: float | None = None
    outage_seconds: float | None = None
    drained_seconds: float | None = None
    drain_rate: float | None = None


class Newcomer(Part):
    """A second one of a service that began with nothing, `at_s` seconds into `during`.

    `events`: how many it had heard when it was level with the bus, after `seconds` (None: never).
    `differences`: entries of the feed, of `entries`, which it shows otherwise than the first one.
    """

    service: str
    part: str
    at_s: float
    events: int
    seconds: float | None = None
    events_per_s: float | None = None
    entries: int | None = None
    differences: int | None = None


OF_LAG: dict[str, Callable[[ConsumerLag], float | None]] = {
    "max": lambda of: of.max,
    "arrival_rate": lambda of: of.arrival_rate,
    "told_rate": lambda of: of.told_rate,
    "outage_seconds": lambda of: of.outage_seconds,
    "drained_seconds": lambda of: of.drained_seconds,
    "drain_rate": lambda of: of.drain_rate,
}
OF_NEWCOMER: dict[str, Callable[[Newcomer], float | None]] = {
    "seconds": lambda of: of.seconds,
    "events": lambda of: of.events,
    "events_per_second": lambda of: of.events_per_s,
    "entries": lambda of: of.entries,
    "differences": lambda of: of.differences,
}
