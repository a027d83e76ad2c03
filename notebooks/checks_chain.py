"""What looks at the exercises about the chain's protections (06): they are put on, and tried."""

from typing import Any

import lab
from checks import Said, near, nothing
from lab.api.blogs import Blog, RequestFailed
from lab.results.oracles import attempts_in_all, worker_limit

READERS = 20
MOST_ASKED = 10


async def enough(settings: Any) -> Said:
    """Switches with which two errors are not noticed, and with which no storm comes up."""
    wanted = (
        f"the whole feed after two errors; for {READERS} readers in vain {MOST_ASKED} questions"
    )
    if settings is ... or settings == {}:
        return nothing(wanted)
    if not isinstance(settings, dict):
        return Said(False, repr(settings), "switches, as {'timeout_ms': 500}")
    try:
        up = lab.up("sync-chain", settings=settings)
    except ValueError as error:
        return Said(False, str(error), wanted)
    async with up as stacks:
        chain = stacks["sync-chain"]
        await chain.comment(await chain.post("A post"), "A comment")
        async with chain.fault("error", "comments", first=2):
            whole = await _is_whole(chain)
        await chain.fault("error", "comments")
        for _ in range(READERS):
            await _is_whole(chain)
        asked = sum(one.evidence["acted"] for one in (await chain.heal()).deeds)
    seen = f"{'the whole feed' if whole else 'no whole feed'}; then {asked} questions"
    return Said(whole and asked <= MOST_ASKED, seen, wanted)


async def _is_whole(chain: Blog) -> bool:
    try:
        return any(post["comments"] for post in await chain.feed())
    except RequestFailed:
        return False


def sums(answer: Any) -> Said:
    """What retries multiply to, and what a bulkhead leaves."""
    true = {"asked": attempts_in_all(4, 3), "written": worker_limit(16 / 2, 0.4)}
    return near(answer, true, "the questions to the last of three, and comments a second", 0.5)
