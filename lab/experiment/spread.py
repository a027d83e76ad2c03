"""Spreads the runs of a scenario over a Dask cluster (docs.dask.org), one run a machine at a time.

    lab run --on ──task──▶ scheduler ──▶ worker ──child──▶ this module ──▶ Run
                 ◀── folder of the run, as a tar file ──────────┘

A worker offers the resource `lab`, and each task takes all of it: two runs at once on a machine
would measure each other. The scheduler gives the task of a lost worker to another one.

The run is a child process, because it handles signals and forks. It ends with its worker, whatever
ends that: the worker holds the only write end of the child's lifeline. It also ends when its
task is cancelled, by Ctrl-C or because the client of the cluster is gone.
"""

import asyncio
import importlib
import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from lab.cluster.errors import LabCannotRun
from lab.experiment.pooling import RunOutcome
from lab.experiment.runner import RepeatedRun, Run
from lab.load.samples import read_samples
from lab.results.result import RunResult
from lab.results.run_folder import drop_databases, lab_version
from lab.scenarios.scenario import Scenario
from lab.support.parent_watch import LIFELINE, exit_with_parent

RESOURCE = "lab"
CONNECTED_WITHIN_S = 10.0
LOOK_EVERY_S = 0.2
ENDED_WITHIN_S = 20.0
FAILURE = "failure.txt"
_HINT = f"Start one on each machine: dask worker ADDRESS --nthreads 1 --resources {RESOURCE}=1"


class ClusterCannotRun(LabCannotRun):
    """The scheduler can't be reached, or has no worker that takes runs."""


# ── On the machine of the command


def run_on(
    repeated: RepeatedRun, address: str, progress: Callable[[str], None]
) -> Generator[RunOutcome, None, None]:
    """Run all runs of `repeated` on the cluster at `address`; yields each outcome when it arrives.

    Raises ClusterCannotRun. When it is closed early, the runs under way are cancelled.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ClusterCannotRun(
            "--on needs Dask, which is not installed here. Try: pip install distributed"
        ) from None
    try:
        client = distributed.Client(address, timeout=CONNECTED_WITHIN_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterCannotRun(
            f"No Dask scheduler answers at {address} ({error}). Start it with: dask scheduler"
        ) from None
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        able = sum(RESOURCE in worker["resources"] for worker in workers)
        if not able:
            raise ClusterCannotRun(
                f"The cluster at {address} has {len(workers)} workers, and none offers the "
                f"resource {RESOURCE!r}. {_HINT.replace('ADDRESS', address)}"
            )
        progress(f"{repeated.repeats} runs on {able} workers of {address}")
        futures = {
            client.submit(
                run_as_child,
                *(pickle.dumps(repeated.scenario), repeated.seed + number, repeated.quick),
                *(number % 2 == 1, lab_version()),
                resources={RESOURCE: 1},
                pure=False,
            ): number
            for number in range(repeated.repeats)
        }
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                yield _receive(repeated, futures[future], future)
        finally:
            client.cancel(list(futures))
            repeated.outcomes.sort(key=lambda outcome: outcome.seed)


def _receive(repeated: RepeatedRun, number: int, future: Any) -> RunOutcome:
    """Unpack the folder of a run that is over, and record its outcome."""
    folder = repeated.folder
    if repeated.repeats > 1:
        folder = folder / f"run-{number + 1:02d}"
        folder.mkdir(mode=0o700)
    seed = repeated.seed + number
    outcome = RunOutcome(seed, folder, None, failure="The run was cancelled.")
    if future.status == "finished":
        with tarfile.open(fileobj=io.BytesIO(future.result())) as archive:
            archive.extractall(folder, filter="data")
        failure = folder / FAILURE
        if failure.exists():
            outcome = RunOutcome(seed, folder, None, failure=failure.read_text("utf-8"))
        else:
            result = RunResult.model_validate_json((folder / "result.json").read_bytes())
            outcome = RunOutcome(seed, folder, result, read_samples(folder / "samples.csv"))
    elif future.status == "error":
        outcome = RunOutcome(seed, folder, None, failure=f"Its worker: {future.exception()}")
    repeated.outcomes.append(outcome)
    return outcome


# ── On the machine of a worker


def run_as_child(scenario: bytes, seed: int, quick: bool, reverse: bool, version: str) -> bytes:
    """The task: the folder of one run as a tar file, without databases. Without a result, it has
    the reason in FAILURE."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.get_current_task()

    def is_cancelled() -> bool:
        state = worker.state.tasks.get(task)
        return state is None or state.state not in ("executing", "long-running")

    with tempfile.TemporaryDirectory(dir=worker.local_directory) as name:
        folder = Path(name) / "run"
        folder.mkdir()
        if lab_version() != version:
            text = f"The worker has version {lab_version()} of the lab, the command has {version}."
            (folder / FAILURE).write_text(text, "utf-8")
        else:
            arguments = pickle.dumps((scenario, folder, seed, quick, reverse))
            _run_child(arguments, folder, is_cancelled)
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            archive.add(folder, ".")
    return content.getvalue()


def _run_child(arguments: bytes, folder: Path, is_cancelled: Callable[[], bool]) -> None:
    watched, held = os.pipe()
    output = folder / "worker.log"
    with (
        output.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "lab.experiment.spread"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(watched,),
            env=os.environ | {LIFELINE: str(watched)},
            start_new_session=True,
        ) as child,
    ):
        os.close(watched)
        try:
            assert child.stdin
            child.stdin.write(arguments)
            child.stdin.close()
            while child.poll() is None and not is_cancelled():
                time.sleep(LOOK_EVERY_S)
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
                try:
                    child.wait(ENDED_WITHIN_S)
                except subprocess.TimeoutExpired:
                    child.kill()
        finally:
            os.close(held)  # at the latest now, the child ends
    ended_well = child.returncode == 0
    if not ended_well and not (folder / FAILURE).exists():
        last = output.read_text("utf-8", "replace").strip()[-400:]
        (folder / FAILURE).write_text(f"The run ended with {child.returncode}: {last}", "utf-8")


async def _run(scenario: Scenario, folder: Path, seed: int, quick: bool, reverse: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await Run(scenario, folder, seed, quick, reverse=reverse)()
    except LabCannotRun as error:
        (folder / FAILURE).write_text(str(error), "utf-8")
    finally:
        drop_databases(folder)


def main() -> None:
    """The child: one run, whose arguments come pickled on stdin."""
    exit_with_parent()
    scenario, folder, seed, quick, reverse = pickle.loads(sys.stdin.buffer.read())
    del os.environ[LIFELINE]
    asyncio.run(_run(pickle.loads(scenario), folder, seed, quick, reverse))


if __name__ == "__main__":
    main()
