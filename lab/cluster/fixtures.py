"""The posts that are there before anybody comes: nobody can comment on an empty blog.

A history: events that were told long before this run, by a system that is gone.

They go straight to the bus, for nobody here owns what they tell of. Their ids sort before any that
is made today, so to every service they are what they claim to be: old.

A newcomer: one more of a running service, with an empty database, beside the first.

Nobody is asked for anything. It begins at the first event the bus holds, and when it has reached
the head it knows what the first one knows. Only a service that tells nothing can be doubled so: a
second moderation would judge every comment again, and tell everybody.
"""

import asyncio
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from lab.cluster.errors import LabCannotRun, NotReady
from lab.cluster.stack import Stack
from lab.domain.events import Envelope, PostCreated
from lab.domain.services import BUS

# ── The posts that are there before anybody comes: nobody can comment on an empty blog.

SEED_POSTS = 10


async def seed_posts(stack: Stack, settle_within_s: float) -> list[str]:
    """Write them, and return their ids once every service knows them. Raises LabCannotRun."""
    ids = []
    for number in range(SEED_POSTS):
        answer = await stack.call(
            "POST",
            stack.asked_at["posts"],
            "/posts",
            {"title": f"The first post, number {number + 1}"},
        )
        if answer.status != 201:
            raise LabCannotRun(
                f"{stack.name}: the first post could not be written "
                f"({answer.error or answer.data}). Is something wrong with its service's log?"
            )
        ids.append(answer.data["id"])
    if not await stack.settle(settle_within_s):
        raise LabCannotRun(f"{stack.name} did not settle before the run began.")
    return ids


# ── A history: events that were told long before this run, by a system that is gone.

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


# ── A newcomer: one more of a running service, with an empty database, beside the first.

CAUGHT_UP_WITHIN_S = 60.0
_LOOK_AGAIN_S = 0.005


@dataclass(frozen=True)
class CaughtUp:
    """How far a newcomer came: `seconds` from the order to start it until its offset was the
    bus's head, None when that never was."""

    part: str
    events: int
    seconds: float | None


async def bring_in(stack: Stack, service: str) -> CaughtUp:
    """Start a second `service` and wait until it has heard all there is. Raises StartFailed."""
    first = next(one for one in stack.programs if one.name == stack.program(service))
    part, port = stack.admit(service)
    folder = stack.data.with_name(f"{stack.data.name}-{part}")
    spans = first.log.with_name(f"{stack.name}.{part}.spans.ndjson")
    program = replace(
        first,
        name=f"{stack.name}.{part}",
        # Said twice on a command line, the last one counts: all else stays as the first has it.
        argv=(*first.argv, "--port", str(port), "--data", str(folder), "--spans", str(spans)),
        log=first.log.with_name(f"{stack.name}.{part}.log"),
        health=f"{stack.urls[part]}/health",
    )
    begun_s = perf_counter()
    try:
        await stack.supervisor.start(program, ready_within_s=CAUGHT_UP_WITHIN_S)
    except NotReady:
        state = await stack.state(part) or {}
        return CaughtUp(part, state.get("offset") or 0, None)
    # Ready is who has heard what there was when it came; meanwhile there was more.
    while perf_counter() - begun_s < CAUGHT_UP_WITHIN_S:
        bus, own = await asyncio.gather(stack.state(BUS), stack.state(part))
        if bus and own and own["offset"] >= bus["head"]:
            return CaughtUp(part, own["offset"], perf_counter() - begun_s)
        await asyncio.sleep(_LOOK_AGAIN_S)
    return CaughtUp(part, (own or {}).get("offset") or 0, None)
