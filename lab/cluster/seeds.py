"""The posts that are there before anybody comes: nobody can comment on an empty blog."""

from lab.cluster.errors import LabCannotRun
from lab.cluster.stack import Stack

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
