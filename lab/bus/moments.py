"""When a bus received, committed and delivered its newest events: `GET /_lab/moments?subject=ID`.

They are in memory only, so a bus that was restarted knows nothing of earlier events. Slow motion
draws them (`lab/live/followed.py`).
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from lab.service.http import Route

MAX_EVENTS, MAX_DELIVERIES = 5_000, 20_000

_Event = tuple[int, str, str, float, float | None]
_Delivery = tuple[str, int, int, float, str]


class Moments:
    """The moments of one bus, in seconds since 1970."""

    def __init__(self) -> None:
        self._started_s = time.time()
        self._events: deque[_Event] = deque(maxlen=MAX_EVENTS)
        self._deliveries: deque[_Delivery] = deque(maxlen=MAX_DELIVERIES)
        self.route = Route("GET", "/_lab/moments", self.of_subject, control=True)

    def note_event(
        self, number: int, type_: str, subject: str, received_s: float, committed_s: float | None
    ) -> None:
        """Note an event. `number`: in the log, or a count; `committed_s`: None if it is not kept on
        disk."""
        self._events.append((number, type_, subject, received_s, committed_s))

    def note_delivery(
        self, reader: str, first: int, last: int, at_s: float, failed: str = ""
    ) -> None:
        """Note that the events from `first` to `last` were sent to a reader, or why they were not.
        `reader`: its name, or its URL."""
        self._deliveries.append((reader, first, last, at_s, failed))

    def of_subject(self, subject: str) -> dict[str, Any]:
        """The events about one post or comment, by its id, in order; `started`: of the bus."""
        events = [
            {
                "number": number,
                "type": type_,
                "received": received_s,
                "committed": committed_s,
                "delivered": list(self._deliveries_of(number)),
            }
            for number, type_, about, received_s, committed_s in self._events
            if about == subject
        ]
        return {"started": self._started_s, "events": events}

    def _deliveries_of(self, number: int) -> Iterator[dict[str, Any]]:
        for reader, first, last, at_s, failed in self._deliveries:
            if first <= number <= last:
                yield {"to": reader, "at": at_s, "failed": failed}
