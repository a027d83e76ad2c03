"""Make a consumer idempotent: consume an event twice, apply it once.

A bus that retries after a missing answer can guarantee no more than *at least once*. `query` keeps
a copy of what it consumes, and applies each event as if it were new. This stack has the course's
bus: its events carry neither a number nor an id, so only their content can help.
"""

import json
from typing import Any

from lab.domain.model import FeedEntry
from lab.domain.services import BUS
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import KNOWN_WITHIN_S, ExerciseTestbed, ObservedResponse


async def check(testbed: ExerciseTestbed) -> None:
    written: dict[str, list[str]] = {}  # the posts, each with its comments

    def is_complete(entries: list[FeedEntry]) -> bool:
        return [entry.id for entry in entries] == list(written)[::-1] and all(
            [comment.id for comment in entry.comments] == written[entry.id]
            and all(comment.status != "pending" for comment in entry.comments)
            for entry in entries
        )

    async def write(title: str, content: str) -> None:
        post_id = await testbed.post(title)
        written[post_id] = [await testbed.comment(post_id, content)]

    async def check_feed(key: str) -> bool:
        complete, response = await testbed.feed_until(is_complete)
        return testbed.record(
            key,
            complete,
            f"{_describe_counts(response)}; written were {len(written)} and {len(written)}",
        )

    await write("Hello", "First!")
    await write("Another", "An orange one")
    if not await check_feed("calm"):
        return

    async with testbed.fault_active("duplicate", "query") as duplicate_fault:
        await write("Twice", "Told twice")
        await testbed.feed_until(is_complete, KNOWN_WITHIN_S / 2)
    if not duplicate_fault.acted:
        testbed.record(
            "twice",
            False,
            "your program processed nothing twice, although the fault delivered events twice",
        )
    else:
        await check_feed("twice")

    await _redeliver_all(testbed)
    await check_feed("again")

    async with testbed.fault_active("down", "query"):
        pass
    await _redeliver_all(testbed)
    await check_feed("remembers")

    await write("Hello", "First!")
    post, (comment,) = list(written.items())[-1]
    complete, response = await testbed.feed_until(
        lambda entries: any(
            entry.id == post and comment in [each.id for each in entry.comments]
            for entry in entries
        )
    )
    testbed.record(
        "hears", complete, f"they are {'in' if complete else 'not in'} {response.summary()}"
    )


async def _redeliver_all(testbed: ExerciseTestbed) -> None:
    """POST all events of the bus so far to `query` again, in the same order."""
    answer = await testbed.ask("GET", BUS, "/events")
    events: list[dict[str, Any]] = json.loads(answer.body)
    for event in events:
        await testbed.ask("POST", "query", "/events", event)


def _describe_counts(response: ObservedResponse) -> str:
    entries = response.feed()
    if entries is None:
        return response.summary()
    comments = [comment for entry in entries for comment in entry.comments]
    pending = sum(comment.status == "pending" for comment in comments)
    return (
        f"{len(entries)} posts and {len(comments)} comments in the feed, {pending} of them pending"
    )


EXERCISE = Exercise(
    name="idempotent",
    title="Make a consumer idempotent: hear a thing twice, and know it once",
    submissions=(Submission("async-bus", "query", "query.py", {"bus": "course", "dedupe": False}),),
    check=check,
    criteria=(
        GradedCriterion(
            "calm",
            "While no event is delivered twice, the feed has each post, and each comment with its "
            "verdict.",
            "Leave what already works as it is.",
        ),
        GradedCriterion(
            "twice",
            "When the bus delivers each event twice in a row, the feed has each post and each "
            "comment once.",
            "How do you see that two events are about the same thing? Let the table say it: a "
            "PRIMARY KEY, and what to do ON CONFLICT.",
        ),
        GradedCriterion(
            "again",
            "When all events are delivered once more, later, the feed and its verdicts stay the "
            "same.",
            "A CommentCreated that comes late describes a pending comment. Is that news, when the "
            "verdict is known?",
        ),
        GradedCriterion(
            "remembers",
            "The same after query was killed and started again.",
            "Where do you keep what you have heard? A set in memory dies with the process.",
        ),
        GradedCriterion(
            "hears",
            "A new post with the title of an old one is a new post, and so with comments.",
            "Two things may say the same and still be two: go by the id.",
        ),
    ),
)
