"""How punctual the load is: the lab's generator against a bare aiohttp handler."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.running import load
from tests.bench.serving import bare_aiohttp
from tests.bench.table import Figure, at_least, at_most, shown

RUNS = 5
SECONDS = 3.0


def figures() -> Iterator[Figure]:
    with bare_aiohttp() as url:
        slow = [_load(url, 1_000) for _ in range(RUNS)]
        fast = [_load(url, 5_000) for _ in range(RUNS)]
    yield at_most(
        "schedule lag p99 of the generator at 1,000/s",
        0.5,
        [run["lag_ms"]["p99"] for run in slow],
        "ms",
    )
    yield at_least(
        "share of 5,000/s sent, and sent within 10 ms of its moment",
        0.99,
        [(run["sent"] - run["late"]) / (run["sent"] + run["dropped"]) for run in fast],
        "of all",
    )
    yield shown("schedule lag p99 at 5,000/s", [run["lag_ms"]["p99"] for run in fast], "ms")


def _load(url: str, rate: float) -> dict[str, Any]:
    urls = dict.fromkeys(("posts", "comments", "query"), url)
    variant = {"name": "bare", "urls": urls, "seed_posts": ["0"]}
    with tempfile.TemporaryDirectory() as place:
        return load(Path(place), SECONDS, variant, rate=rate, mix={"read_feed": 1})
