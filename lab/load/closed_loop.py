"""The closed loop: a fixed number of users; each one waits for its answer before it sends again.

Most load tools measure like this; it is here for comparison with the open loop. Between an answer
and its next request, a user thinks for as long as the gap between its two arrivals in the
schedule. While the server stalls, the users stall too: the requests that were due meanwhile are
not sent, so they are not slow and appear in no percentile. Gil Tene calls this *coordinated
omission* (How NOT to Measure Latency, 2013).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from lab.load.schedule import Arrival
from lab.load.sender import Sender


class User:
    """One of `users` users: takes every `users`-th arrival of the schedule, one at a time.

    `all_sent` is done when this user has no arrival left, or none before `end_s` (seconds from the
    start of the run).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: Sender,
        arrivals: Sequence[Arrival],
        number: int,
        users: int,
        end_s: float,
    ) -> None:
        self.all_sent: asyncio.Future[None] = loop.create_future()
        self._loop, self._sender, self._end_s = loop, sender, end_s
        self._arrivals = arrivals
        self._arrival_numbers = iter(range(number, len(arrivals), users))
        self._previous_at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Think, then send the first request."""
        self._next(0.0)

    def stop(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _next(self, now_s: float) -> None:
        """Think from `now_s` (seconds from the start), then send, unless the run is over."""
        number = next(self._arrival_numbers, None)
        if number is None or self.all_sent.done():
            self._finish()
            return
        arrival = self._arrivals[number]
        think_s = arrival.at_s - self._previous_at_s
        self._previous_at_s = arrival.at_s
        send_at_s = now_s + think_s
        if send_at_s >= self._end_s:
            self._finish()
            return
        wait_s = self._sender.started_at_s + send_at_s - perf_counter()
        self._timer = self._loop.call_later(wait_s, self._send, number, arrival, send_at_s)

    def _send(self, number: int, arrival: Arrival, send_at_s: float) -> None:
        try:
            # The intended send time is the actual one: this is the coordinated omission.
            self._sender.fire(number, arrival, send_at_s, self._on_answer)
        except Exception as error:  # in a callback it would only be logged, and the run would hang
            self.all_sent.set_exception(error)

    def _on_answer(self) -> None:
        self._next(perf_counter() - self._sender.started_at_s)

    def _finish(self) -> None:
        if not self.all_sent.done():
            self.all_sent.set_result(None)


def create_users(
    loop: asyncio.AbstractEventLoop, senders: Sequence[Sender], arrivals: Sequence[Arrival]
) -> list[User]:
    """The users of all variants under a closed-loop load."""
    return [
        User(loop, sender, arrivals, number, users, sender.phase_clock.end_s)
        for sender in senders
        if (users := sender.variant.users)
        for number in range(users)
    ]
