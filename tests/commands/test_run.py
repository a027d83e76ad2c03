"""`lab run` at a shell: exit codes, stdout and stderr, saved files, signals."""

import csv
import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import invoke_lab, unhurried_lab
from tests.support.small import FALSE, SLOW_POSTS, run_lab, scenario_file

PRIVATE = 0o600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def ran(folder: Path) -> subprocess.CompletedProcess[str]:
    """One good run, with --json."""
    name = scenario_file(folder, "good", SLOW_POSTS)
    return unhurried_lab("run", name, "--json", "--seed", "3", cwd=folder)


@pytest.fixture(scope="module")
def two(folder: Path) -> subprocess.CompletedProcess[str]:
    """Two runs, the second with an expectation that fails, saved elsewhere."""
    first = scenario_file(folder, "good", SLOW_POSTS)
    second = scenario_file(folder, "bad", expect=FALSE, variants=("sync-chain",))
    words = ("run", first, second, "--json", "--seed", "3", "--keep", "kept")
    return unhurried_lab(*words, cwd=folder)


def run_folder(parent: Path, scenario: str) -> Path:
    """The folder of the scenario's newest run."""
    return max(parent.glob(f"*-{scenario}"), key=lambda path: path.stat().st_mtime)


def schedule(run: Path) -> list[tuple[str, ...]]:
    """What was sent when, in order."""
    with (run / "samples.csv").open(newline="") as rows:
        return sorted(
            (row["variant"], row["intended_s"], row["endpoint"], row["token"])
            for row in csv.DictReader(rows)
        )


def test_json_is_one_document_on_stdout_and_nothing_else(
    ran: subprocess.CompletedProcess[str],
) -> None:
    assert (ran.returncode, ran.stderr) == (0, "")
    document = json.loads(ran.stdout)
    assert document["schema"] == "lab.result/1"
    assert (document["scenario"], document["seed"], document["valid"]) == ("good", 3, True)
    faults = [fault for variant in document["variants"] for fault in variant["faults"]]
    assert [fault["kind"] for fault in faults] == ["latency"] * 2
    assert [item["verdict"] for item in document["expectations"]] == ["holds"]


def test_a_run_is_kept_privately_and_without_databases(
    folder: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    saved = run_folder(folder / "runs", "good")
    assert re.fullmatch(r"\d{8}-\d{6}-good(-\d+)?", saved.name)
    for path in (folder / "runs", saved):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert (saved / "result.json").read_text() == ran.stdout
    private = [saved / "result.json", saved / "samples.csv", *saved.glob("*.log")]
    assert len(private) > 10
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {PRIVATE}
    assert not (saved / "data").exists()
    assert not list(saved.rglob("*.part"))


@pytest.mark.usefixtures("ran")
def test_a_kept_run_is_shown_by_folder_or_document(folder: Path) -> None:
    saved = run_folder(folder / "runs", "good")
    by_folder, by_file, by_name = (
        invoke_lab("report", str(name), cwd=folder)
        for name in (saved, saved / "result.json", "good")
    )
    assert (by_folder.returncode, by_folder.stderr) == (0, "")
    assert "Afterwards" in by_folder.stdout
    assert by_folder.stdout == by_file.stdout == by_name.stdout
    tables = invoke_lab("report", "good", "--full", cwd=folder).stdout
    assert "What became of the writes" in tables


@pytest.mark.usefixtures("ran")
def test_saved_runs_are_listed_and_their_page_is_found(folder: Path) -> None:
    (listed,) = invoke_lab("runs", "--limit", "1", cwd=folder).stdout.splitlines()
    assert "expectations hold" in listed
    (described,) = json.loads(invoke_lab("runs", "--json", "--limit", "1", cwd=folder).stdout)
    assert (folder / described["folder"] / "result.json").exists()
    address = invoke_lab("open", "good", "--print", cwd=folder).stdout.strip()
    assert address.startswith("file://")
    assert address.endswith("report.html")


def test_several_runs_are_one_list_with_the_worst_code(
    two: subprocess.CompletedProcess[str],
) -> None:
    assert (two.returncode, two.stderr) == (1, "")
    documents = json.loads(two.stdout)
    assert [item["scenario"] for item in documents] == ["good", "bad"]
    assert [item["expectations"][0]["verdict"] for item in documents] == ["holds", "fails"]


@pytest.mark.usefixtures("two")
def test_a_run_with_keep_keeps_its_databases(folder: Path) -> None:
    saved = run_folder(folder / "kept", "bad")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o700
    assert {path.stem for path in (saved / "data" / "sync-chain").glob("*.db")} >= {
        "posts",
        "comments",
    }


@pytest.mark.usefixtures("ran", "two")
def test_the_same_seed_is_the_same_schedule(folder: Path) -> None:
    first = schedule(run_folder(folder / "runs", "good"))
    assert first
    assert first == schedule(run_folder(folder / "kept", "good"))
    assert first != schedule(run_folder(folder / "kept", "bad"))


def test_only_and_rate_choose_a_variant_and_its_load(tmp_path: Path) -> None:
    name = scenario_file(tmp_path, "good", SLOW_POSTS, rate=5, title="Größe: 漢字")
    words = ("run", name, "--json", "--only", "sync-chain", "--rate", "40", "--quick")
    document = json.loads(unhurried_lab(*words, cwd=tmp_path, PYTHONIOENCODING="ascii").stdout)
    assert document["title"] == "Größe: 漢字"
    assert [item["name"] for item in document["variants"]] == ["sync-chain"]
    assert document["quick"] is True
    plan = json.loads((run_folder(tmp_path / "runs", "good") / "plan.json").read_text())
    assert plan["rate"] == 40
    assert [phase["seconds"] for phase in plan["phases"][1:]] == [0.5, 0.5, 0.5]


def test_a_dishonest_run_is_3_and_says_why(tmp_path: Path) -> None:
    """Its fault meets no request, and its steady state can't hold on any machine."""
    reading: dict[str, Any] = {"mix": "read_feed = 1", "variants": ("sync-chain",)}
    reading["steady"] = "read_feed.success > 1"
    name = scenario_file(tmp_path, "ill", {"fault": "error", "target": "moderation"}, **reading)
    ended = run_lab("run", name, "--json", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (3, "")
    document = json.loads(ended.stdout)
    assert document["valid"] is False
    problems = " ".join(document["problems"])
    assert "error on moderation of sync-chain is not proved to have acted" in problems
    assert "was not well before anything was broken: wanted read_feed.success" in problems
    shown = invoke_lab("report", str(run_folder(tmp_path / "runs", "ill")), cwd=tmp_path).stdout
    assert "INVALID" in shown


def test_a_scenario_that_can_not_run_spares_the_others(tmp_path: Path) -> None:
    brief = {"variants": ("sync-chain",), "phases": "before = 0.5, during = 0.5, after = 0.5"}
    down, slow = {"fault": "down", "target": "posts"}, {**SLOW_POSTS, "at": 0.1}
    never = scenario_file(tmp_path, "never", down, slow, **brief)
    good = scenario_file(tmp_path, "good", **brief)
    ended = unhurried_lab("run", never, good, "--json", cwd=tmp_path)
    assert ended.returncode == 3
    assert re.search(r"latency could not be (put on|taken off) sync-chain\.posts", ended.stderr)
    assert "Traceback" not in ended.stderr
    assert [item["scenario"] for item in json.loads(ended.stdout)] == ["good"]
    assert not list((tmp_path / "runs").glob("*/data"))
