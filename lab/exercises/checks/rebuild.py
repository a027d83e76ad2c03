"""Rebuild a read model from the log: from its first event, each once, despite restarts.

A count shows errors best: an event applied twice makes it too large, a missed one too small, and no
primary key prevents that. The check publishes the events itself, so there can be many at once. It
kills `popular` as soon as it has begun to consume them: a program that makes two commits per event
is then often between the two.
"""

from functools import partial

from lab.domain.events import CommentUpdated, Event, PostCreated
from lab.domain.model import Status, new_id
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import ExerciseTestbed, ObservedResponse

POSTS = 5
PAST, BACKLOG = 100, 300
KILLS = 8
WITHIN_S = 4.0
POLL_S = 0.002
POPULAR_REQUEST = ("GET", "popular", "/popular?limit=100")

CommentCounts = dict[str, int]


async def check(testbed: ExerciseTestbed) -> None:
    expected: CommentCounts = {}

    async def publish_comments(comments: int) -> None:
        """Publish comments on all posts in turn; every tenth is rejected and does not count."""
        posts, events = list(expected), list[Event]()
        for number in range(comments):
            post, approved = posts[number % len(posts)], number % 10 > 0
            events.append(_comment(post, "approved" if approved else "rejected"))
            expected[post] += approved
        await testbed.publish(*events)

    async def write(title: str) -> None:
        """Write a post and a comment through the blog itself."""
        post = await testbed.post(title)
        expected[post] = int(bool(await testbed.comment(post, "First!")))

    async def check_counts(key: str) -> bool:
        complete, response = await testbed.ask_until(
            *POPULAR_REQUEST, lambda look: _parse_counts(look) == expected, within_s=WITHIN_S
        )
        return testbed.record(
            key,
            complete,
            f"{_describe_response(response)}; written were {_describe_counts(expected)}",
        )

    for number in range(POSTS):
        expected[post := new_id()] = 0
        await testbed.publish(PostCreated(id=post, title=f"Old post {number}"))
    await publish_comments(PAST)
    await testbed.start_student()
    if not await check_counts("past"):
        return
    await write("Written while popular is there")
    await check_counts("goes on")

    async with testbed.fault_active("down", "popular"):
        await write("Written while popular was dead")
    await check_counts("again")

    last_total, never_less = sum(expected.values()), list[bool]()
    for _ in range(KILLS):
        if last_total >= sum(expected.values()):  # on a slow disk the backlog left is long enough
            await publish_comments(BACKLOG)
        _, response = await testbed.ask_until(
            *POPULAR_REQUEST,
            partial(_exceeds, last_total),
            within_s=WITHIN_S / KILLS,
            every_s=POLL_S,
        )
        last_total = _total(response)
        async with testbed.fault_active("down", "popular"):
            pass
        total = _total(await testbed.ask(*POPULAR_REQUEST))
        never_less.append(total >= last_total)
        last_total = total
    await check_counts("middle")
    observed = f"after {never_less.count(False)} of {KILLS} restarts it counted less than before"
    testbed.record("resumes", all(never_less), observed)


def _comment(post: str, status: Status) -> CommentUpdated:
    return CommentUpdated(id=new_id(), post_id=post, content="An old comment", status=status)


def _parse_counts(response: ObservedResponse) -> CommentCounts | None:
    """The number of comments per post; None if the answer is something else."""
    try:
        return {str(entry["id"]): int(entry["comments"]) for entry in response.data}
    except (TypeError, LookupError, ValueError):
        return None


def _total(response: ObservedResponse) -> int:
    return sum((_parse_counts(response) or {}).values())


def _exceeds(total: int, response: ObservedResponse) -> bool:
    return _total(response) > total


def _describe_counts(counts: CommentCounts) -> str:
    return f"{sum(counts.values())} comments on {len(counts)} posts"


def _describe_response(response: ObservedResponse) -> str:
    counts = _parse_counts(response)
    return (
        f"{response}, with no counts" if counts is None else f"{_describe_counts(counts)} are shown"
    )


EXERCISE = Exercise(
    name="rebuild",
    title="Rebuild a read model from the log",
    submissions=(Submission("async-bus", "popular", "popular.py"),),
    check=check,
    criteria=(
        GradedCriterion(
            "past",
            "Started with an empty database beside a blog with a past, it shows every post, and "
            f"how many approved comments it has, within {WITHIN_S:g} s.",
            "The log keeps everything. At which offset do you begin to read, and at which should a "
            "service that has no data yet?",
        ),
        GradedCriterion(
            "goes on",
            "What is written after that comes in, too.",
            "Having caught up is no reason to stop: read on behind the last event that you know.",
        ),
        GradedCriterion(
            "again",
            "Killed and started again, it counts nothing twice, and receives what was written "
            "meanwhile.",
            "How does the new process know how far the old one had read? A variable dies with its "
            "process.",
        ),
        GradedCriterion(
            "middle",
            f"Killed {KILLS} times while it catches up, it counts nothing twice, misses nothing.",
            "You change two things for each event: a count, and how far you have read. What is "
            "there after a kill between the two? What can make one thing of them?",
        ),
        GradedCriterion(
            "resumes",
            "Started again it goes on where it was, and never shows less than before.",
            "With a log of a year, to begin anew takes hours: keep what you have.",
        ),
    ),
)
