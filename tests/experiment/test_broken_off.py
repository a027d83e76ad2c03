"""An interrupted run: its faults are removed and its processes ended, at whatever moment."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.cluster.injector import Injection
from lab.experiment import trial
from lab.experiment.runner import Run
from lab.scenarios.scenario import Scenario
from tests.support.small import find_processes, scenario_file

LONG = "before = 0.5, during = 60, after = 60"


@pytest.fixture
def own_processes() -> Iterator[Callable[[], set[int]]]:
    """The pids of the lab's living processes that this test has started."""
    before = {process.pid for process in find_processes(os.getpid())}

    def look() -> set[int]:
        return {process.pid for process in find_processes(os.getpid())} - before

    yield look
    assert look() == set()


class WatchedInjection(Injection):
    """An injection that tells the test when it begins, is being removed, and is gone."""

    began: asyncio.Event
    ending: asyncio.Event
    removed: list[tuple[str, bool]]

    async def begin(self, seed: int = 0) -> None:
        await super().begin(seed)
        WatchedInjection.began.set()

    async def end(self) -> None:
        WatchedInjection.ending.set()
        await super().end()
        WatchedInjection.removed.append((self.fault.kind, self.removed))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[WatchedInjection]:
    WatchedInjection.began, WatchedInjection.ending, WatchedInjection.removed = (
        asyncio.Event(),
        asyncio.Event(),
        [],
    )
    monkeypatch.setattr(trial, "Injection", WatchedInjection)
    return WatchedInjection


@pytest.mark.parametrize(
    ("kind", "when"), [("down", "began"), ("hang", "began"), ("error", "began"), ("down", "ending")]
)
async def test_a_run_broken_off_heals_its_fault_and_leaves_nothing(
    tmp_path: Path,
    kind: str,
    when: str,
    watched: type[WatchedInjection],
    own_processes: Callable[[], set[int]],
) -> None:
    method = {"fault": kind, "target": "comments"} | ({"seconds": 0.2} if when == "ending" else {})
    one = _scenario(tmp_path, method, phases=LONG, variants=("sync-chain",))
    running = asyncio.create_task(Run(one, tmp_path)())
    await getattr(watched, when).wait()
    assert own_processes()
    assert watched.removed == []
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert watched.removed == [(kind, True)]
    assert own_processes() == set()


async def test_half_a_progress_line_waits_for_its_other_half(
    tmp_path: Path,
) -> None:
    seen: list[str] = []
    one = _scenario(tmp_path)
    load = trial.LoadPhase(one, tmp_path, 7, lambda line: seen.append(line["phase"]))
    following = asyncio.create_task(load._follow_progress())
    path = tmp_path / "progress.ndjson"
    for part, phase in (('{"phase": "a"}\n{"pha', "a"), ('se": "b"}\n', "b")):
        with path.open("a") as out:
            out.write(part)
        while seen[-1:] != [phase]:
            assert not following.done()
            await asyncio.sleep(0.01)
    following.cancel()
    assert seen == ["a", "b"]


def _scenario(folder: Path, *methods: Mapping[str, Any], **more: Any) -> Scenario:
    return Scenario.load_file(folder / scenario_file(folder, "own", *methods, **more))
