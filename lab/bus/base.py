"""What a bus promises to those who tell and those who hear. An engine is a class that keeps it."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from lab.domain.events import Envelope
from lab.web import Route


class BusUnavailable(Exception):
    """The bus can't be reached, or did not acknowledge in time: try again, with the same ids."""


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

    def read(self, after: int) -> AsyncIterator[list[Envelope]]:
        """All events behind sequence number `after`, in order, in batches; waits for more."""

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
