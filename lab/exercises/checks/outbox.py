"""Write the outbox: each stored post is published, and each published post is stored.

`posts` stores a post and then publishes it. Between the two, the bus may be down or `posts` may be
killed. Then the post is stored and its writer has a 201, but no other service ever learns of it.
"""

import json
from collections import Counter

from lab.domain.model import FeedEntry
from lab.domain.services import BUS
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import Bench, Seen

ANSWER_WITHIN_MS = 500
TOLD_WITHIN_S = 4.0
MANY = 3


async def check(bench: Bench) -> None:
    acknowledged: list[str] = []
    slow: list[Seen] = []

    async def write(count: int) -> int:
        """The number of posts that were accepted in time."""
        taken = 0
        for _ in range(count):
            answer = await bench.ask("POST", "posts", "/posts", {"title": f"{len(acknowledged)}"})
            post_id = _id_of(answer)
            if answer.status == 201 and post_id:
                acknowledged.append(post_id)
                taken += answer.took_ms <= ANSWER_WITHIN_MS
            if answer.status != 201 or answer.took_ms > ANSWER_WITHIN_MS:
                slow.append(answer)
        return taken

    def whole(entries: list[FeedEntry]) -> bool:
        return set(acknowledged) <= {entry.id for entry in entries}

    async def see(key: str, taken: int = MANY) -> bool:
        fine, look = await bench.feed_when(whole, TOLD_WITHIN_S)
        missing = len(set(acknowledged) - {entry.id for entry in look.feed() or []})
        seen = f"{taken} of {MANY} posts were taken in time, and {missing} acknowledged ones "
        seen += "are not in the feed"
        return bench.note(key, fine and taken == MANY, seen + (f"; {slow[-1]}" if slow else ""))

    if not await see("calm", await write(MANY)):
        return
    async with bench.broken("down", BUS):
        taken = await write(MANY)
    await see("away", taken)

    async with bench.broken("down", BUS):
        taken = await write(MANY)
        async with bench.broken("down", "posts"):
            pass  # killed and restarted while the bus is still down
    await see("killed", taken)

    slow.clear()
    async with bench.broken("hang", BUS):
        taken = await write(MANY)
    await see("hanging", taken)

    refused = await bench.ask("POST", "posts", "/posts", {"title": " "})
    told = _told_of(await bench.ask("GET", BUS, "/events?after=0"))
    strangers = [one for one in told if one not in acknowledged]
    seen = (
        f"{refused.status} for a post without a title, and {len(strangers)} events tell of others"
    )
    bench.note("refused", refused.status == 400 and not strangers, seen)
    often = sum(count > 1 for count in told.values())
    bench.note("once", bool(told) and not often, f"{often} of {len(told)} posts were told twice")


def _id_of(answer: Seen) -> str:
    try:
        return str(json.loads(answer.body)["id"])
    except (ValueError, TypeError, LookupError):
        return ""


def _told_of(log: Seen) -> Counter[str]:
    """The number of PostCreated events per post in the bus's log."""
    events = [json.loads(line) for line in log.body.splitlines()]
    return Counter(one["data"].get("id", "") for one in events if one["type"] == "PostCreated")


EXERCISE = Exercise(
    name="outbox",
    title="Write the outbox",
    pieces=(Piece("async-bus", "posts", "posts.py", {"outbox": False}),),
    check=check,
    criteria=(
        Criterion(
            "calm",
            "While nothing is broken, a new post comes into the feed.",
            "Leave what already works as it is.",
        ),
        Criterion(
            "away",
            f"While the bus is away posts are taken within {ANSWER_WITHIN_MS} ms; when it is back, "
            f"they come into the feed within {TOLD_WITHIN_S:g} s.",
            "Put the event into a table, in the same transaction as the post. Something else, a "
            "thread, brings what is in there to the bus, and tries again until the bus has it.",
        ),
        Criterion(
            "killed",
            "The same when posts is killed before the bus is back.",
            "What is on disk survives: begin with what is still in the table. And don't take an "
            "event out before the bus has said that it has it.",
        ),
        Criterion(
            "hanging",
            "While the bus hangs, posts are taken just as fast, and told when it goes on.",
            "Is there anything left in the handler that waits for the bus?",
        ),
        Criterion(
            "refused",
            "A post that is refused is not told.",
            "Tell only what is committed.",
        ),
        Criterion(
            "once",
            "No post is on the bus twice.",
            "An event that is sent again must be the same event, with the same id: then the bus "
            "knows it. Make the envelope once, when you put it into the table.",
        ),
    ),
)
