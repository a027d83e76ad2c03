"""Add a `likes` service to both stacks: the same feature, built in two ways.

Only `posts` knows whether a post exists. In the chain, `likes` asks it for each like; on the bus,
`likes` has a copy built from `PostCreated`. Both run as guests: no other service changes.
"""

import asyncio
from typing import Any

from lab.domain.services import BUS
from lab.exercises.exercise import Criterion, Exercise, Piece
from lab.exercises.testbed import Bench, Seen

MANY = 12
HEARD_WITHIN_S = 1.0
REFUSED_WITHIN_MS = 1_000
NOWHERE = "0" * 14


async def check(chain: Bench, bus: Bench) -> None:
    if post := await _on_an_ordinary_day(chain, "chain"):
        await _of_one_who_asks(chain, post)
    if post := await _on_an_ordinary_day(bus, "bus"):
        await _of_one_who_has_heard(bus, post)


async def _of_one_who_asks(bench: Bench, post: str) -> None:
    likes = 1 + MANY
    async with bench.broken("down", "posts"):
        answer = await _like(bench, post)
        meanwhile = await _count(bench, post)
    refused = 500 <= answer.status < 600 and answer.took_ms <= REFUSED_WITHIN_MS
    seen = f"{answer} for a like, and {meanwhile} likes of {likes} told of meanwhile"
    bench.note("chain down", refused and meanwhile == likes, seen)

    async with bench.broken("down", "likes"):
        pass
    kept, answer = await _count(bench, post), await _like(bench, post)
    now = await _count(bench, post)
    seen = f"{likes} likes were taken, {kept} are there after the restart; {answer} for one more, "
    seen += f"and then {now}"
    as_wanted = kept == likes and answer.status == 201 and now == likes + 1
    bench.note("chain again", as_wanted, seen)


async def _of_one_who_has_heard(bench: Bench, post: str) -> None:
    likes = 1 + MANY
    async with bench.broken("down", "posts"), bench.broken("down", BUS):
        answer = await _like(bench, post)
        likes += answer.status == 201
        meanwhile = await _count(bench, post)
    seen = f"{answer} for a like, and {meanwhile} likes told of meanwhile"
    bench.note("bus down", answer.status == 201 and meanwhile == likes, seen)

    async with bench.broken("down", "likes"):
        newer = await bench.post("Written while likes was away")
    kept, answer = await _count(bench, post), await _like(bench, post)
    heard, of_newer = await _like_when_known(bench, newer)
    seen = f"{likes} likes were taken, {kept} are there after the restart; {answer} for one more, "
    seen += f"{of_newer} for the new post"
    bench.note("bus again", heard and answer.status == 201 and kept == likes, seen)


async def _on_an_ordinary_day(bench: Bench, side: str) -> str:
    """Start `likes`, and like a post that existed before it; the post's id, "" if that fails."""
    post = await bench.post("Written before likes was there")
    await bench.start_student()
    known, first = await _like_when_known(bench, post)
    others = await asyncio.gather(*(_like(bench, post) for _ in range(MANY))) if known else []
    taken = [answer for answer in (first, *others) if answer.status == 201]
    count = await _count(bench, post)
    seen = f"{len(taken)} of {1 + MANY} were taken, and {count} are counted"
    if not taken:
        seen += f"; the first like was answered with {first}"
    if not bench.note(side, len(taken) == 1 + MANY == count, seen):
        return ""
    answer, count = await _like(bench, NOWHERE), await _count(bench, NOWHERE)
    seen = f"{answer}, and the likes of it are told to be {count}"
    bench.note(f"{side} unknown", answer.status == 404 and not count, seen)
    return post


def _path(post_id: str) -> str:
    return f"/posts/{post_id}/likes"


async def _like(bench: Bench, post_id: str) -> Seen:
    return await bench.ask("POST", "likes", _path(post_id))


async def _like_when_known(bench: Bench, post_id: str) -> tuple[bool, Seen]:
    return await bench.ask_when(
        *("POST", "likes", _path(post_id)),
        lambda answer: answer.status == 201,
        within_s=HEARD_WITHIN_S,
    )


async def _count(bench: Bench, post_id: str) -> int | None:
    """The number of likes that is reported for a post; None if the answer is something else."""
    told: Any = (await bench.ask("GET", "likes", _path(post_id))).data
    count = told.get("likes") if isinstance(told, dict) else None
    return count if isinstance(count, int) else None


EXERCISE = Exercise(
    name="likes",
    title="Add a likes service to both stacks",
    pieces=(
        Piece("sync-chain", "likes", "sync_chain/likes.py"),
        Piece("async-bus", "likes", "async_bus/likes.py"),
    ),
    check=check,
    criteria=(
        Criterion(
            "chain",
            f"In the chain {1 + MANY} likes of a post are taken (201), {MANY} of them at once, "
            "and counted.",
            "Compare create_comment in lab/sync_chain/comments.py: what does it do first, and "
            "what belongs into the transaction?",
        ),
        Criterion(
            "chain unknown",
            "In the chain a like of a post that does not exist is answered with 404, and not "
            "counted.",
            "Who knows which posts exist? service.ask raises NotFound when it is told so, and the "
            "shell makes a 404 of that.",
        ),
        Criterion(
            "chain down",
            "While posts is down the chain's likes refuses a like with an error (5xx) within "
            f"{REFUSED_WITHIN_MS} ms, and still tells of those it has.",
            "Nobody can say now whether there is such a post. What is worse: a like refused, or a "
            "like of nothing? And whom does a count need?",
        ),
        Criterion(
            "chain again",
            "When posts is back, and likes was killed and started again, every like is there "
            "still, the refused one is not, and a new one is taken.",
            "What is in the database survives. In which order do you ask, and write?",
        ),
        Criterion(
            "bus",
            f"On the bus {1 + MANY} likes of a post that was written before likes was there are "
            f"taken (201), {MANY} of them at once, and counted.",
            "Compare create_comment in lab/async_bus/comments.py: where does it look, and who has "
            "written there what it finds?",
        ),
        Criterion(
            "bus unknown",
            "On the bus a like of a post that does not exist is answered with 404, and not "
            "counted.",
            "lab.domain.errors has an error for what is not known here.",
        ),
        Criterion(
            "bus down",
            "While posts is down, and the bus too, the bus side's likes takes likes as ever.",
            "What it has heard before, it has a copy of. Does your handler need anybody else?",
        ),
        Criterion(
            "bus again",
            "When likes was killed and started again, every like is there still, the post can be "
            "liked again, and so can one that was written meanwhile, within "
            f"{HEARD_WITHIN_S:g} s.",
            "Started again, likes hears on behind the last event it knew, and not from the first. "
            "Where is what it had learnt until then?",
        ),
    ),
)
