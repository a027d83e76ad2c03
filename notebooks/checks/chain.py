"""Checks of the exercises on the chain's resilience (06): the switches are set and tried."""

from typing import Any

import lab
from checks import Feedback, check_numbers, unanswered
from lab.api.blogs import Blog, RequestFailed
from lab.results.oracles import attempts_in_all, worker_limit

READERS = 20
MAX_REQUESTS = 10


async def enough(settings: Any) -> Feedback:
    """Switches that hide two errors from readers, and prevent a storm of retries."""
    wanted = (
        f"the whole feed after two errors; at most {MAX_REQUESTS} requests for {READERS} readers "
        "while comments fails"
    )
    if settings is ... or settings == {}:
        return unanswered(wanted)
    if not isinstance(settings, dict):
        return Feedback(False, repr(settings), "switches, such as {'timeout_ms': 500}")
    try:
        up = lab.up("sync-chain", settings=settings)
    except ValueError as error:
        return Feedback(False, str(error), wanted)
    async with up as stacks:
        chain = stacks["sync-chain"]
        await chain.comment(await chain.post("A post"), "A comment")
        async with chain.fault("error", "comments", first=2):
            whole = await _is_whole(chain)
        await chain.fault("error", "comments")
        for _ in range(READERS):
            await _is_whole(chain)
        requests = sum(fault.evidence["acted"] for fault in (await chain.heal()).deeds)
    seen = f"{'the whole feed' if whole else 'no whole feed'}; then {requests} requests"
    return Feedback(whole and requests <= MAX_REQUESTS, seen, wanted)


async def _is_whole(chain: Blog) -> bool:
    try:
        return any(post["comments"] for post in await chain.feed())
    except RequestFailed:
        return False


def sums(answer: Any) -> Feedback:
    """How retries multiply requests, and the rate that a bulkhead allows."""
    true = {"asked": attempts_in_all(4, 3), "written": worker_limit(16 / 2, 0.4)}
    return check_numbers(
        answer, true, "the requests to the last of three, and comments a second", 0.5
    )
