"""Start, run, answer and memory, compared with bare interpreters."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any

import psutil

from lab.domain.services import TWINS
from lab.scenarios.catalogue import find
from tests.bench.ratio import Measure, Pair, Row
from tests.bench.running import a_started_stack, lab_run
from tests.bench.serving import bare_aiohttp_process

_IMPORT = "import aiohttp.web"
_TYPER = """
import typer
app = typer.Typer()
@app.command()
def run(name: str) -> None:
    "Run."
@app.command("list")
def list_all() -> None:
    "List."
    print("a scenario")
app(prog_name="bare")
"""
_NINE = """
import asyncio, tempfile
from contextlib import ExitStack
from pathlib import Path
from lab.cluster.arrangements import ARRANGEMENTS, PRELOAD
from lab.cluster.supervisor import Supervisor
from lab.domain.services import TWINS

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
_LAB = "import cli; cli.main()"


def python(code: str, *words: str, **env: str) -> Measure:
    """Seconds from the start of an interpreter to its first line or, if it prints none, its end."""

    def measure() -> float:
        begun = perf_counter()
        with subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | env,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            seconds = perf_counter() - begun
            process.stdout.read()
        if process.returncode:
            raise RuntimeError(f"{words or code} ended with {process.returncode}.")
        return seconds

    return measure


def beyond_its_phases() -> float:
    """Seconds of `lab run slow-service --quick` beyond what its scenario declares."""
    begun = perf_counter()
    lab_run("slow-service", "--quick")
    return perf_counter() - begun - find("slow-service").quick().timeline().seconds


def memory_mib(processes: list[psutil.Process]) -> float:
    """Memory of a process on average, in MiB: PSS on Linux, elsewhere RSS."""
    found = [process.memory_full_info() for process in processes]
    return sum(getattr(one, "pss", one.rss) for one in found) / len(found) / 2**20


@contextmanager
def memory() -> Iterator[Pair]:
    with ExitStack() as held:
        runner = held.enter_context(asyncio.Runner())
        stacks = [held.enter_context(a_started_stack(runner, name)) for name in TWINS]
        services = [psutil.Process(pid) for stack in stacks for pid in stack.pids().values()]
        process, _ = held.enter_context(bare_aiohttp_process())
        yield lambda: memory_mib(services), lambda: memory_mib([psutil.Process(process.pid)])


def _row(name: str, what: str, ours: str, measure: Measure, **more: Any) -> Row:
    """A row in seconds, by default compared with an interpreter that imports aiohttp.web."""
    beside = more.pop("beside", python(_IMPORT))

    @contextmanager
    def pair() -> Iterator[Pair]:
        yield measure, beside

    given = {"other": "an interpreter that imports aiohttp.web", "measure": pair, "unit": "s"}
    return Row(name=name, what=what, ours=ours, kind="limit", better="less", **given | more)


def _command(name: str, ours: str, words: str, **env: dict[str, str]) -> Row:
    lab, bare = (
        python(_LAB, *words.split(), **env.get("lab", {})),
        python(_TYPER, *words.split(), **env.get("bare", {})),
    )
    return _row(
        f"start-{name}",
        "time to answer",
        ours,
        lab,
        beside=bare,
        other="a Typer app of two commands",
    )


_TAB = {"COMP_WORDS": "lab r", "COMP_CWORD": "1"}
ROWS = [
    _row("start-nine", "from nothing to healthy", "nine processes", python(_NINE), reach=1.5),
    _row("start-run", "time beyond its phases", "a quick run", beyond_its_phases, reach=4, pairs=6),
    _command("help", "the help of the command line", "--help"),
    _command("list", "the list of scenarios", "list"),
    _command(
        "completion",
        "completion of a command",
        "",
        lab=_TAB | {"_LAB_COMPLETE": "complete_bash"},
        bare=_TAB | {"_BARE_COMPLETE": "complete_bash"},
    ),
    Row(
        name="memory",
        what="memory of a service (PSS), the mean of both stacks",
        ours="a service",
        other="a bare aiohttp server",
        unit="MiB",
        kind="limit",
        better="less",
        pairs=5,
        measure=memory,
    ),
]
