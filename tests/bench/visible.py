"""How much later than its 201 a write appears in the feed, on a bus without faults.

The lab's own load runs against `async-bus` as the lab starts it, with 200 writes a second. For
every write, from the raw samples: the moment at which the feed showed it (a comment: decided) minus
the moment of its answer, both by the clock of the same generator.

The resolution is the distance between two reads of the feed, and a read costs more the deeper it
reaches. So comments go to posts that are a tenth of a second old, and not two seconds as in the
scenarios: then twenty to thirty posts per read are enough.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from lab.load.samples import WRITES, read_samples
from tests.bench.delivery import percentile
from tests.bench.running import a_stack, load
from tests.bench.table import Figure, at_most, shown

RUNS = 5
RATE = 200
SECONDS = 6.0
READER_DELAY_S = 0.1


def figures() -> Iterator[Figure]:
    runs = [asyncio.run(_run()) for _ in range(RUNS)]
    what = f"answered → visible in the feed, {RATE} writes/s, async-bus"
    for kind, limits in (("", (6, 30)), ("create_post", None), ("create_comment", None)):
        later = [[ms for endpoint, ms in run if endpoint.startswith(kind)] for run in runs]
        p50, p99 = ([percentile(ms, percent) for ms in later] for percent in (50, 99))
        if limits:
            yield at_most(f"{what}, p50", limits[0], p50, "ms")
            yield at_most(f"{what}, p99", limits[1], p99, "ms")
        else:
            yield shown(f"{what}, {kind} alone, p50", p50, "ms")
            yield shown(f"{what}, {kind} alone, p99", p99, "ms")


async def _run() -> list[tuple[str, float]]:
    """(endpoint, ms from answer to visible) of every write after the warm-up."""
    async with a_stack("async-bus") as (stack, supervisor, folder):
        await supervisor.start(*stack.programs)
        post = await stack.call("POST", stack.urls["posts"], "/posts", {"title": "First"})
        await stack.settle(10)
        await asyncio.to_thread(_load, folder, stack.urls, post.data["id"])
        samples = read_samples(folder / "samples.csv")
    writes = [one for one in samples if one.endpoint in WRITES and one.phase == "all" and one.ok]
    return [
        (one.endpoint, one.visible_ms - one.latency_ms)
        for one in writes
        if one.visible_ms is not None and one.latency_ms is not None
    ]


def _load(folder: Path, urls: dict[str, str], post_id: str) -> None:
    own = {name: urls[name] for name in ("posts", "comments", "query")}
    variant = {"name": "async-bus", "urls": own, "seed_posts": [post_id]}
    mix = {"create_post": 1, "create_comment": 3}
    load(folder, SECONDS, variant, rate=RATE, mix=mix, reader_delay_s=READER_DELAY_S)
