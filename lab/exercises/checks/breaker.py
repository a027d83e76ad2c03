"""Write a circuit breaker: stop calling a failing service, and try again later.

`query` calls `comments`, which is overloaded. Each call costs a reader half a second and adds load
to `comments`. After five failures in a row `query` should know what the sixth call will bring.
"""

from lab.domain.model import FeedEntry
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import ExerciseTestbed, ObservedResponse

TIMEOUT_MS = 500
QUICK_MS = 200
BACK_WITHIN_S = 3.0
READERS, EVERY_S = 40, 0.05
MOST_ASKED = 12


async def check(testbed: ExerciseTestbed) -> None:
    post = await testbed.post("Hello")
    comment = await testbed.comment(post, "First!")

    def is_complete(entries: list[FeedEntry]) -> bool:
        return [[each.id for each in entry.comments] for entry in entries] == [[comment]]

    complete, response = await testbed.feed_until(is_complete)
    if not testbed.record("calm", complete, response.summary()):
        return

    recovered = []
    for _ in range(2):
        async with testbed.fault_active("error", "comments", status=503, first=4):
            responses = [await testbed.feed() for _ in range(5)]
        recovered.append(is_complete(responses[-1].feed() or []))
    observed = "after four failures, and after four more, the next reader had " + _describe_feeds(
        recovered
    )
    testbed.record("few", all(recovered), observed)

    async with (
        testbed.fault_active("latency", "posts", ms=0) as at_posts,
        testbed.fault_active("error", "comments", status=503) as at_comments,
    ):
        responses = await testbed.feeds(READERS, EVERY_S, within_s=3.0)
    calls = at_comments.evidence["acted"]
    observed = f"{calls} of {READERS} questions came to comments in {READERS * EVERY_S:g} s"
    testbed.record("open", calls <= MOST_ASKED and _count_errors(responses) == READERS, observed)
    calls = at_posts.evidence["acted"]
    testbed.record("others", calls >= READERS, f"{calls} of {READERS} questions came to posts")

    restored, response = await testbed.feed_until(is_complete, BACK_WITHIN_S)
    testbed.record("back", restored, response.summary())

    async with testbed.fault_active("hang", "comments"):
        responses = await testbed.feeds(READERS, EVERY_S, within_s=5.0)
    quick = sum(look.took_ms <= QUICK_MS for look in responses if look.status >= 500)
    observed = f"{quick} of {READERS} had their error within {QUICK_MS} ms"
    testbed.record("quick", quick >= READERS // 2, observed)


def _describe_feeds(recovered: list[bool]) -> str:
    return " and ".join("a feed" if has_feed else "an error" for has_feed in recovered)


def _count_errors(responses: list[ObservedResponse]) -> int:
    return sum(500 <= look.status < 600 for look in responses)


EXERCISE = Exercise(
    name="breaker",
    title="Write a circuit breaker",
    submissions=(Submission("sync-chain", "query", "query.py", {"timeout_ms": TIMEOUT_MS}),),
    check=check,
    criteria=(
        GradedCriterion(
            "calm",
            "While nothing is broken, the feed is whole.",
            "A breaker that is closed lets every question through.",
        ),
        GradedCriterion(
            "few",
            "Four failures, a success, four failures: the circuit is still closed.",
            "Five failures *in a row* open it. What does a success do to the count?",
        ),
        GradedCriterion(
            "open",
            f"While comments fails, of {READERS} questions at most {MOST_ASKED} are asked; "
            "readers get an error (5xx).",
            "After the fifth failure in a row, refuse at once (may_ask), for a second.",
        ),
        GradedCriterion(
            "others",
            "Meanwhile every reader's question to posts is asked.",
            "Posts has done nothing wrong: count for each service by itself.",
        ),
        GradedCriterion(
            "back",
            f"When comments is well again, the feed is whole within {BACK_WITHIN_S:g} s.",
            "An open circuit must try again: after a second let one question through, and let what "
            "becomes of it decide.",
        ),
        GradedCriterion(
            "quick",
            f"While comments hangs, half of the readers at least have their error within "
            f"{QUICK_MS} ms, and don't wait for a timeout.",
            "A timeout is a failure, too. And how many questions are under way as trials while the "
            "circuit is open?",
        ),
    ),
)
