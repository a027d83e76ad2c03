"""`lab run --on`: the runs of a scenario on a Dask cluster of three workers on loopback."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.cluster.ports import reserve
from lab.results.result import RunResult
from tests.support.laboratory import eventually
from tests.support.small import ROOT, environment

pytestmark = pytest.mark.slow

SCENARIO = """
title = "Short"
[load]
rate = 20
[phases]
before = 0.5
during = 2
after = 0.5
[variants.sync-chain]
[variants.async-bus]
[[method]]
fault = "latency"
target = "query"
ms = 20
[[expect]]
says = "Nothing is lost."
that = "async-bus.data.lost == 0"
"""
RUNS = 4


class Cluster:
    """A scheduler and three workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with reserve() as free:
            self.address = f"tcp://127.0.0.1:{free.port}"
        options = ["--no-dashboard", "--no-show", "--host", "127.0.0.1", "--port", str(free.port)]
        self.scheduler = self._start("scheduler", *options)
        self.workers = [
            self._start(
                *("worker", self.address, "--nthreads", "1", "--resources", "lab=1"),
                *("--no-nanny", "--no-dashboard", "--local-directory", str(folder / f"w{number}")),
            )
            for number in range(3)
        ]

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words], stdout=log, stderr=log, cwd=self.folder
            )

    def running(self) -> list[psutil.Process]:
        """The processes of all runs under way: the children of the workers."""
        found = []
        for worker in self.workers:
            if worker.poll() is None:
                found += psutil.Process(worker.pid).children(recursive=True)
        return found

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    running = Cluster(tmp_path)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def command(cluster: Cluster, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "short.toml").write_text(SCENARIO)
    log = tmp_path / "dask.log"
    eventually(lambda: log.read_text().count("Registered to") == 3, "three workers")
    words = ["run", "short.toml", "--repeat", str(RUNS), "--on", cluster.address, "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    yield process
    process.kill()
    process.wait()


def test_three_workers_share_the_runs_and_a_lost_one_is_replaced(
    cluster: Cluster, command: subprocess.Popen[str], tmp_path: Path
) -> None:
    eventually(lambda: len(psutil.Process(cluster.workers[0].pid).children()) > 0, "a run")
    left = psutil.Process(cluster.workers[0].pid).children(recursive=True)
    cluster.workers[0].kill()
    out, err = command.communicate()
    assert command.returncode in (0, 1, 3), err
    assert f"{RUNS} runs on 3 workers" in err
    (folder,) = (tmp_path / "out").iterdir()
    pooled = RunResult.model_validate_json((folder / "result.json").read_bytes())
    assert [run.seed for run in pooled.runs] == [7, 8, 9, 10]
    singles = [
        RunResult.model_validate_json(path.read_bytes())
        for path in sorted(folder.glob("run-0*/result.json"))
    ]
    assert len(singles) == RUNS, (out, err)
    for variant in pooled.variants:
        counted = [run.variant(variant.name) for run in singles if run.valid == pooled.valid]
        accepted = [one.data.acknowledged for one in counted if one and one.data]
        assert variant.data
        assert variant.data.acknowledged == sum(accepted)
    eventually(lambda: not any(process.is_running() for process in left), "the end of its run")


def test_an_interrupt_leaves_nothing_on_any_machine(
    cluster: Cluster, command: subprocess.Popen[str]
) -> None:
    running = eventually(lambda: len(cluster.running()) > 3 and cluster.running(), "runs")
    assert running
    os.kill(command.pid, signal.SIGINT)
    _, err = command.communicate()
    assert command.returncode == 130
    assert "cancelled" in err
    eventually(lambda: not cluster.running(), "the end of all runs")


def test_a_cluster_that_takes_no_runs_is_a_sentence(tmp_path: Path) -> None:
    words = ["run", "calm", "--on", "tcp://127.0.0.1:9", "-o", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        check=False,
    )
    assert done.returncode == 3
    assert re.search("No Dask scheduler answers at tcp://127.0.0.1:9", done.stderr)
