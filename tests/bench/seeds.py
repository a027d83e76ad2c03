"""Whether a scenario's expectations also hold under other schedules on a busy machine.

Each scenario runs in its quick form with twenty seeds, while another program keeps one core busy. A
run that is no result and says so (exit code 3) is counted apart: it claims nothing.

`python -m tests.bench.seeds NAME…` takes some scenarios only; all of them take two hours.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.scenarios.catalogue import builtin_scenarios
from tests.bench.running import lab_run
from tests.bench.table import Figure

SEEDS = range(1, 21)
REACH = 19


def figures(names: Sequence[str] = ()) -> Iterator[Figure]:
    with one_core_busy():
        for name in names or [one.name for one in builtin_scenarios()]:
            yield _of(name)


def _of(name: str) -> Figure:
    codes, failed = [], []
    for seed in SEEDS:
        code, failures = _run(name, seed)
        codes.append(code)
        failed += [f"seed {seed}: {says}" for says in failures]
    held, dishonest = codes.count(0), codes.count(3)
    told = f" ({'; '.join(failed)})" if failed else ""
    return Figure(
        f"{name}: seeds of {len(SEEDS)} under which all expectations hold, "
        f"{dishonest} more were no result and said so{told}",
        f"≥ {REACH}, or no result",
        [held],
        "seeds",
        held + dishonest >= REACH,
    )


def _run(name: str, seed: int) -> tuple[int, list[str]]:
    """The exit code, and the expectations that were not met."""
    code, result = lab_run(name, "--quick", "--seed", str(seed))
    expectations = result["expectations"] if code == 1 else []
    return code, [
        f"{one['says']} (measured {one['measured']})"
        for one in expectations
        if one["verdict"] != "holds"
    ]


@contextmanager
def one_core_busy() -> Iterator[None]:
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


if __name__ == "__main__":
    for figure in figures(sys.argv[1:]):
        sys.stdout.write(f"{figure.line()}\n")
        sys.stdout.flush()
