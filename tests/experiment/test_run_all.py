"""Several scenarios in one command: which are chosen, their order, and the messages."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

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


def test_what_was_no_result_runs_once_more_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = replay_recorded_runs(monkeypatch)
    monkeypatch.setattr(running, "TERSE_MIN_SCENARIOS", 2)
    names = [scenario_file(tmp_path, name, expect=FALSE) for name in ("early", "never", "late")]
    recorded.busy.update(early=1, never=2)
    said = invoke_lab("run", *names, "--keep", "kept", cwd=tmp_path, COLUMNS="100")
    assert [name for name, _ in recorded.order] == ["early", "never", "late", "early", "never"]
    assert "2 runs were no result. Once more:" in said.stderr
    assert "1 of 2    early: 0 of 1 expectations hold" in said.stderr
    assert len(list(tmp_path.glob("kept/*-early*"))) == 2
    # `never` is still no result: it has no failed expectation, and gives the exit code.
    assert said.returncode == 3
    listed = [line for line in said.stdout.splitlines() if "It is so." in line]
    assert [line.partition(":")[0] for line in listed] == ["early", "late"]


def test_three_busy_runs_in_a_row_end_the_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = replay_recorded_runs(monkeypatch)
    monkeypatch.setattr(running, "TERSE_MIN_SCENARIOS", 2)
    names = [scenario_file(tmp_path, name) for name in ("fine", "one", "two", "three", "four")]
    recorded.busy.update(one=9, two=9, three=9, four=9)
    said = invoke_lab("run", *names, cwd=tmp_path)
    assert said.returncode == 3
    assert [name for name, _ in recorded.order] == ["fine", "one", "two", "three"]
    assert "Stopped: 3 runs in a row are no result" in said.stderr
    assert "1 scenario was not run." in said.stderr


def test_a_single_run_without_a_result_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = replay_recorded_runs(monkeypatch)
    recorded.busy.update(alone=9)
    assert invoke_lab("run", scenario_file(tmp_path, "alone"), cwd=tmp_path).returncode == 3
    assert len(recorded.order) == 1


def test_runs_are_also_written_as_junit_and_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = replay_recorded_runs(monkeypatch)
    recorded.busy.update(ill=9)
    names = [scenario_file(tmp_path, "fine"), scenario_file(tmp_path, "wrong", expect=FALSE)]
    names += [scenario_file(tmp_path, "ill")]
    files = ("--junit", "all.xml", "--csv", "all.csv")
    said = invoke_lab("run", *names, *files, "-o", "mine", cwd=tmp_path)
    assert said.returncode == 3
    suite = ElementTree.parse(tmp_path / "all.xml").getroot()[0]
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    cases = {case.get("classname"): case for case in suite}
    assert len(cases["fine"]) == 0
    failure, error = cases["wrong"].find("failure"), cases["ill"].find("error")
    assert failure is not None
    assert error is not None
    assert failure.get("message") == "Measured: sync-chain.data.acknowledged 40."
    assert error.get("message") == "No result: The load was late."
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["scenario"], row["valid"]) for row in rows} == {
        ("fine", "1"),
        ("wrong", "1"),
        ("ill", "0"),
    }
    assert {row["phase"] for row in rows} >= {"before", "during", "after"}
    assert all(float(row["success"]) <= 1 for row in rows if row["success"])
    assert len(list((tmp_path / "mine").iterdir())) == 3
    assert not (tmp_path / "runs").exists()


def test_the_seed_is_set_once_for_all_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = replay_recorded_runs(monkeypatch)
    name = scenario_file(tmp_path, "fine")
    assert invoke_lab("run", name, cwd=tmp_path, LAB_SEED="11").returncode == 0
    assert invoke_lab("run", name, "--seed", "3", cwd=tmp_path, LAB_SEED="11").returncode == 0
    assert [seed for _, seed in recorded.order] == [11, 3]


def test_quiet_leaves_only_results_and_verbose_adds_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay_recorded_runs(monkeypatch)
    name = scenario_file(tmp_path, "fine")
    assert "Saved in" in invoke_lab("run", name, cwd=tmp_path).stderr
    for words in (("-q", "run", name), ("run", name, "-q")):
        said = invoke_lab(*words, cwd=tmp_path)
        assert (said.returncode, said.stderr) == (0, "")
        assert "expectations hold" in said.stdout


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
