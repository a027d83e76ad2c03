"""Add a `likes` service to both stacks: the same feature, built in two ways.

Only `posts` knows whether a post exists. In the chain, `likes` asks it for each like; on the bus,
`likes` has a copy built from `PostCreated`. Both run as guests: no other service changes.
"""

import asyncio
from typing import Any

from lab.domain.services import BUS
from lab.exercises.exercise import Exercise, GradedCriterion, Submission
from lab.exercises.testbed import ExerciseTestbed, ObservedResponse

CONCURRENT = 12
HEARD_WITHIN_S = 1.0
REFUSED_WITHIN_MS = 1_000
UNKNOWN_ID = "0" * 14


async def check(chain_testbed: ExerciseTestbed, bus_testbed: ExerciseTestbed) -> None:
    if post := await _check_without_faults(chain_testbed, "chain"):
        await _check_chain_under_faults(chain_testbed, post)
    if post := await _check_without_faults(bus_testbed, "bus"):
        await _check_bus_under_faults(bus_testbed, post)


async def _check_chain_under_faults(testbed: ExerciseTestbed, post_id: str) -> None:
    expected = 1 + CONCURRENT
    async with testbed.fault_active("down", "posts"):
        answer = await _like(testbed, post_id)
        meanwhile = await _count(testbed, post_id)
    refused = 500 <= answer.status < 600 and answer.took_ms <= REFUSED_WITHIN_MS
    observed = f"{answer} for a like, and {meanwhile} likes of {expected} reported meanwhile"
    testbed.record("chain down", refused and meanwhile == expected, observed)

    async with testbed.fault_active("down", "likes"):
        pass
    saved, answer = await _count(testbed, post_id), await _like(testbed, post_id)
    now = await _count(testbed, post_id)
    observed = f"{expected} likes were accepted, {saved} are there after the restart; "
    observed += f"{answer} for one more, and then {now}"
    as_wanted = saved == expected and answer.status == 201 and now == expected + 1
    testbed.record("chain again", as_wanted, observed)


async def _check_bus_under_faults(testbed: ExerciseTestbed, post_id: str) -> None:
    expected = 1 + CONCURRENT
    async with testbed.fault_active("down", "posts"), testbed.fault_active("down", BUS):
        answer = await _like(testbed, post_id)
        expected += answer.status == 201
        meanwhile = await _count(testbed, post_id)
    observed = f"{answer} for a like, and {meanwhile} likes reported meanwhile"
    testbed.record("bus down", answer.status == 201 and meanwhile == expected, observed)

    async with testbed.fault_active("down", "likes"):
        newer_post_id = await testbed.post("Written while likes was away")
    saved, answer = await _count(testbed, post_id), await _like(testbed, post_id)
    known, of_newer = await _like_when_known(testbed, newer_post_id)
    observed = f"{expected} likes were accepted, {saved} are there after the restart; "
    observed += f"{answer} for one more, {of_newer} for the new post"
    testbed.record("bus again", known and answer.status == 201 and saved == expected, observed)


async def _check_without_faults(testbed: ExerciseTestbed, side: str) -> str:
    """Start `likes`, and like a post that existed before it; the post's id, "" if that fails."""
    post = await testbed.post("Written before likes was there")
    await testbed.start_student()
    known, first = await _like_when_known(testbed, post)
    others = (
        await asyncio.gather(*(_like(testbed, post) for _ in range(CONCURRENT))) if known else []
    )
    accepted = [answer for answer in (first, *others) if answer.status == 201]
    count = await _count(testbed, post)
    observed = f"{len(accepted)} of {1 + CONCURRENT} were accepted, and {count} are counted"
    if not accepted:
        observed += f"; the first like was answered with {first}"
    if not testbed.record(side, len(accepted) == 1 + CONCURRENT == count, observed):
        return ""
    answer, count = await _like(testbed, UNKNOWN_ID), await _count(testbed, UNKNOWN_ID)
    observed = f"{answer}, and its reported number of likes is {count}"
    testbed.record(f"{side} unknown", answer.status == 404 and not count, observed)
    return post


def _likes_path(post_id: str) -> str:
    return f"/posts/{post_id}/likes"


async def _like(testbed: ExerciseTestbed, post_id: str) -> ObservedResponse:
    return await testbed.ask("POST", "likes", _likes_path(post_id))


async def _like_when_known(testbed: ExerciseTestbed, post_id: str) -> tuple[bool, ObservedResponse]:
    return await testbed.ask_until(
        *("POST", "likes", _likes_path(post_id)),
        lambda answer: answer.status == 201,
        within_s=HEARD_WITHIN_S,
    )


async def _count(testbed: ExerciseTestbed, post_id: str) -> int | None:
    """The number of likes that is reported for a post; None if the answer is something else."""
    data: Any = (await testbed.ask("GET", "likes", _likes_path(post_id))).data
    count = data.get("likes") if isinstance(data, dict) else None
    return count if isinstance(count, int) else None


EXERCISE = Exercise(
    name="likes",
    title="Add a likes service to both stacks",
    submissions=(
        Submission("sync-chain", "likes", "sync_chain/likes.py"),
        Submission("async-bus", "likes", "async_bus/likes.py"),
    ),
    check=check,
    criteria=(
        GradedCriterion(
            "chain",
            f"In the chain {1 + CONCURRENT} likes of a post are accepted (201), {CONCURRENT} of "
            "them at once, and counted.",
            "Compare create_comment in lab/sync_chain/comments.py: what does it do first, and "
            "what belongs into the transaction?",
        ),
        GradedCriterion(
            "chain unknown",
            "In the chain a like of a post that does not exist is answered with 404, and not "
            "counted.",
            "Which service knows all posts? service.ask raises NotFound for a 404, and the server "
            "answers with 404 for that error.",
        ),
        GradedCriterion(
            "chain down",
            "While posts is down the chain's likes refuses a like with an error (5xx) within "
            f"{REFUSED_WITHIN_MS} ms, and still reports those it has.",
            "No service can say now whether there is such a post. What is worse: a like "
            "refused, or a like of nothing? And which service does a count need?",
        ),
        GradedCriterion(
            "chain again",
            "When posts is back, and likes was killed and started again, every like is there "
            "still, the refused one is not, and a new one is taken.",
            "What is in the database survives. In which order do you ask, and write?",
        ),
        GradedCriterion(
            "bus",
            f"On the bus {1 + CONCURRENT} likes of a post that is older than likes are accepted "
            f"(201), {CONCURRENT} of them at once, and counted.",
            "Compare create_comment in lab/async_bus/comments.py: where does it look, and "
            "which code has written what it finds there?",
        ),
        GradedCriterion(
            "bus unknown",
            "On the bus a like of a post that does not exist is answered with 404, and not "
            "counted.",
            "lab.domain.errors has an error for what is not known here.",
        ),
        GradedCriterion(
            "bus down",
            "While posts is down, and the bus too, the bus side's likes accepts likes as before.",
            "It has a copy of the posts that it received before. Does your handler call any "
            "service?",
        ),
        GradedCriterion(
            "bus again",
            "When likes was killed and started again, every like is there still, the post can be "
            "liked again, and so can one that was written meanwhile, within "
            f"{HEARD_WITHIN_S:g} s.",
            "After a restart, likes consumes from its last offset, and not from the first event. "
            "Where is what it received until then?",
        ),
    ),
)
