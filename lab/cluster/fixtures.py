"""Additions to a stack: its first posts, a history of old events, a new replica of a service.

The first posts exist before the load begins, because an empty blog takes no comments.

A history consists of events of an earlier system. They are published directly to the bus, because
no service of the stack owns their data. Their ids sort before all ids that are made today, so every
service takes them for old posts.

A new replica of a running service begins with an empty database and calls no other service. It
consumes the bus from the first event; at the head it has the state of the first replica. This works
only for a service that publishes nothing: a second `moderation` would moderate every comment again
and publish each verdict twice.
"""

import asyncio
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from lab.cluster.errors import LabCannotRun, NotReady
from lab.cluster.stack import Stack
from lab.domain.events import Envelope, PostCreated
from lab.domain.services import BUS

# ── First posts

SEED_POSTS = 10


async def seed_posts(stack: Stack, settle_within_s: float) -> list[str]:
    """Write SEED_POSTS posts; return their ids when the stack has settled. Raises LabCannotRun."""
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


# ── History

SOURCE = "/archive"
AT_ONCE = 4_000
TOLD_WITHIN_S = 20.0
HEARD_WITHIN_S = 120.0


class HistoryNotHeard(LabCannotRun):
    """The bus did not accept the history, or the stack did not settle in time."""


def old_posts(first: int, count: int) -> list[dict[str, Any]]:
    """Envelopes of `PostCreated` as JSON objects, numbered from `first`.

    An id is the number with leading zeros. Today's ids begin with 1: they are times in
    microseconds.
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
    """The ids of the `most` newest posts in a history of `events` events, newest first."""
    return [f"{number:014d}" for number in range(events, max(0, events - most), -1)]


def is_old(identity: str) -> bool:
    """Whether the id belongs to a post of a history."""
    return identity.startswith("0")


async def tell_history(stack: Stack, events: int) -> None:
    """Publish `events` events; return when all consumers applied them. Raises HistoryNotHeard."""
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


# ── New replicas

CAUGHT_UP_WITHIN_S = 60.0
_LOOK_AGAIN_S = 0.005


@dataclass(frozen=True)
class CaughtUp:
    """How far a new replica came. `events`: its offset.

    `seconds`: from its start until its offset was the bus's head; None if it never was.
    """

    part: str
    events: int
    seconds: float | None


async def bring_in(stack: Stack, service: str) -> CaughtUp:
    """Start another replica of `service`; wait until it is at the bus's head. Raises StartFailed.

    It has CAUGHT_UP_WITHIN_S seconds to become ready, and as long in all to reach the head.
    """
    first = next(one for one in stack.programs if one.name == stack.program(service))
    part, port = stack.admit(service)
    folder = stack.data.with_name(f"{stack.data.name}-{part}")
    spans = first.log.with_name(f"{stack.name}.{part}.spans.ndjson")
    program = replace(
        first,
        name=f"{stack.name}.{part}",
        # The last of two equal options counts; all other arguments are the first replica's.
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
    # Ready means: it has applied what the bus held at its start. More has been published since.
    while perf_counter() - begun_s < CAUGHT_UP_WITHIN_S:
        bus, own = await asyncio.gather(stack.state(BUS), stack.state(part))
        if bus and own and own["offset"] >= bus["head"]:
            return CaughtUp(part, own["offset"], perf_counter() - begun_s)
        await asyncio.sleep(_LOOK_AGAIN_S)
    return CaughtUp(part, (own or {}).get("offset") or 0, None)
