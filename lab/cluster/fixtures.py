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

from lab.cluster.control_client import ControlResponse
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
            stack.entry_urls["posts"],
            "/posts",
            {"title": f"The first post, number {number + 1}"},
        )
        if answer.status != 201:
            raise LabCannotRun(f"{stack.name}: {_why_no_post(answer)}")
        ids.append(answer.data["id"])
    if not await stack.settle(settle_within_s):
        raise LabCannotRun(f"{stack.name} did not settle before the run began.")
    return ids


def _why_no_post(answer: ControlResponse) -> str:
    problem = answer.data if isinstance(answer.data, dict) else {}
    detail = answer.error or problem.get("detail") or f"status {answer.status}"
    if problem.get("created"):
        return (
            f"{detail} A run comments on new posts, so it needs their ids. `lab check` does not: "
            "it finds posts in the feed by their titles."
        )
    return f"The first post could not be written: {detail} The log of its service may say why."


# ── History

SOURCE = "/archive"
BATCH_SIZE = 4_000
PUBLISHED_WITHIN_S = 20.0
CONSUMED_WITHIN_S = 120.0


class HistoryNotConsumed(LabCannotRun):
    """The bus did not accept the history, or the stack did not settle in time."""


def history_envelopes(first: int, count: int) -> list[dict[str, Any]]:
    """Envelopes of `PostCreated` as JSON objects, numbered from `first`.

    An id is the number with leading zeros. Today's ids begin with 1: they are times in
    microseconds.
    """
    template = Envelope.around(PostCreated(id="", title=""), source=SOURCE).model_dump()
    return [
        {
            **template,
            "id": f"archive-{number}",
            "subject": f"{number:014d}",
            "data": {"id": f"{number:014d}", "title": f"An old post, number {number}"},
        }
        for number in range(first, first + count)
    ]


def newest_history_ids(events: int, limit: int) -> list[str]:
    """The ids of the `most` newest posts in a history of `events` events, newest first."""
    return [f"{number:014d}" for number in range(events, max(0, events - limit), -1)]


def is_history_id(post_id: str) -> bool:
    """Whether the id belongs to a post of a history."""
    return post_id.startswith("0")


async def publish_history(stack: Stack, events: int) -> None:
    """Publish `events` events; return when all consumers applied them. Raises
    HistoryNotConsumed."""
    for first in range(1, events + 1, BATCH_SIZE):
        envelopes = history_envelopes(first, min(BATCH_SIZE, events + 1 - first))
        answer = await stack.call("POST", stack.urls[BUS], "/events", envelopes, PUBLISHED_WITHIN_S)
        if not answer.ok:
            raise HistoryNotConsumed(
                f"{stack.name}: the history could not be published to the {BUS} "
                f"({answer.error or answer.data}). Its log is in the run's folder."
            )
    stack.history_length = events
    if not await stack.settle(CONSUMED_WITHIN_S):
        raise HistoryNotConsumed(
            f"{stack.name} has not consumed {events} events of history in "
            f"{CONSUMED_WITHIN_S:g} s. Publish fewer of them: history.events."
        )


# ── New replicas

CAUGHT_UP_WITHIN_S = 60.0
_POLL_EVERY_S = 0.005


@dataclass(frozen=True)
class ReplicaCatchUp:
    """How far a new replica came. `events`: its offset.

    `seconds`: from its start until its offset was the bus's head; None if it never was.
    """

    replica: str
    events: int
    seconds: float | None


async def start_replica(stack: Stack, service: str) -> ReplicaCatchUp:
    """Start another replica of `service`; wait until it is at the bus's head. Raises StartFailed.

    It has CAUGHT_UP_WITHIN_S seconds to become ready, and as long in all to reach the head.
    """
    name = stack.program_name(service)
    first_program = next(program for program in stack.programs if program.name == name)
    replica, port = stack.reserve_replica(service)
    folder = stack.data.with_name(f"{stack.data.name}-{replica}")
    spans = first_program.log.with_name(f"{stack.name}.{replica}.spans.ndjson")
    program = replace(
        first_program,
        name=f"{stack.name}.{replica}",
        # The last of two equal options counts; all other arguments are the first replica's.
        argv=(
            *first_program.argv,
            "--port",
            str(port),
            "--data",
            str(folder),
            "--spans",
            str(spans),
        ),
        log=first_program.log.with_name(f"{stack.name}.{replica}.log"),
        health=f"{stack.urls[replica]}/health",
    )
    started_at_s = perf_counter()
    try:
        await stack.supervisor.start(program, ready_within_s=CAUGHT_UP_WITHIN_S)
    except NotReady:
        state = await stack.state(replica) or {}
        return ReplicaCatchUp(replica, state.get("offset") or 0, None)
    # Ready means: it has applied what the bus held at its start. More has been published since.
    while perf_counter() - started_at_s < CAUGHT_UP_WITHIN_S:
        bus_state, replica_state = await asyncio.gather(stack.state(BUS), stack.state(replica))
        if bus_state and replica_state and replica_state["offset"] >= bus_state["head"]:
            return ReplicaCatchUp(replica, replica_state["offset"], perf_counter() - started_at_s)
        await asyncio.sleep(_POLL_EVERY_S)
    return ReplicaCatchUp(replica, (replica_state or {}).get("offset") or 0, None)
