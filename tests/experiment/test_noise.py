"""The noise floor: kept per machine, expires in time, and never prevents a run."""

import json
from pathlib import Path
from typing import Literal

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from lab.experiment import differences
from lab.load.samples import Sample
from lab.results.result import ASSUMED_NOISE, NoiseFloor

HERE = {"processor": "A", "cores": 2, "system": "Linux 6.1", "machine": "x86_64"}
ELSEWHERE = HERE | {"processor": "B"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_before_anything_was_measured_it_is_assumed() -> None:
    assert differences.load_noise_floor(HERE) == NoiseFloor(
        share=ASSUMED_NOISE, runs=0, newest=None
    )


def test_what_was_measured_is_the_floor_of_this_machine_only(state: Path) -> None:
    differences.save_noise(HERE, 0.03, "2026-01-01T10:00:00+00:00")
    differences.save_noise(HERE, 0.08, "2026-01-02T10:00:00+00:00")
    floor = differences.load_noise_floor(HERE | {"system": "Linux 6.2", "load_1m": 3})
    assert (floor.share, floor.runs) == (ASSUMED_NOISE, 2)
    assert floor.newest == "2026-01-02T10:00:00+00:00"
    assert differences.load_noise_floor(ELSEWHERE).runs == 0
    assert [path.name for path in state.iterdir()] == ["noise.json"]  # no temporary file is left
    assert list(json.loads((state / "noise.json").read_text())) == ["A, 2, Linux, x86_64"]


def test_of_the_newest_twenty_all_but_the_worst_count() -> None:
    for number in range(30):
        share = 9.0 if number < 10 else 0.5 if number == 15 else 0.1
        differences.save_noise(HERE, share, f"2026-01-{number + 1:02d}T10:00:00+00:00")
    assert differences.load_noise_floor(HERE).runs == differences.MAX_SAVED
    assert differences.load_noise_floor(HERE).share == pytest.approx(0.1 * 1.36, rel=0.01)


def test_the_gap_of_one_run_is_no_floor() -> None:
    assert differences.floor_share([0.004]) == ASSUMED_NOISE
    assert differences.floor_share([0.3]) == 0.3
    few, many = (differences.floor_share([0.03] * runs) for runs in (3, 20))
    assert ASSUMED_NOISE > few > 2 * many > 0.06


@pytest.mark.parametrize("written", ["", "{", "[]", '{"A, 2, Linux, x86_64": [{"share": "x"}]}'])
def test_an_unreadable_file_counts_as_missing(state: Path, written: str) -> None:
    state.mkdir()
    (state / "noise.json").write_text(written)
    assert differences.load_noise_floor(HERE).runs == 0
    differences.save_noise(HERE, 0.05, "2026-01-01T10:00:00+00:00")
    assert differences.load_noise_floor(HERE).runs == 1


def test_an_unwritable_place_is_no_error(state: Path) -> None:
    state.write_text("a file, where the folder should be")
    differences.save_noise(HERE, 0.05, "2026-01-01T10:00:00+00:00")
    assert differences.load_noise_floor(HERE).runs == 0


def test_by_default_the_floor_is_with_the_users_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LAB_STATE")
    monkeypatch.setattr(differences, "user_state_path", _linux_state_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert differences.state_file() == tmp_path / "sync-async-lab" / "noise.json"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert differences.state_file() == tmp_path / ".local/state/sync-async-lab/noise.json"
    support = tmp_path / "Library/Application Support/sync-async-lab"
    assert MacOS("sync-async-lab", appauthor=False).user_state_path == support


def _linux_state_path(name: str, appauthor: Literal[False]) -> Path:
    return Unix(name, appauthor).user_state_path


def sample(variant: str, endpoint: str, latency_ms: float, phase: str = "during") -> Sample:
    return Sample(variant, phase, endpoint, 1.0, 0.1, latency_ms, 200, ok=True)


def test_the_twins_are_as_far_apart_as_their_worst_endpoint() -> None:
    one, again = differences.TWINS
    samples = [
        *(sample(one, "read_feed", 10) for _ in range(50)),
        *(sample(again, "read_feed", 11, "before") for _ in range(50)),
        *(sample(one, "create_post", 25) for _ in range(50)),
        *(sample(again, "create_post", 20) for _ in range(50)),
        *(sample(again, "create_post", 900, "warm_up") for _ in range(90)),
        *(sample(twin, "create_comment", 1 + (twin == one)) for twin in differences.TWINS * 49),
        *(sample("async-bus", "read_feed", 1) for _ in range(90)),
    ]
    assert differences.median_gap(samples) == pytest.approx(0.25)


def test_without_twins_nothing_is_measured() -> None:
    assert differences.median_gap([sample(differences.TWINS[0], "read_feed", 10)] * 90) is None
    assert differences.median_gap([]) is None
