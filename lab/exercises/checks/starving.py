"""Repair a bus that starves its subscribers.

The course's bus, as many write it: an array, and one POST after the other to each subscriber. If
one subscriber is down, those after it get no event; if one hangs, those after it wait.
"""

import json

from lab.domain.model import FeedEntry
from lab.domain.services import BUS
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import ExerciseTestbed, ObservedResponse

WITHIN_S = 2.0
POSTS_PER_FAULT = 10
BLOCKED_SUBSCRIBER = "comments"


async def check(testbed: ExerciseTestbed) -> None:
    posts: list[str] = []

    async def write(count: int = 1) -> None:
        posts.extend([await testbed.post(f"Post {len(posts)}") for _ in range(count)])

    def is_complete(entries: list[FeedEntry]) -> bool:
        return {entry.id for entry in entries} == set(posts)

    await write()
    comment = await testbed.comment(posts[0], "Hello")

    def is_moderated(entries: list[FeedEntry]) -> bool:
        known = {comment.id: comment.status for entry in entries for comment in entry.comments}
        return is_complete(entries) and known == {comment: "approved"}

    complete, response = await testbed.feed_until(is_moderated)
    if not testbed.record(
        "calm", complete, f"{response.summary()}; written were 1 and {int(bool(comment))}"
    ):
        return

    for key, kind in (("down", "down"), ("refusing", "error"), ("hanging", "hang")):
        before_fault = len(posts)
        async with testbed.fault_active(kind, BLOCKED_SUBSCRIBER):
            await write(POSTS_PER_FAULT)
            complete, response = await testbed.feed_until(is_complete, WITHIN_S)
            if key == "hanging":
                events_response = await testbed.ask("GET", BUS, "/events", within_s=WITHIN_S)
        shown = {entry.id for entry in response.feed() or []} & set(posts[before_fault:])
        testbed.record(
            key,
            complete,
            f"{len(shown)} of {POSTS_PER_FAULT} new posts came to query within {WITHIN_S:g} s",
        )

    published = _published_posts(events_response)
    observed = f"{events_response}, with {len(published)} of {len(posts)} posts"
    testbed.record("answers", sorted(published) == sorted(posts), observed)

    await write()
    comment_after = await testbed.comment(posts[-1], "Back again")
    observed = (
        "it took a comment on a new post" if comment_after else "it never heard of a new post"
    )
    testbed.record("back", bool(comment_after), observed)


def _published_posts(response: ObservedResponse) -> list[str]:
    """The ids of the posts whose PostCreated the bus has stored; [] if its answer is malformed."""
    try:
        return [
            event["data"]["id"] for event in json.loads(response.body) if _is_post_created(event)
        ]
    except (ValueError, TypeError, LookupError):
        return []


def _is_post_created(event: dict[str, object]) -> bool:
    return event["type"] == "PostCreated"


EXERCISE = Exercise(
    name="starving",
    title="Repair a bus that starves its subscribers",
    submissions=(Submission("async-bus", BUS, "bus.py", {"bus": "course"}),),
    check=check,
    criteria=(
        GradedCriterion(
            "calm",
            "While all are well, a post and a comment with its verdict come into the feed.",
            "Leave what already works as it is: every subscriber gets every event, once.",
        ),
        GradedCriterion(
            "down",
            f"While {BLOCKED_SUBSCRIBER} is down, query receives new posts within {WITHIN_S:g} s.",
            "Which subscribers come after the one that is down? Where does the error go, and "
            "what does it skip?",
        ),
        GradedCriterion(
            "refusing",
            f"While {BLOCKED_SUBSCRIBER} answers every event with an error, the same.",
            "The failure of one subscriber must not affect others: catch the error where only "
            "that one is concerned.",
        ),
        GradedCriterion(
            "hanging",
            f"While {BLOCKED_SUBSCRIBER} takes events and never answers, the same.",
            "Catching errors does not help: there is none. A loop that waits for each waits for "
            "the slowest. How can the bus tell several at once (asyncio.create_task)?",
        ),
        GradedCriterion(
            "answers",
            f"Even then `GET /events` is answered within {WITHIN_S:g} s, with every event once.",
            "The bus keeps an event and says OK; the telling goes on behind it.",
        ),
        GradedCriterion(
            "back",
            f"When {BLOCKED_SUBSCRIBER} is well again, it receives new events.",
            "Don't give a subscriber up for ever because it failed for a while.",
        ),
    ),
)
