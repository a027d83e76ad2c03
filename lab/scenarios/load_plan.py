"""What the load generator is told of a run: its `plan.json`, as `lab.load.plan` reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.cluster.stack import Stack
from lab.scenarios.scenario import Scenario
from lab.scenarios.surge import rate_of
from lab.scenarios.timeline import WARM_UP

SETTLE_WITHIN_S = 10.0
"""How long what was told before the load begins may take to be heard."""


def load_plan(
    scenario: Scenario,
    seed: int,
    folder: Path,
    stacks: Sequence[Stack],
    seed_posts: Sequence[Sequence[str]],
    start_at: float,
) -> dict[str, Any]:
    """`seed_posts`: the ids of the posts that are there already, by stack. `start_at`: the moment
    of `perf_counter` at which the warm-up begins."""
    load = scenario.load
    return {
        "seed": seed,
        "rate": load.rate,
        "mix": load.mix,
        "timeout_s": load.timeout_ms / 1_000,
        "at_once": list(load.at_once),
        "retries": load.retries,
        "reader_delay_s": load.reader_delay_s,
        "orange": load.orange,
        "settle_s": load.settle_s,
        "start_at": start_at,
        "phases": [
            {"name": phase.name, "seconds": phase.seconds, **rate_of(phase.name, load)}
            for phase in (WARM_UP, *scenario.timeline())
        ],
        "variants": [
            {
                "name": stack.name,
                "urls": dict(stack.asked_at),
                "seed_posts": list(posts),
                "ordered_ids": stack.ids_are_ordered,
                "users": scenario.variants[stack.name].in_the_loop,
            }
            for stack, posts in zip(stacks, seed_posts, strict=True)
        ],
        "samples": str(folder / "samples.csv"),
        "progress": str(folder / "progress.ndjson"),
        "summary": str(folder / "load.json"),
    }
