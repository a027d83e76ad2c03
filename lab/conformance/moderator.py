"""Finds the service that judges comments by its effect, whatever it is called.

Each candidate is suspended in turn. The one without which a new comment gets no verdict, and with
which it gets one again, moderates.
"""

from collections.abc import Iterator

from lab.conformance.clients import Feed, SystemClient
from lab.domain.services import BUS
from lab.external.arrangement import lab_name
from lab.external.stack import ExternalStack
from lab.external.target import Target

USUAL_NAME = "moderation"
_WAIT_AT_LEAST_S = 0.5


def named_moderator(target: Target) -> str | None:
    """The service that the target says moderates, or that has the usual name."""
    if target.moderation:
        return target.moderation
    return USUAL_NAME if USUAL_NAME in target.services else None


def candidates(target: Target) -> Iterator[str]:
    """The services without another role."""
    taken = {action.service for _, action in target.actions}
    for name in target.services:
        if name not in taken and lab_name(target, name) != BUS:
            yield name


async def find_moderator(stack: ExternalStack, post_id: str, verdict_s: float) -> str | None:
    """The service by whose absence comments wait; None if it is none, or if it may be several.

    `verdict_s`: how long a verdict usually takes.
    """
    found = [
        name
        for name in candidates(stack.target)
        if await _comments_wait_for(stack, name, post_id, verdict_s)
    ]
    return found[0] if len(found) == 1 else None


async def _comments_wait_for(
    stack: ExternalStack, service: str, post_id: str, verdict_s: float
) -> bool:
    client, program = SystemClient(stack), stack.program_name(lab_name(stack.target, service))
    content = f"Who judges this? Not {service}?"

    def is_decided(feed: Feed) -> bool:
        return any(
            comment["content"] == content and comment["status"] != "pending"
            for entry in feed
            if entry["id"] == post_id
            for comment in entry["comments"]
        )

    await stack.supervisor.suspend(program)
    try:
        await client.comment(post_id, content, within_s=_WAIT_AT_LEAST_S + verdict_s)
        _, waits = await client.feed_until(is_decided, 2 * verdict_s + _WAIT_AT_LEAST_S)
    finally:
        await stack.supervisor.resume(program)
    if not waits:
        return False
    _, never = await client.feed_until(is_decided, stack.target.moderated_within_s)
    return not never
