"""What several callers tell at the same time goes to the bus together: one POST for all of them.

While a POST is under way, whoever calls waits, and all who wait share the next one. It is the
group commit of the log's server, one step earlier: sixty-four callers share the price of a request
there and back, and a single one waits for nobody. Each is still acknowledged only when the bus has
its events on disk.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from lab.bus.base import MOST_BYTES_AT_ONCE, BusUnavailable

Post = Callable[[Sequence[str]], Awaitable[list[int]]]


class Refused(BusUnavailable):
    """The bus has understood, and does not want it: to send the same again would change nothing."""


@dataclass(eq=False)
class _Call:
    """What one caller tells, and the numbers it waits for."""

    envelopes: Sequence[str]
    sequences: asyncio.Future[list[int]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Together:
    """Passes calls on to `post` in the order in which they came, one POST at a time."""

    def __init__(self, post: Post, within_s: float) -> None:
        self._post = post
        self._within_s = within_s
        self._waiting: deque[_Call] = deque()
        self._posting: asyncio.Task[None] | None = None

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """The numbers of these events. Raises what `post` raises; BusUnavailable if it is late."""
        call = _Call(envelopes)
        self._waiting.append(call)
        if self._posting is None:
            self._posting = asyncio.create_task(self._post_all())
        try:
            async with asyncio.timeout(self._within_s):
                return await call.sequences
        except TimeoutError:
            raise BusUnavailable(f"No acknowledgement in {self._within_s:g} s.") from None

    async def close(self) -> None:
        """Give up what is under way; whoever waits for it hears that it was cancelled."""
        if self._posting is not None:
            self._posting.cancel()
            await asyncio.gather(self._posting, return_exceptions=True)

    async def _post_all(self) -> None:
        calls: list[_Call] = []
        try:
            while calls := self._next_group():
                await self._post_group(calls)
        finally:
            self._posting = None
            for call in (*calls, *self._waiting):
                call.sequences.cancel()
            self._waiting.clear()

    def _next_group(self) -> list[_Call]:
        """Those who wait, as many as fit into one POST; without those who have given up."""
        group: list[_Call] = []
        size = 0
        while self._waiting:
            call = self._waiting[0]
            size += sum(len(envelope.encode()) + 1 for envelope in call.envelopes)
            if group and size > MOST_BYTES_AT_ONCE:
                break
            self._waiting.popleft()
            if not call.sequences.done():
                group.append(call)
        return group

    async def _post_group(self, group: Sequence[_Call]) -> None:
        try:
            sequences = await self._post([one for call in group for one in call.envelopes])
        except Refused as error:
            if len(group) == 1:
                _fail(group[0], error)
                return
            for call in group:  # What one of them has told was bad: it is refused, the others not.
                await self._post_group([call])
        except Exception as error:
            for call in group:
                _fail(call, error)
        else:
            done = 0
            for call in group:
                if not call.sequences.done():
                    call.sequences.set_result(sequences[done : done + len(call.envelopes)])
                done += len(call.envelopes)


def _fail(call: _Call, error: Exception) -> None:
    if not call.sequences.done():
        call.sequences.set_exception(error)
