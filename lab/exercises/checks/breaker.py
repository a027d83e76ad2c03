"""Write a circuit breaker: stop calling a failing service, and try again later.

`query` calls `comments`, which is overloaded. Each call costs a reader half a second and adds load
to `comments`. After five failures in a row `query` should know what the sixth call will bring.
"""

from lab.domain.model import FeedEntry
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import Bench, Seen

TIMEOUT_MS = 500
QUICK_MS = 200
BACK_WITHIN_S = 3.0
READERS, EVERY_S = 40, 0.05
MOST_ASKED = 12


async def check(bench: Bench) -> None:
    post = await bench.post("Hello")
    comment = await bench.comment(post, "First!")

    def whole(entries: list[FeedEntry]) -> bool:
        return [[one.id for one in entry.comments] for entry in entries] == [[comment]]

    fine, look = await bench.feed_when(whole)
    if not bench.note("calm", fine, look.shown()):
        return

    good = []
    for _ in range(2):
        async with bench.broken("error", "comments", status=503, first=4):
            looks = [await bench.feed() for _ in range(5)]
        good.append(whole(looks[-1].feed() or []))
    seen = f"after four failures, and after four more, the next reader had {_had(good)}"
    bench.note("few", all(good), seen)

    async with (
        bench.broken("latency", "posts", ms=0) as at_posts,
        bench.broken("error", "comments", status=503) as at_comments,
    ):
        looks = await bench.feeds(READERS, EVERY_S, within_s=3.0)
    asked = at_comments.evidence["acted"]
    seen = f"{asked} of {READERS} questions came to comments in {READERS * EVERY_S:g} s"
    bench.note("open", asked <= MOST_ASKED and _refused(looks) == READERS, seen)
    asked = at_posts.evidence["acted"]
    bench.note("others", asked >= READERS, f"{asked} of {READERS} questions came to posts")

    back, look = await bench.feed_when(whole, BACK_WITHIN_S)
    bench.note("back", back, look.shown())

    async with bench.broken("hang", "comments"):
        looks = await bench.feeds(READERS, EVERY_S, within_s=5.0)
    quick = sum(look.took_ms <= QUICK_MS for look in looks if look.status >= 500)
    seen = f"{quick} of {READERS} had their error within {QUICK_MS} ms"
    bench.note("quick", quick >= READERS // 2, seen)


def _had(good: list[bool]) -> str:
    return " and ".join("a feed" if one else "an error" for one in good)


def _refused(looks: list[Seen]) -> int:
    return sum(500 <= look.status < 600 for look in looks)


EXERCISE = Exercise(
    name="breaker",
    title="Write a circuit breaker",
    pieces=(Piece("sync-chain", "query", "query.py", {"timeout_ms": TIMEOUT_MS}),),
    check=check,
    criteria=(
        Criterion(
            "calm",
            "While nothing is broken, the feed is whole.",
            "A breaker that is closed lets every question through.",
        ),
        Criterion(
            "few",
            "Four failures, a success, four failures: the circuit is still closed.",
            "Five failures *in a row* open it. What does a success do to the count?",
        ),
        Criterion(
            "open",
            f"While comments fails, of {READERS} questions at most {MOST_ASKED} are asked; "
            "readers get an error (5xx).",
            "After the fifth failure in a row, refuse at once (may_ask), for a second.",
        ),
        Criterion(
            "others",
            "Meanwhile every reader's question to posts is asked.",
            "Posts has done nothing wrong: count for each service by itself.",
        ),
        Criterion(
            "back",
            f"When comments is well again, the feed is whole within {BACK_WITHIN_S:g} s.",
            "An open circuit must try again: after a second let one question through, and let what "
            "becomes of it decide.",
        ),
        Criterion(
            "quick",
            f"While comments hangs, half of the readers at least have their error within "
            f"{QUICK_MS} ms, and don't wait for a timeout.",
            "A timeout is a failure, too. And how many questions are under way as trials while the "
            "circuit is open?",
        ),
    ),
)
