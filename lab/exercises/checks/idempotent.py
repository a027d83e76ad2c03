"""Make a consumer idempotent: consume an event twice, apply it once.

A bus that retries after a missing answer can guarantee no more than *at least once*. `query` keeps
a copy of what it consumes, and applies each event as if it were new. This stack has the course's
bus: its events carry neither a number nor an id, so only their content can help.
"""

import json
from typing import Any

from lab.domain.model import FeedEntry
from lab.domain.services import BUS
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import KNOWN_WITHIN_S, Bench, Seen


async def check(bench: Bench) -> None:
    written: dict[str, list[str]] = {}  # the posts, each with its comments

    def whole(entries: list[FeedEntry]) -> bool:
        return [entry.id for entry in entries] == list(written)[::-1] and all(
            [comment.id for comment in entry.comments] == written[entry.id]
            and all(comment.status != "pending" for comment in entry.comments)
            for entry in entries
        )

    async def write(title: str, content: str) -> None:
        post = await bench.post(title)
        written[post] = [await bench.comment(post, content)]

    async def see(key: str) -> bool:
        fine, look = await bench.feed_when(whole)
        return bench.note(
            key, fine, f"{_counts(look)}; written were {len(written)} and {len(written)}"
        )

    await write("Hello", "First!")
    await write("Another", "An orange one")
    if not await see("calm"):
        return

    async with bench.broken("duplicate", "query") as twice:
        await write("Twice", "Told twice")
        await bench.feed_when(whole, KNOWN_WITHIN_S / 2)
    if not twice.acted:
        bench.note("twice", False, "your program let nothing in twice, though it was told to")
    else:
        await see("twice")

    await _tell_again(bench)
    await see("again")

    async with bench.broken("down", "query"):
        pass
    await _tell_again(bench)
    await see("remembers")

    await write("Hello", "First!")
    post, (comment,) = list(written.items())[-1]
    fine, look = await bench.feed_when(
        lambda entries: any(
            entry.id == post and comment in [one.id for one in entry.comments] for entry in entries
        )
    )
    bench.note("hears", fine, f"they are {'in' if fine else 'not in'} {look.shown()}")


async def _tell_again(bench: Bench) -> None:
    """POST all events of the bus so far to `query` again, in the same order."""
    told = await bench.ask("GET", BUS, "/events")
    events: list[dict[str, Any]] = json.loads(told.body)
    for event in events:
        await bench.ask("POST", "query", "/events", event)


def _counts(look: Seen) -> str:
    entries = look.feed()
    if entries is None:
        return look.shown()
    comments = [comment for entry in entries for comment in entry.comments]
    pending = sum(comment.status == "pending" for comment in comments)
    return (
        f"{len(entries)} posts and {len(comments)} comments in the feed, {pending} of them pending"
    )


EXERCISE = Exercise(
    name="idempotent",
    title="Make a consumer idempotent: hear a thing twice, and know it once",
    pieces=(Piece("async-bus", "query", "query.py", {"bus": "course", "dedupe": False}),),
    check=check,
    criteria=(
        Criterion(
            "calm",
            "While nothing is told twice, the feed has each post, and each comment with its "
            "verdict.",
            "Leave what already works as it is.",
        ),
        Criterion(
            "twice",
            "When the bus tells each event twice in a row, the feed has each thing once.",
            "What says that two events tell of the same thing? Let the table say it: a PRIMARY "
            "KEY, and what to do ON CONFLICT.",
        ),
        Criterion(
            "again",
            "When everything is told once more, later, the feed stays as it was, verdicts too.",
            "A CommentCreated that comes late tells of a pending comment. Is that news, when the "
            "verdict is known?",
        ),
        Criterion(
            "remembers",
            "The same after query was killed and started again.",
            "Where do you keep what you have heard? A set in memory dies with the process.",
        ),
        Criterion(
            "hears",
            "A new post with the title of an old one is a new post, and so with comments.",
            "Two things may say the same and still be two: go by the id.",
        ),
    ),
)
