"""Give the chain a timeout that saves the feed.

`query` calls `comments` and waits up to a minute for the answer. While `comments` hangs, each
reader occupies one of the eight workers of `query`; the ninth reader is not even accepted. A
timeout frees the worker, and leaves a decision: what do readers get instead?
"""

from lab.domain.model import FeedEntry
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import Bench, median_and_max

WITHIN_S = 1.0
READERS, EVERY_S = 20, 0.1
ORDINARY_MS = 60


async def check(bench: Bench) -> None:
    posts = [await bench.post(f"Post {number}") for number in range(3)]
    comments = {await bench.comment(posts[0], "First"), await bench.comment(posts[2], "Second")}

    def whole(entries: list[FeedEntry]) -> bool:
        shown = {comment.id for entry in entries for comment in entry.comments}
        return [entry.id for entry in entries] == posts[::-1] and shown == comments

    fine, look = await bench.feed_when(whole)
    if not bench.note("calm", fine, look.shown()):
        return

    async with bench.broken("hang", "comments"):
        looks = await bench.feeds(READERS, EVERY_S, within_s=4 * WITHIN_S)
    late = [look for look in looks if not look.status or look.took_ms > WITHIN_S * 1_000]
    seen = f"{len(late)} of {READERS} readers waited longer: {median_and_max(looks)}"
    bench.note("in time", not late, seen)
    without = [look for look in looks if [entry.id for entry in look.feed() or []] != posts[::-1]]
    seen = f"{len(without)} of {READERS} had no feed with the posts"
    bench.note("posts", not without, seen + (f"; one had {without[0]}" if without else ""))

    back, look = await bench.feed_when(whole)
    bench.note("back", back, look.shown())

    async with bench.broken("latency", "comments", ms=ORDINARY_MS):
        looks = await bench.feeds(5, EVERY_S, within_s=4 * WITHIN_S)
    good = sum(whole(look.feed() or []) for look in looks)
    bench.note("patient", good == len(looks), f"{good} of {len(looks)} feeds had all comments")

    async with bench.broken("hang", "posts"):
        looks = await bench.feeds(3, EVERY_S, within_s=4 * WITHIN_S)
    honest = all(500 <= look.status < 600 and look.took_ms <= WITHIN_S * 1_000 for look in looks)
    bench.note("honest", honest, "; ".join(map(str, looks)))


EXERCISE = Exercise(
    name="timeout",
    title="Give the chain a timeout that saves the feed",
    pieces=(Piece("sync-chain", "query", "query.py"),),
    check=check,
    criteria=(
        Criterion(
            "calm",
            "While nothing is broken, the feed has all posts and all comments.",
            "Leave what already works as it is: know_posts, know_comments, feed_of.",
        ),
        Criterion(
            "in time",
            f"While comments hangs, every reader has an answer within {WITHIN_S:g} s.",
            "How long does query wait for comments? A hanging service takes connections and never "
            "answers, and query has eight workers: how many readers can wait at once, and what "
            "becomes of the ninth?",
        ),
        Criterion(
            "posts",
            "While comments hangs, the feed still has all posts.",
            "A timeout turns waiting into an error (lab.domain.errors: what kind is it?). Which "
            "part of the feed can do without an answer, and which can't?",
        ),
        Criterion(
            "back",
            "When comments is well again, so is the feed.",
            "What you did for the bad time must end with it: ask again for every feed.",
        ),
        Criterion(
            "patient",
            f"While comments takes {ORDINARY_MS} ms longer, as on any busy day, no comment is "
            "missing.",
            "A timeout is a bet on what is ordinary. Which is shorter than every outage, and "
            "longer than a busy day?",
        ),
        Criterion(
            "honest",
            f"While posts hangs, readers get an error (5xx) within {WITHIN_S:g} s, not an empty "
            "feed.",
            "An empty feed says that nobody has written anything. Is that known?",
        ),
    ),
)
