"""The cost of one more hop of the chain, next to the least that `requests` and aiohttp can do.

The two are measured in turn, so that a slow moment of the machine hits both.
"""

import asyncio
import statistics
from collections.abc import Iterator
from time import perf_counter

import requests

from lab.sync_chain.ask.http import HttpTransport
from tests.bench.running import a_stack
from tests.bench.serving import bare_aiohttp
from tests.bench.table import Figure, at_most, shown

ROUNDS = 5
QUESTIONS = 600


def figures() -> Iterator[Figure]:
    with bare_aiohttp() as url:
        rounds = asyncio.run(_both(url))
    hops = [hop for hop, _ in rounds]
    yield at_most(
        "one hop of the chain, as a multiple of a bare requests Session to a bare aiohttp handler",
        1.5,
        [hop / bare for hop, bare in rounds],
        "×",
    )
    yield shown("one hop of the chain, p50", hops, "ms")


async def _both(bare_url: str) -> list[tuple[float, float]]:
    async with a_stack("sync-chain") as (stack, supervisor, _):
        await supervisor.start(*stack.programs)
        posts = stack.urls["posts"]
        post = (await stack.call("POST", posts, "/posts", {"title": "A post"})).data
        return await asyncio.to_thread(_ask, posts, post["id"], bare_url)


def _ask(posts: str, post_id: str, bare_url: str) -> list[tuple[float, float]]:
    ask = HttpTransport({"posts": posts}, timeout_s=5.0)
    session = requests.Session()
    session.trust_env = False
    rounds = []
    for _ in range(ROUNDS):
        hops_ms, bares_ms = [], []
        for _ in range(QUESTIONS):
            begun = perf_counter()
            ask("posts", "GET", f"/posts/{post_id}", None, {})
            between = perf_counter()
            session.get(f"{bare_url}/posts/0", timeout=5).json()
            hops_ms.append((between - begun) * 1_000)
            bares_ms.append((perf_counter() - between) * 1_000)
        rounds.append((statistics.median(hops_ms), statistics.median(bares_ms)))
    return rounds
