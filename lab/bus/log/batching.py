"""Batching of appends: calls that wait at the same time share one POST to the bus.

While a POST is in progress, new calls wait, and all waiting calls share the next POST. It is the
group commit of the log's server, one step earlier: 64 callers share the cost of a round trip, and a
single caller waits for no other. A call is acknowledged only when the bus has its events on disk.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from lab.bus.base import MAX_APPEND_BYTES, BusUnavailable

SendEnvelopes = Callable[[Sequence[str]], Awaitable[list[int]]]


class AppendRejected(BusUnavailable):
    """The bus rejected the request: sending the same again would change nothing."""


@dataclass(eq=False)
class _PendingAppend:
    """The events of one caller, and the future of their sequence numbers."""

    envelopes: Sequence[str]
    sequences: asyncio.Future[list[int]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """Passes calls on to `post` in order of arrival, one POST at a time."""

    def __init__(self, send: SendEnvelopes, within_s: float) -> None:
        self._send = send
        self._within_s = within_s
        self._waiting: deque[_PendingAppend] = deque()
        self._send_task: asyncio.Task[None] | None = None

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """The sequence numbers of these events.

        Raises what `post` raises; BusUnavailable without an acknowledgement in `within_s` seconds.
        """
        call = _PendingAppend(envelopes)
        self._waiting.append(call)
        if self._send_task is None:
            self._send_task = asyncio.create_task(self._send_all())
        try:
            async with asyncio.timeout(self._within_s):
                return await call.sequences
        except TimeoutError:
            raise BusUnavailable(f"No acknowledgement in {self._within_s:g} s.") from None

    async def close(self) -> None:
        """Cancel the POST in progress; calls that wait are cancelled."""
        if self._send_task is not None:
            self._send_task.cancel()
            await asyncio.gather(self._send_task, return_exceptions=True)

    async def _send_all(self) -> None:
        calls: list[_PendingAppend] = []
        try:
            while calls := self._next_group():
                await self._send_group(calls)
        finally:
            self._send_task = None
            for call in (*calls, *self._waiting):
                call.sequences.cancel()
            self._waiting.clear()

    def _next_group(self) -> list[_PendingAppend]:
        """The next waiting calls that fit into one POST, without those that have given up."""
        group: list[_PendingAppend] = []
        size = 0
        while self._waiting:
            call = self._waiting[0]
            size += sum(len(envelope.encode()) + 1 for envelope in call.envelopes)
            if group and size > MAX_APPEND_BYTES:
                break
            self._waiting.popleft()
            if not call.sequences.done():
                group.append(call)
        return group

    async def _send_group(self, group: Sequence[_PendingAppend]) -> None:
        try:
            sequences = await self._send([one for call in group for one in call.envelopes])
        except AppendRejected as error:
            if len(group) == 1:
                _fail(group[0], error)
                return
            for call in group:  # One call is invalid: only that one must be refused.
                await self._send_group([call])
        except Exception as error:
            for call in group:
                _fail(call, error)
        else:
            done = 0
            for call in group:
                if not call.sequences.done():
                    call.sequences.set_result(sequences[done : done + len(call.envelopes)])
                done += len(call.envelopes)


def _fail(call: _PendingAppend, error: Exception) -> None:
    if not call.sequences.done():
        call.sequences.set_exception(error)
