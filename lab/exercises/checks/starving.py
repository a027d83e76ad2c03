"""Repair a bus that starves its subscribers.

The course's bus, as many write it: an array, and one POST after the other to each subscriber. If
one subscriber is down, those after it get no event; if one hangs, those after it wait.
"""

import json

from lab.domain.model import FeedEntry
from lab.domain.services import BUS
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import Bench, Seen

WITHIN_S = 2.0
MANY = 10
IN_THE_WAY = "comments"


async def check(bench: Bench) -> None:
    posts: list[str] = []

    async def write(count: int = 1) -> None:
        posts.extend([await bench.post(f"Post {len(posts)}") for _ in range(count)])

    def whole(entries: list[FeedEntry]) -> bool:
        return {entry.id for entry in entries} == set(posts)

    await write()
    comment = await bench.comment(posts[0], "Hello")

    def judged(entries: list[FeedEntry]) -> bool:
        known = {one.id: one.status for entry in entries for one in entry.comments}
        return whole(entries) and known == {comment: "approved"}

    fine, look = await bench.feed_when(judged)
    if not bench.note("calm", fine, f"{look.shown()}; written were 1 and {int(bool(comment))}"):
        return

    for key, kind in (("down", "down"), ("refusing", "error"), ("hanging", "hang")):
        heard = len(posts)
        async with bench.broken(kind, IN_THE_WAY):
            await write(MANY)
            fine, look = await bench.feed_when(whole, WITHIN_S)
            if key == "hanging":
                array = await bench.ask("GET", BUS, "/events", within_s=WITHIN_S)
        shown = {entry.id for entry in look.feed() or []} & set(posts[heard:])
        bench.note(
            key, fine, f"{len(shown)} of {MANY} new posts came to query within {WITHIN_S:g} s"
        )

    told = _posts_in(array)
    seen = f"{array}, with {len(told)} of {len(posts)} posts"
    bench.note("answers", sorted(told) == sorted(posts), seen)

    await write()
    comment_after = await bench.comment(posts[-1], "Back again")
    seen = "it took a comment on a new post" if comment_after else "it never heard of a new post"
    bench.note("back", bool(comment_after), seen)


def _posts_in(array: Seen) -> list[str]:
    """The ids of the posts whose PostCreated the bus has stored; [] if its answer is malformed."""
    try:
        return [event["data"]["id"] for event in json.loads(array.body) if _is_post(event)]
    except (ValueError, TypeError, LookupError):
        return []


def _is_post(event: dict[str, object]) -> bool:
    return event["type"] == "PostCreated"


EXERCISE = Exercise(
    name="starving",
    title="Repair a bus that starves its subscribers",
    pieces=(Piece("async-bus", BUS, "bus.py", {"bus": "course"}),),
    check=check,
    criteria=(
        Criterion(
            "calm",
            "While all are well, a post and a comment with its verdict come into the feed.",
            "Leave what already works as it is: every subscriber gets every event, once.",
        ),
        Criterion(
            "down",
            f"While {IN_THE_WAY} is down, query hears of new posts within {WITHIN_S:g} s.",
            "Who is told behind the one that is down? Where does the error go, and what does it "
            "skip?",
        ),
        Criterion(
            "refusing",
            f"While {IN_THE_WAY} answers every event with an error, the same.",
            "One subscriber's trouble is nobody else's: catch the error where only that one is "
            "concerned.",
        ),
        Criterion(
            "hanging",
            f"While {IN_THE_WAY} takes events and never answers, the same.",
            "Catching errors does not help: there is none. Whoever waits in a row waits for the "
            "slowest. How can the bus tell several at once (asyncio.create_task)?",
        ),
        Criterion(
            "answers",
            f"Even then `GET /events` is answered within {WITHIN_S:g} s, with every event once.",
            "The bus keeps an event and says OK; the telling goes on behind it.",
        ),
        Criterion(
            "back",
            f"When {IN_THE_WAY} is well again, it hears what is new.",
            "Don't give a subscriber up for ever because it failed for a while.",
        ),
    ),
)
