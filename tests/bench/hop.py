"""The cost of a hop of the chain, beside the least that `requests` and aiohttp can do."""

import asyncio
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import requests

from lab.sync_chain.ask.http import HttpTransport
from tests.bench.ratio import Measure, Pair, Row
from tests.bench.running import a_started_stack
from tests.bench.serving import bare_aiohttp

REQUESTS = 100


@contextmanager
def hop() -> Iterator[Pair]:
    with (
        bare_aiohttp() as bare_url,
        asyncio.Runner() as runner,
        a_started_stack(runner, "sync-chain") as stack,
    ):
        posts = stack.urls["posts"]
        post = runner.run(stack.call("POST", posts, "/posts", {"title": "A post"})).data
        transport = HttpTransport({"posts": posts}, timeout_s=5.0)
        session = requests.Session()
        session.trust_env = False
        yield (
            _median_ms(lambda: transport("posts", "GET", f"/posts/{post['id']}", None, {})),
            _median_ms(lambda: session.get(f"{bare_url}/posts/0", timeout=5).json()),
        )
        session.close()


def _median_ms(request: Callable[[], object]) -> Measure:
    def measure() -> float:
        took_ms = []
        for _ in range(REQUESTS):
            begun = perf_counter()
            request()
            took_ms.append((perf_counter() - begun) * 1_000)
        return statistics.median(took_ms)

    return measure


ROWS = [
    Row(
        name="hop",
        what="one hop, p50",
        ours="the chain's ask",
        other="bare requests to bare aiohttp",
        unit="ms",
        kind="limit",
        better="less",
        reach=1.12,
        pairs=25,
        measure=hop,
    )
]
