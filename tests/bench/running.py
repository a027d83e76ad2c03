"""Runs what is measured: `lab run` as a user starts it, the load generator, one arrangement."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, preload
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor


@contextmanager
def program(*command: str, **how: Any) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A program, and the last word of its first line: its address. It is terminated at the end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **how)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate()


def lab_run(*words: str) -> tuple[int, Any]:
    """The exit code (0, 1 or 3) and the JSON document of a run of which nothing is saved."""
    with tempfile.TemporaryDirectory(dir=".") as place:
        command = [sys.executable, "cli.py", "run", *words, "--json", "--keep", place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"lab run {words} ended with {done.returncode}: {done.stderr}")
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def load(
    folder: Path, seconds: float, variant: Mapping[str, Any], warm_up_s: float = 1.0, **more: Any
) -> dict[str, Any]:
    """Put one variant under load with the lab's generator, in the phases `warm_up` and `all`.

    Returns the generator's summary; the samples are in `folder`.
    """
    names = {"samples": "samples.csv", "progress": "progress.ndjson", "summary": "load.json"}
    plan = {
        "seed": 7,
        "phases": [{"name": "warm_up", "seconds": warm_up_s}, {"name": "all", "seconds": seconds}],
        "variants": [variant],
        **{key: str(folder / name) for key, name in names.items()},
        **more,
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    subprocess.run([sys.executable, "-m", "lab.load.generator", str(path)], check=True)
    summary: dict[str, Any] = json.loads((folder / "load.json").read_text())
    return summary


@asynccontextmanager
async def a_stack(
    name: str, options: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Stack, Supervisor, Path]]:
    """An arrangement on an empty disk, not yet started; its supervisor and its folder."""
    options = dict(options or {})
    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = Path(place).absolute()
        async with Supervisor(preload([options]), folder) as supervisor:
            with Stack(name, ARRANGEMENTS[name], supervisor, folder, options=options) as stack:
                yield stack, supervisor, folder


@contextmanager
def a_started_stack(
    runner: asyncio.Runner, name: str, options: Mapping[str, Any] | None = None
) -> Iterator[Stack]:
    """The same, started, for code that is not asynchronous."""

    async def start() -> Stack:
        stack, supervisor, _ = await arrangement.__aenter__()
        await supervisor.start(*stack.programs)
        return stack

    arrangement = a_stack(name, options)
    try:
        yield runner.run(start())
    finally:
        runner.run(arrangement.__aexit__(None, None, None))
