"""How punctual the load is: the generator as the lab uses it, against a bare aiohttp handler."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.serving import bare_aiohttp
from tests.bench.table import Figure, at_least, at_most

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
    yield Figure(
        "schedule lag p99 at 5,000/s", "none set", [run["lag_ms"]["p99"] for run in fast], "ms"
    )


def _load(url: str, rate: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plan = {
            "seed": 7,
            "rate": rate,
            "mix": {"read_feed": 1},
            "phases": [{"name": "warm_up", "seconds": 0.5}, {"name": "all", "seconds": SECONDS}],
            "variants": [
                {
                    "name": "bare",
                    "urls": {"posts": url, "comments": url, "query": url},
                    "seed_posts": ["0"],
                }
            ],
            "samples": str(folder / "samples.csv"),
            "progress": str(folder / "progress.ndjson"),
            "summary": str(folder / "load.json"),
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        subprocess.run(
            [sys.executable, "-m", "lab.load.generator", str(folder / "plan.json")], check=True
        )
        summary: dict[str, Any] = json.loads((folder / "load.json").read_text())
        return summary
