"""A saved run is found by `last`, by the name of its scenario, or by its path."""

from pathlib import Path

import pytest

from lab.results.result import ResultError
from lab.results.run_folder import find_run


def save(parent: Path, *names: str) -> None:
    for name in names:
        (parent / name).mkdir(parents=True)
        (parent / name / "result.json").write_text("{}")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    save(
        tmp_path,
        "20260101-101500-slow-service",
        "20260102-101500-slow-service",
        "20260102-101500-slow-service-2",
        "20260103-101500-web",
    )
    (tmp_path / "20260104-101500-broken-off").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("last", "20260103-101500-web"),
        ("web", "20260103-101500-web"),
        ("slow-service", "20260102-101500-slow-service-2"),
    ],
)
def test_a_word_finds_the_newest_run(runs: Path, word: str, found: str) -> None:
    assert find_run(word, runs).name == found


def test_a_path_finds_its_run(runs: Path) -> None:
    folder = runs / "20260101-101500-slow-service"
    assert find_run(str(folder), runs) == folder
    assert find_run(str(folder / "result.json"), runs) == folder


def test_an_unknown_word_names_the_nearest(runs: Path) -> None:
    with pytest.raises(ResultError, match="Did you mean 'slow-service'"):
        find_run("slow-servic", runs)


def test_without_any_run_the_first_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="lab run slow-service"):
        find_run("last", tmp_path)
