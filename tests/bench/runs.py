"""Whole runs as a user starts them: time beyond their phases, and whether 300 ms are 300 ms."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.scenarios.catalogue import find
from tests.bench.running import lab_run
from tests.bench.table import Figure, at_most

RUNS = 3
_SHIFT = """
title = "By how much does an injected latency shift the median?"
[load]
rate = 10
mix = { read_feed = 1 }
[phases]
before = 5
during = 8
after = 1
[[method]]
fault = "latency"
target = "comments"
ms = 300
[variants.sync-chain]
"""


def figures() -> Iterator[Figure]:
    quick = [_timed("slow-service", "--quick") for _ in range(RUNS)]
    phases_s = find("slow-service").quick().timeline().seconds
    yield at_most(
        "wall time of a run beyond its declared phases, both stacks",
        2.0,
        [seconds - phases_s for seconds, _ in quick],
        "s",
    )
    yield at_most("lab run slow-service --quick", 10, [seconds for seconds, _ in quick], "s")
    yield at_most(
        "both tables of make demo", 40, [_timed("slow-service", "downed-service")[0]], "s"
    )
    shifts = [_shift_ms() for _ in range(RUNS)]
    yield Figure(
        "injected latency of 300 ms, measured shift of the p50",
        "300 ± 3 ms",
        shifts,
        "ms",
        all(abs(shift - 300) <= 3 for shift in shifts),
    )


def _shift_ms() -> float:
    with tempfile.TemporaryDirectory() as place:
        scenario = Path(place) / "shift.toml"
        scenario.write_text(_SHIFT)
        _, result = _timed(str(scenario))
    phases = result["variants"][0]["phases"]
    return float(_p50(phases["during"]) - _p50(phases["before"]))


def _p50(phase: dict[str, Any]) -> float:
    return float(phase["endpoints"]["read_feed"]["latency_ms"]["p50"])


def _timed(*words: str) -> tuple[float, Any]:
    begun = perf_counter()
    code, result = lab_run(*words)
    seconds = perf_counter() - begun
    if code == 3:
        raise RuntimeError(f"lab run {words} was no result")
    return seconds, result
