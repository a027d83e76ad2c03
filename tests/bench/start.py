"""Start, run and answer, beside an interpreter that only imports aiohttp, and a bare Typer app."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from lab.scenarios.catalogue import find
from tests.bench.ratio import Measure, Pair, Row
from tests.bench.running import lab_run

IMPORT = ("-c", "import aiohttp.web")
TYPER = """
import typer
app = typer.Typer()
@app.command()
def run(name: str = "x") -> None: "Run."
@app.command()
def listed() -> None: "List."
app()
"""
NINE = """
import asyncio, tempfile
from contextlib import ExitStack
from pathlib import Path
from lab.cluster.arrangements import ARRANGEMENTS, PRELOAD
from lab.cluster.supervisor import Supervisor
from lab.domain.services import TWINS
from time import perf_counter

async def main():
    with tempfile.TemporaryDirectory() as place, ExitStack() as held:
        supervisor = Supervisor(PRELOAD, Path(place))
        supervisor.launch()
        from lab.cluster.stack import Stack
        async with supervisor:
            stacks = [
                held.enter_context(Stack(name, ARRANGEMENTS[name], supervisor, Path(place)))
                for name in TWINS
            ]
            await supervisor.start(*(one for stack in stacks for one in stack.programs))
            print("healthy", flush=True)
asyncio.run(main())
"""


def python(*words: str) -> Measure:
    """Seconds from the start of an interpreter to its first line or, if it prints none, its end."""

    def measure() -> float:
        begun = perf_counter()
        with subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            seconds = perf_counter() - begun
            process.stdout.read()
        if process.returncode:
            raise RuntimeError(f"python {words} ended with {process.returncode}.")
        return seconds

    return measure


def beyond_its_phases() -> float:
    """Seconds of `lab run slow-service --quick` beyond what its scenario declares."""
    begun = perf_counter()
    lab_run("slow-service", "--quick")
    return perf_counter() - begun - find("slow-service").quick().timeline().seconds


def _both(ours: Measure, other: Measure) -> Callable[[], "contextmanager[Pair]"]:
    @contextmanager
    def pair() -> Iterator[Pair]:
        yield ours, other

    return pair  # type: ignore[return-value]


def _row(
    name: str, what: str, ours: str, measure: Measure, reach: float | None, **more: object
) -> Row:
    limit = {
        "other": "an interpreter that imports aiohttp.web",
        "measure": _both(measure, python(*IMPORT)),
    }
    return Row(
        name=f"start-{name}",
        what=what,
        ours=ours,
        unit="s",
        kind="limit",
        better="less",
        reach=reach,
        **(limit | more),
    )


ROWS = [
    _row("nine", "from nothing to healthy", "nine processes", python("-c", NINE), 1.5),
    _row(
        "run",
        "time beyond the declared phases",
        "lab run slow-service --quick",
        beyond_its_phases,
        4,
        pairs=6,
    ),
]
