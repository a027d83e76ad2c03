"""A history: events that were told long before this run, by a system that is gone.

They go straight to the bus, for nobody here owns what they tell of. Their ids sort before any that
is made today, so to every service they are what they claim to be: old.
"""

from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack
from lab.domain.directory import BUS
from lab.domain.events import Envelope, PostCreated

SOURCE = "/archive"
AT_ONCE = 4_000
TOLD_WITHIN_S = 20.0
HEARD_WITHIN_S = 120.0


class HistoryNotHeard(LabCannotRun):
    """The bus did not take the history, or not everybody has heard it in time."""


def old_posts(first: int, count: int) -> list[dict[str, Any]]:
    """Envelopes of `PostCreated`, numbered from `first`, as JSON has them.

    An id is 0 and the number: today's begin with a 1, for they are moments in microseconds.
    """
    pattern = Envelope.around(PostCreated(id="", title=""), source=SOURCE).model_dump()
    return [
        {
            **pattern,
            "id": f"archive-{number}",
            "subject": f"{number:014d}",
            "data": {"id": f"{number:014d}", "title": f"An old post, number {number}"},
        }
        for number in range(first, first + count)
    ]


def newest_old(events: int, most: int) -> list[str]:
    """The ids of the newest posts of a history of so many events, newest first."""
    return [f"{number:014d}" for number in range(events, max(0, events - most), -1)]


def is_old(identity: str) -> bool:
    """Whether it is the id of a post of a history."""
    return identity.startswith("0")


async def tell_history(stack: Stack, events: int) -> None:
    """Tell so many events; returns when every consumer has heard them. Raises HistoryNotHeard."""
    for first in range(1, events + 1, AT_ONCE):
        old = old_posts(first, min(AT_ONCE, events + 1 - first))
        answer = await stack.call("POST", stack.urls[BUS], "/events", old, TOLD_WITHIN_S)
        if not answer.ok:
            raise HistoryNotHeard(
                f"{stack.name}: the history could not be told to the {BUS} "
                f"({answer.error or answer.data}). Its log is in the run's folder."
            )
    stack.history = events
    if not await stack.settle(HEARD_WITHIN_S):
        raise HistoryNotHeard(
            f"{stack.name} has not heard {events} events of history in {HEARD_WITHIN_S:g} s. "
            "Tell fewer of them: history.events."
        )
