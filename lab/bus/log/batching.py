"""Batching of appends: calls that wait at the same time share one POST to the bus.

While a POST is in progress, new calls wait, and all waiting calls share the next POST. It is the
group commit of the log's server, one step earlier: 64 callers share the cost of a round trip, and a
single caller waits for no other. A call is acknowledged only when the bus has its events on disk.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from lab.bus.base import MOST_BYTES_AT_ONCE, BusUnavailable

Post = Callable[[Sequence[str]], Awaitable[list[int]]]


class Refused(BusUnavailable):
    """The bus rejected the request: sending the same again would change nothing."""


@dataclass(eq=False)
class _Call:
    """The events of one caller, and the future of their sequence numbers."""

    envelopes: Sequence[str]
    sequences: asyncio.Future[list[int]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Together:
    """Passes calls on to `post` in order of arrival, one POST at a time."""

    def __init__(self, post: Post, within_s: float) -> None:
        self._post = post
        self._within_s = within_s
        self._waiting: deque[_Call] = deque()
        self._posting: asyncio.Task[None] | None = None

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """The sequence numbers of these events.

        Raises what `post` raises; BusUnavailable without an acknowledgement in `within_s` seconds.
        """
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
        """Cancel the POST in progress; calls that wait are cancelled."""
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
        """The next waiting calls that fit into one POST, without those that have given up."""
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
            for call in group:  # One call is invalid: only that one must be refused.
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
