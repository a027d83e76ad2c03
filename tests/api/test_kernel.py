"""The lab in a real Jupyter kernel: its loop is running, and it is interrupted and killed."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.programs.labs import assert_ended
from tests.support.laboratory import PATIENCE_S, eventually
from tests.support.small import ROOT, environment, find_processes, scenario_file

pytest.importorskip("ipykernel", reason="the extra `notebooks` is not installed")
jupyter_client = pytest.importorskip("jupyter_client", reason="the extra `notebooks`")

HANG = {"fault": "hang", "target": "comments"}
LONG = {"phases": "before = 0.5, during = 600, after = 0.5", "variants": ("sync-chain",)}

CELLS = {
    "lab.run": 'lab.run("long.toml")',
    "lab.run in a cell with await": 'await asyncio.sleep(0); lab.run("long.toml")',
    "lab.arun": 'await lab.arun("long.toml")',
    "async with lab.up": """
async with lab.up("sync-chain") as stacks:
    await stacks["sync-chain"].fault("hang", "comments")
    open("waits", "x").close()
    await asyncio.Event().wait()
""",
    "with lab.up": """
with lab.up("sync-chain") as stacks:
    stacks["sync-chain"].fault("hang", "comments")
    while True:
        time.sleep(1)
""",
}
"""Cells that suspend a process, and continue until they are interrupted."""


def some_slow(names: Iterable[str], unmarked: str) -> list[Any]:
    return [pytest.param(one, marks=[] if one == unmarked else pytest.mark.slow) for one in names]


class Kernel:
    """A kernel in its own process; `run` waits for a cell, `begin` does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager = jupyter_client.KernelManager(kernel_name="python3")
        env = environment(PYTHONPATH=str(ROOT), IPYTHONDIR=str(folder / "ipython"))
        self.manager.start_kernel(cwd=str(folder), env=env)
        self.pid: int = self.manager.provisioner.pid
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)
        self.run("import asyncio, time, lab")

    def begin(self, code: str) -> str:
        # By default a kernel discards what is sent right after a failing cell.
        message_id: str = self.client.execute(code, stop_on_error=False)
        return message_id

    def reply(self, message_id: str) -> dict[str, Any]:
        while True:
            message = self.client.get_shell_msg(timeout=PATIENCE_S)
            if message["parent_header"].get("msg_id") == message_id:
                content: dict[str, Any] = message["content"]
                return content

    def run(self, code: str) -> list[dict[str, Any]]:
        """The outputs of a cell; the test fails if the cell does."""
        out: list[dict[str, Any]] = []
        reply = self.client.execute_interactive(
            code, timeout=PATIENCE_S, output_hook=lambda one: out.append(one["content"])
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return out

    def processes(self) -> list[psutil.Process]:
        return list(find_processes(self.pid))

    def until_broken(self) -> list[psutil.Process]:
        """Wait until a process is suspended; all processes that run then."""
        eventually(lambda: any(map(_is_suspended, self.processes())), "a suspended process")
        return self.processes()

    def close(self) -> None:
        left = self.processes()
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        assert_ended(*left)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    scenario_file(tmp_path, "brief", variants=("sync-chain",))
    scenario_file(tmp_path, "long", HANG, **LONG)
    running = Kernel(tmp_path)
    yield running
    running.close()


@pytest.mark.slow
def test_both_ways_to_run_show_tables_and_charts(kernel: Kernel) -> None:
    for code in ('lab.run("brief.toml")', 'await lab.arun("brief.toml")'):
        shown = [one["data"] for one in kernel.run(code) if "data" in one]
        (result,) = [one for one in shown if "text/html" in one]
        assert any("starting the processes" in one["text/plain"] for one in shown)
        assert "expectations hold" in result["text/plain"]
        assert "<table" in result["text/html"]
        assert "<svg" in result["text/html"]
    assert kernel.processes() == []


@pytest.mark.parametrize("how", some_slow(CELLS, "lab.run"))
def test_an_interrupt_ends_everything_and_leaves_the_kernel_usable(
    kernel: Kernel, how: str
) -> None:
    asked = kernel.begin(CELLS[how])
    assert kernel.until_broken()
    if "waits" in CELLS[how]:  # nothing else wakes its loop
        eventually((kernel.folder / "waits").exists)
    kernel.manager.interrupt_kernel()
    reply = kernel.reply(asked)
    assert reply["status"] == "error"
    assert reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert kernel.processes() == []
    assert kernel.run("1 + 1")[-1]


@pytest.mark.slow
def test_an_interrupt_in_a_later_cell_heals_what_it_broke(kernel: Kernel) -> None:
    kernel.run('stacks = await lab.up("sync-chain"); chain = stacks["sync-chain"]')
    asked = kernel.begin('async with chain.fault("hang", "comments"): await asyncio.Event().wait()')
    kernel.until_broken()
    kernel.manager.interrupt_kernel()
    assert kernel.reply(asked)["status"] == "error"
    assert not any(map(_is_suspended, kernel.processes()))
    kernel.run("assert await chain.feed() == []; assert not (await chain.faults()).deeds")
    kernel.run("await stacks.close()")
    assert kernel.processes() == []


ENDS: dict[str, Callable[[Kernel], None]] = {
    "killed": lambda kernel: os.kill(kernel.pid, signal.SIGKILL),
    "terminated": lambda kernel: os.kill(kernel.pid, signal.SIGTERM),
    "restarted": lambda kernel: kernel.manager.restart_kernel(now=False),
}


@pytest.mark.parametrize("how", some_slow(["lab.run", "async with lab.up"], "async with lab.up"))
@pytest.mark.parametrize("end", some_slow(ENDS, "killed"))
def test_a_kernel_that_ends_or_restarts_leaves_no_process(
    kernel: Kernel, end: str, how: str
) -> None:
    kernel.begin(CELLS[how])
    processes = kernel.until_broken()
    ENDS[end](kernel)
    assert_ended(*processes)


def _is_suspended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
