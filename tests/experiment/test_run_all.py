"""Several scenarios in one command: which are chosen, their order, and the messages."""

import json
from pathlib import Path

import pytest

from lab.commands import run as running
from lab.results.result import RunResult
from lab.results.run_folder import drop_databases
from lab.scenarios import catalogue
from tests.support.command_line import invoke_lab
from tests.support.recorded import replay_recorded_runs
from tests.support.small import FALSE, join_lines, scenario_file


def test_all_means_every_scenario_once() -> None:
    chosen = [one.name for one in running._select_scenarios(["duplicates", "all"], [])]
    assert chosen[0] == "duplicates"
    assert sorted(chosen) == sorted(catalogue.builtin_names())


@pytest.mark.parametrize("tag", catalogue.TAGS)
def test_a_tag_means_all_that_have_it(tag: str) -> None:
    chosen = running._select_scenarios(["calm"], [tag, tag])
    assert chosen[0].name == "calm"
    assert all(tag in one.tags for one in chosen[1:])
    having = {one.name for one in catalogue.builtin_scenarios() if tag in one.tags}
    assert {one.name for one in chosen} == having | {"calm"}
    assert having


def test_a_scenario_that_is_named_twice_runs_twice() -> None:
    assert [one.name for one in running._select_scenarios(["calm", "calm"], [])] == ["calm", "calm"]


def test_of_many_scenarios_each_gets_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay_recorded_runs(monkeypatch)
    monkeypatch.setattr(running, "TERSE_MIN_SCENARIOS", 2)
    fine = scenario_file(tmp_path, "fine")
    wrong = scenario_file(tmp_path, "wrong", expect=FALSE)
    said = invoke_lab("run", fine, wrong, "--keep", "kept", cwd=tmp_path, COLUMNS="100")
    assert said.returncode == 1
    first, second, *_ = said.stderr.splitlines()
    assert first == "1 of 2    fine: 1 of 1 expectations hold"
    assert second == "2 of 2    wrong: 0 of 1 expectations hold"
    assert "all expectations hold" in join_lines(said.stdout)
    assert f"wrong: It is so. ({FALSE}, measured" in join_lines(said.stdout)


def test_repeated_scenarios_take_turns_with_a_seed_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = replay_recorded_runs(monkeypatch)
    names = [scenario_file(tmp_path, name) for name in ("first", "second")]
    said = invoke_lab("run", *names, "--repeat", "2", "--json", "--keep", "kept", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert recorded.order == [("first", 7), ("second", 7), ("first", 8), ("second", 8)]
    for name, document in zip(("first", "second"), json.loads(said.stdout), strict=True):
        (folder,) = tmp_path.glob(f"kept/*-{name}")
        assert document["repeats"] == 2
        assert [run["seed"] for run in document["runs"]] == [7, 8]
        assert [run["verdicts"] for run in document["runs"]] == [["holds"], ["holds"]]
        assert [run["folder"] for run in document["runs"]] == ["run-01", "run-02"]
        assert RunResult.load_file(folder / "result.json").repeats == 2
        each = [RunResult.load_file(folder / f"run-0{n}" / "result.json") for n in (1, 2)]
        assert [(one.seed, one.repeats) for one in each] == [(7, 1), (8, 1)]
        assert document["variants"][0]["data"]["acknowledged"] == 80
        shown = join_lines(invoke_lab("report", str(folder), cwd=tmp_path).stdout)
        assert "2 runs, seeds 7 to 8" in shown


@pytest.mark.parametrize("repeat", ["0", "51"])
def test_an_absurd_number_of_runs_is_refused(tmp_path: Path, repeat: str) -> None:
    assert invoke_lab("run", "calm", "--repeat", repeat, cwd=tmp_path).returncode == 2
    assert not (tmp_path / "runs").exists()


def test_databases_are_dropped_wherever_a_run_has_some(tmp_path: Path) -> None:
    parts = ("", "variant-a", "run-01", "run-01/variant-a")
    for part in parts:
        (tmp_path / part / "data" / "a").mkdir(parents=True)
        (tmp_path / part / "samples.csv").touch()
    drop_databases(tmp_path)
    assert list(tmp_path.rglob("data")) == []
    assert len(list(tmp_path.rglob("samples.csv"))) == len(parts)
