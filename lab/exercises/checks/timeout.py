"""Give the chain a timeout that saves the feed.

`query` calls `comments` and waits up to a minute for the answer. While `comments` hangs, each
reader occupies one of the eight workers of `query`; the ninth reader is not even accepted. A
timeout frees the worker, and leaves a decision: what do readers get instead?
"""

from lab.domain.model import FeedEntry
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import ExerciseTestbed, median_and_max

WITHIN_S = 1.0
READERS, EVERY_S = 20, 0.1
ORDINARY_MS = 60


async def check(testbed: ExerciseTestbed) -> None:
    posts = [await testbed.post(f"Post {number}") for number in range(3)]
    comments = {await testbed.comment(posts[0], "First"), await testbed.comment(posts[2], "Second")}

    def is_complete(entries: list[FeedEntry]) -> bool:
        shown = {comment.id for entry in entries for comment in entry.comments}
        return [entry.id for entry in entries] == posts[::-1] and shown == comments

    complete, response = await testbed.feed_until(is_complete)
    if not testbed.record("calm", complete, response.summary()):
        return

    async with testbed.fault_active("hang", "comments"):
        responses = await testbed.feeds(READERS, EVERY_S, within_s=4 * WITHIN_S)
    late = [look for look in responses if not look.status or look.took_ms > WITHIN_S * 1_000]
    observed = f"{len(late)} of {READERS} readers waited longer: {median_and_max(responses)}"
    testbed.record("in time", not late, observed)
    without_posts = [
        look for look in responses if [entry.id for entry in look.feed() or []] != posts[::-1]
    ]
    observed = f"{len(without_posts)} of {READERS} had no feed with the posts"
    testbed.record(
        "posts",
        not without_posts,
        observed + (f"; one had {without_posts[0]}" if without_posts else ""),
    )

    restored, response = await testbed.feed_until(is_complete)
    testbed.record("back", restored, response.summary())

    async with testbed.fault_active("latency", "comments", ms=ORDINARY_MS):
        responses = await testbed.feeds(5, EVERY_S, within_s=4 * WITHIN_S)
    complete_feeds = sum(is_complete(look.feed() or []) for look in responses)
    testbed.record(
        "patient",
        complete_feeds == len(responses),
        f"{complete_feeds} of {len(responses)} feeds had all comments",
    )

    async with testbed.fault_active("hang", "posts"):
        responses = await testbed.feeds(3, EVERY_S, within_s=4 * WITHIN_S)
    all_errors = all(
        500 <= look.status < 600 and look.took_ms <= WITHIN_S * 1_000 for look in responses
    )
    testbed.record("honest", all_errors, "; ".join(map(str, responses)))


EXERCISE = Exercise(
    name="timeout",
    title="Give the chain a timeout that saves the feed",
    submissions=(Submission("sync-chain", "query", "query.py"),),
    check=check,
    criteria=(
        GradedCriterion(
            "calm",
            "While nothing is broken, the feed has all posts and all comments.",
            "Leave what already works as it is: know_posts, know_comments, feed_of.",
        ),
        GradedCriterion(
            "in time",
            f"While comments hangs, every reader has an answer within {WITHIN_S:g} s.",
            "How long does query wait for comments? A hanging service takes connections and never "
            "answers, and query has eight workers: how many readers can wait at once, and what "
            "becomes of the ninth?",
        ),
        GradedCriterion(
            "posts",
            "While comments hangs, the feed still has all posts.",
            "A timeout turns waiting into an error (lab.domain.errors: what kind is it?). Which "
            "part of the feed can do without an answer, and which can't?",
        ),
        GradedCriterion(
            "back",
            "When comments is well again, so is the feed.",
            "What you did for the bad time must end with it: ask again for every feed.",
        ),
        GradedCriterion(
            "patient",
            f"While comments takes {ORDINARY_MS} ms longer, as on any busy day, no comment is "
            "missing.",
            "A timeout is a bet on what is ordinary. Which is shorter than every outage, and "
            "longer than a busy day?",
        ),
        GradedCriterion(
            "honest",
            f"While posts hangs, readers get an error (5xx) within {WITHIN_S:g} s, not an empty "
            "feed.",
            "An empty feed says that there are no posts. Is that known?",
        ),
    ),
)
