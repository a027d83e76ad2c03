"""Rebuild a read model from the log: from its first event, each once, despite restarts.

A count shows errors best: an event applied twice makes it too large, a missed one too small, and no
primary key prevents that. The check publishes the events itself, so there can be many at once. It
kills `popular` as soon as it has begun to consume them: a program that makes two commits per event
is then often between the two.
"""

from functools import partial

from lab.domain.events import CommentUpdated, Event, PostCreated
from lab.domain.model import Status, new_id
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import Bench, Seen

POSTS = 5
PAST, BACKLOG = 100, 300
KILLS = 8
WITHIN_S = 4.0
LOOK_EVERY_S = 0.002
POPULAR = ("GET", "popular", "/popular?limit=100")

Counts = dict[str, int]


async def check(bench: Bench) -> None:
    truth: Counts = {}

    async def tell(comments: int) -> None:
        """Publish comments on all posts in turn; every tenth is rejected and does not count."""
        posts, events = list(truth), list[Event]()
        for number in range(comments):
            post, stays = posts[number % len(posts)], number % 10 > 0
            events.append(_comment(post, "approved" if stays else "rejected"))
            truth[post] += stays
        await bench.tell(*events)

    async def write(title: str) -> None:
        """Write a post and a comment through the blog itself."""
        post = await bench.post(title)
        truth[post] = int(bool(await bench.comment(post, "First!")))

    async def see(key: str) -> bool:
        fine, look = await bench.ask_when(
            *POPULAR, lambda look: _counts(look) == truth, within_s=WITHIN_S
        )
        return bench.note(key, fine, f"{_shown(look)}; written were {_words(truth)}")

    for number in range(POSTS):
        truth[post := new_id()] = 0
        await bench.tell(PostCreated(id=post, title=f"Old post {number}"))
    await tell(PAST)
    await bench.start_student()
    if not await see("past"):
        return
    await write("Written while popular is there")
    await see("goes on")

    async with bench.broken("down", "popular"):
        await write("Written while popular was dead")
    await see("again")

    known, least = sum(truth.values()), list[bool]()
    for _ in range(KILLS):
        if known >= sum(truth.values()):  # on a slow disk the backlog left is long enough
            await tell(BACKLOG)
        _, look = await bench.ask_when(
            *POPULAR, partial(_goes_beyond, known), within_s=WITHIN_S / KILLS, every_s=LOOK_EVERY_S
        )
        known = _total(look)
        async with bench.broken("down", "popular"):
            pass
        shown = _total(await bench.ask(*POPULAR))
        least.append(shown >= known)
        known = shown
    await see("middle")
    seen = f"after {least.count(False)} of {KILLS} restarts it counted less than before"
    bench.note("resumes", all(least), seen)


def _comment(post: str, status: Status) -> CommentUpdated:
    return CommentUpdated(id=new_id(), post_id=post, content="An old comment", status=status)


def _counts(look: Seen) -> Counts | None:
    """The number of comments per post; None if the answer is something else."""
    try:
        return {str(one["id"]): int(one["comments"]) for one in look.data}
    except (TypeError, LookupError, ValueError):
        return None


def _total(look: Seen) -> int:
    return sum((_counts(look) or {}).values())


def _goes_beyond(known: int, look: Seen) -> bool:
    return _total(look) > known


def _words(counts: Counts) -> str:
    return f"{sum(counts.values())} comments on {len(counts)} posts"


def _shown(look: Seen) -> str:
    counts = _counts(look)
    return f"{look}, with no counts" if counts is None else f"{_words(counts)} are shown"


EXERCISE = Exercise(
    name="rebuild",
    title="Rebuild a read model from the log",
    pieces=(Piece("async-bus", "popular", "popular.py"),),
    check=check,
    criteria=(
        Criterion(
            "past",
            "Started with an empty database beside a blog with a past, it shows every post, and "
            f"how many approved comments it has, within {WITHIN_S:g} s.",
            "The log keeps everything. Where in it do you begin to read, and where should somebody "
            "who knows nothing yet?",
        ),
        Criterion(
            "goes on",
            "What is written after that comes in, too.",
            "Having caught up is no reason to stop: read on behind the last event that you know.",
        ),
        Criterion(
            "again",
            "Killed and started again, it counts nothing twice, and hears what was written "
            "meanwhile.",
            "How does the new process know how far the old one had read? A variable dies with its "
            "process.",
        ),
        Criterion(
            "middle",
            f"Killed {KILLS} times while it catches up, it counts nothing twice, misses nothing.",
            "You change two things for each event: a count, and how far you have read. What is "
            "there after a kill between the two? What can make one thing of them?",
        ),
        Criterion(
            "resumes",
            "Started again it goes on where it was, and never shows less than before.",
            "With a log of a year, to begin anew takes hours: keep what you have.",
        ),
    ),
)
