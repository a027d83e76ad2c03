"""A step of the wall clock, an hour forward or back, hides no lab and moves no figure."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from lab.live.sandbox.instances import find_running_labs
from lab.results.result import RunResult
from tests.programs.ended_checks import write_target
from tests.programs.ups import do_as_printed, up
from tests.support.clock_step import SteppedClock
from tests.support.command_line import unhurried_lab
from tests.support.preload import needs_preload
from tests.support.small import SLOW_POSTS, run_lab, scenario_file

pytestmark = [needs_preload, pytest.mark.slow]

HOUR_S = 3_600
STEP_EVERY_S = 0.4
IN_THE_LAB = [
    ("fault", "latency", "comments", "--ms", "5"),
    ("fault",),
    ("heal",),
    ("events",),
    ("redrive",),
]


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    """A clock; the instance files of these tests are apart from those of other labs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return SteppedClock(tmp_path)


@contextmanager
def stepping(clock: SteppedClock) -> Iterator[None]:
    """Step the clock again and again inside the block: an hour forward, back, an hour back."""
    over = threading.Event()

    def step() -> None:
        for ahead_s in cycle((HOUR_S, 0, -HOUR_S, 0)):
            clock.set(ahead_s)
            if over.wait(STEP_EVERY_S):
                return

    thread = threading.Thread(target=step)
    thread.start()
    try:
        with clock.preloaded():
            yield
    finally:
        over.set()
        thread.join()


def test_after_a_step_of_the_clock_each_command_finds_its_lab(
    clock: SteppedClock, tmp_path: Path
) -> None:
    with clock.preloaded(), up(tmp_path / "lab", "async-bus") as running:
        for ahead_s in (HOUR_S, -HOUR_S):
            clock.set(ahead_s)
            for words in IN_THE_LAB:
                done = run_lab(*words, cwd=tmp_path)
                assert done.returncode == 0, (ahead_s, words, done.stdout, done.stderr)
            doctor = run_lab("doctor", cwd=tmp_path).stdout
            assert not [one.pid for one in running.tree if f"process {one.pid} " in doctor]
            do_as_printed(running, "async-bus")
        assert [one.pid for one in find_running_labs()] == [running.process.pid]
        assert running.end(signal.SIGINT) == 130
        running.assert_nothing_is_left()


def test_a_run_over_steps_of_the_clock_has_the_usual_figures(
    clock: SteppedClock, tmp_path: Path
) -> None:
    file = scenario_file(tmp_path, "stepped", SLOW_POSTS)
    with stepping(clock):
        done = unhurried_lab("run", file, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = RunResult.model_validate_json(done.stdout)
    assert result.valid, result.problems
    for variant in result.variants:
        assert variant.data is not None
        assert variant.data.acknowledged > 0
        assert (variant.data.lost, variant.data.duplicated) == (0, 0)
        latencies = [
            of.latency_ms for phase in variant.phases.values() for of in phase.endpoints.values()
        ]
        measured = [one.p50 for one in latencies if one.p50 is not None]
        assert measured
        assert 0 < min(measured) <= max(measured) < 1_000 * HOUR_S / 2


@pytest.mark.soak
@pytest.mark.parametrize("words", [("trace",), ("design",)])
def test_other_commands_end_well_over_steps_of_the_clock(
    clock: SteppedClock, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with stepping(clock):
        done = run_lab(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.soak
def test_a_check_over_steps_of_the_clock_says_the_same(clock: SteppedClock, tmp_path: Path) -> None:
    """`lab check` of an external blog, with a steady clock and with steps."""
    words = ("check", write_target(tmp_path).name, "--contract", "--json")
    steady = run_lab(*words, cwd=tmp_path)
    with stepping(clock):
        stepped = run_lab(*words, cwd=tmp_path)
    assert verdicts(stepped.stdout) == verdicts(steady.stdout)


def verdicts(card: str) -> list[tuple[str, bool | None]]:
    parts = json.loads(card)["parts"]
    return [(one["key"], one["held"]) for part in parts for one in part["criteria"]]
