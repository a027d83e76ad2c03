"""The contract of a bus with its publishers and consumers; each engine is a class that keeps it.

A log may come back changed: restored from an old copy, for example, its tail lost. Publishers and
consumers have to detect that. A publisher asks whether the log still contains the last event it
published; a consumer reads on with the bus's cursor for its position.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from lab.domain.events import Envelope
from lab.service.http import Route

MAX_APPEND_BYTES = 1024 * 1024
"""A publisher splits more than this into several appends; a bus takes only somewhat more."""


class BusUnavailable(Exception):
    """The bus is unreachable, or did not acknowledge in time: try again, with the same ids."""


class LogTruncated(BusUnavailable):
    """The log does not contain what was consumed up to here: its tail is lost.

    It can be read after `begins_after`: 0, or the last event that retention has deleted. `cursor`
    is the cursor for that position, if the engine has one.
    """

    def __init__(self, message: str, begins_after: int = 0, cursor: str = "") -> None:
        super().__init__(message)
        self.begins_after = begins_after
        self.cursor = cursor


class OffsetExpired(BusUnavailable):
    """The next events can't be read: retention has deleted them, or the log's file is damaged."""


Batch = list[Envelope]
"""Events that follow each other, each with the bus's cursor for the position after it."""


class Bus(Protocol):
    @property
    def routes(self) -> list[Route]:
        """The routes to which an engine that pushes delivers events.

        Empty for an engine that is read from. A pushed event comes once and cannot be read again,
        so a consumer's offset has no meaning for such an engine.
        """

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """Append events (JSON envelopes, in this order); returns their sequence numbers, from 1.

        Returns once they are as safe as the engine guarantees. An event whose id the bus already
        has is not added again: its old number is returned. Raises BusUnavailable.
        """

    async def contains(self, sequence: int, event_id: str) -> bool:
        """Whether event `sequence` exists and has the id `event_id`; always true for number 0.

        An event that retention has deleted counts as contained: nothing shows that it was another
        one. After the first call, `append` refuses (BusUnavailable) as soon as the log may have
        been replaced, until this is called again.
        """

    def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        """All events after sequence number `after`, in order, in batches; waits for more.

        Raises LogTruncated when `after` is beyond the end, or when `cursor` is not this log's
        cursor for it; OffsetExpired when the log begins later.
        """

    async def head(self) -> int:
        """The newest sequence number; 0 when no event was ever published."""

    async def close(self) -> None: ...


def check_gapless(after: int, envelope: Envelope) -> int:
    """The number of `envelope`. Raises BusUnavailable unless it follows `after` directly."""
    if envelope.sequence != after + 1:
        raise BusUnavailable(
            f"The stream went from {after} to {envelope.sequence}: an event is missing or doubled."
        )
    return envelope.sequence
