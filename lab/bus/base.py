"""What a bus promises to those who tell and those who hear. An engine is a class that keeps it.

A log may come back as another one than it was: restored from an old copy, say, its tail lost. To
notice that is the business of those who know better. Whoever tells asks whether the log `holds`
the last event it told; whoever hears shows a `mark` of the place from which it goes on.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from lab.domain.events import Envelope
from lab.service.http import Route

MOST_BYTES_AT_ONCE = 1024 * 1024
"""More than this is told in several goes: a bus takes some more, but not without end."""


class BusUnavailable(Exception):
    """The bus can't be reached, or did not acknowledge in time: try again, with the same ids."""


class LostTail(BusUnavailable):
    """What was heard up to here is not what the log holds now. It can be read behind
    `begins_after`: 0, or what retention has deleted."""

    def __init__(self, says: str, begins_after: int = 0) -> None:
        super().__init__(says)
        self.begins_after = begins_after


class NoLongerKept(BusUnavailable):
    """Events that were to be heard next have been deleted for their age: the log begins later."""


class Batch(list[Envelope]):
    """Events that follow each other. `mark` is what the bus knows the place behind them by: show
    it to go on from there. "" where an engine has no such thing."""

    def __init__(self, events: Sequence[Envelope] = (), mark: str = "") -> None:
        super().__init__(events)
        self.mark = mark


class Bus(Protocol):
    @property
    def routes(self) -> list[Route]:
        """Where a service has to let the bus in: an engine that pushes knocks there.

        Empty for an engine that is read from. What is pushed comes once and can't be read again,
        so to such an engine a consumer's offset means nothing.
        """

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """Keep events (as JSON envelopes, in this order); their sequence numbers, from 1.

        Returns once they are as safe as the engine promises. An event whose id the bus already
        holds is not kept twice: its old number is returned.
        """

    async def holds(self, sequence: int, event_id: str) -> bool:
        """Whether event `sequence` is there, and is that one; of number 0 it always is.

        An event that retention has deleted counts as held: nothing says that it was another one.
        From the first question on, `append` refuses (BusUnavailable) as soon as the log may have
        become another one, until it is asked again.
        """

    def read(self, after: int, mark: str = "") -> AsyncIterator[Batch]:
        """All events behind sequence number `after`, in order, in batches; waits for more.

        Raises LostTail when `after` lies beyond the end, or the log is not the one that gave
        `mark` for it; NoLongerKept when it begins later.
        """

    async def head(self) -> int:
        """The newest sequence number; 0 when nothing was ever told."""

    async def close(self) -> None: ...


def next_after(after: int, envelope: Envelope) -> int:
    """The number reached with `envelope`; a gap is never passed over in silence."""
    if envelope.sequence != after + 1:
        raise BusUnavailable(
            f"The stream went from {after} to {envelope.sequence}: an event is missing or doubled."
        )
    return envelope.sequence
