"""Write the outbox: each stored post is published, and each published post is stored.

`posts` stores a post and then publishes it. Between the two, the bus may be down or `posts` may be
killed. Then the post is stored and its writer has a 201, but no other service ever learns of it.
"""

import json
from collections import Counter

from lab.domain.model import FeedEntry
from lab.domain.services import BUS
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import ExerciseTestbed, ObservedResponse

ANSWER_WITHIN_MS = 500
TOLD_WITHIN_S = 4.0
MANY = 3


async def check(testbed: ExerciseTestbed) -> None:
    acknowledged: list[str] = []
    slow: list[ObservedResponse] = []

    async def write(count: int) -> int:
        """The number of posts that were accepted in time."""
        in_time = 0
        for _ in range(count):
            answer = await testbed.ask("POST", "posts", "/posts", {"title": f"{len(acknowledged)}"})
            post_id = _id_of(answer)
            if answer.status == 201 and post_id:
                acknowledged.append(post_id)
                in_time += answer.took_ms <= ANSWER_WITHIN_MS
            if answer.status != 201 or answer.took_ms > ANSWER_WITHIN_MS:
                slow.append(answer)
        return in_time

    def is_complete(entries: list[FeedEntry]) -> bool:
        return set(acknowledged) <= {entry.id for entry in entries}

    async def check_feed(key: str, in_time: int = MANY) -> bool:
        complete, response = await testbed.feed_until(is_complete, TOLD_WITHIN_S)
        missing = len(set(acknowledged) - {entry.id for entry in response.feed() or []})
        observed = (
            f"{in_time} of {MANY} posts were accepted in time, and {missing} acknowledged ones "
        )
        observed += "are not in the feed"
        return testbed.record(
            key, complete and in_time == MANY, observed + (f"; {slow[-1]}" if slow else "")
        )

    if not await check_feed("calm", await write(MANY)):
        return
    async with testbed.fault_active("down", BUS):
        in_time = await write(MANY)
    await check_feed("away", in_time)

    async with testbed.fault_active("down", BUS):
        in_time = await write(MANY)
        async with testbed.fault_active("down", "posts"):
            pass  # killed and restarted while the bus is still down
    await check_feed("killed", in_time)

    slow.clear()
    async with testbed.fault_active("hang", BUS):
        in_time = await write(MANY)
    await check_feed("hanging", in_time)

    refused = await testbed.ask("POST", "posts", "/posts", {"title": " "})
    published = _published_posts(await testbed.ask("GET", BUS, "/events?after=0"))
    unknown = [post_id for post_id in published if post_id not in acknowledged]
    observed = (
        f"{refused.status} for a post without a title, and {len(unknown)} events are about others"
    )
    testbed.record("refused", refused.status == 400 and not unknown, observed)
    duplicated = sum(count > 1 for count in published.values())
    testbed.record(
        "once",
        bool(published) and not duplicated,
        f"{duplicated} of {len(published)} posts were published twice",
    )


def _id_of(answer: ObservedResponse) -> str:
    try:
        return str(json.loads(answer.body)["id"])
    except (ValueError, TypeError, LookupError):
        return ""


def _published_posts(response: ObservedResponse) -> Counter[str]:
    """The number of PostCreated events per post in the bus's log."""
    events = [json.loads(line) for line in response.body.splitlines()]
    return Counter(
        event["data"].get("id", "") for event in events if event["type"] == "PostCreated"
    )


EXERCISE = Exercise(
    name="outbox",
    title="Write the outbox",
    submissions=(Submission("async-bus", "posts", "posts.py", {"outbox": False}),),
    check=check,
    criteria=(
        GradedCriterion(
            "calm",
            "While nothing is broken, a new post comes into the feed.",
            "Leave what already works as it is.",
        ),
        GradedCriterion(
            "away",
            f"While the bus is down, posts are accepted within {ANSWER_WITHIN_MS} ms; when it is "
            f"back, they come into the feed within {TOLD_WITHIN_S:g} s.",
            "Put the event into a table, in the same transaction as the post. Something else, a "
            "thread, brings what is in there to the bus, and tries again until the bus has it.",
        ),
        GradedCriterion(
            "killed",
            "The same when posts is killed before the bus is back.",
            "What is on disk survives: begin with what is still in the table. And don't take an "
            "event out before the bus has said that it has it.",
        ),
        GradedCriterion(
            "hanging",
            "While the bus hangs, posts are accepted just as fast, and published when it goes on.",
            "Is there anything left in the handler that waits for the bus?",
        ),
        GradedCriterion(
            "refused",
            "A post that is refused is not published.",
            "Publish only what is committed.",
        ),
        GradedCriterion(
            "once",
            "No post is on the bus twice.",
            "An event that is sent again must be the same event, with the same id: then the bus "
            "knows it. Make the envelope once, when you put it into the table.",
        ),
    ),
)
