"""`lab start`, `lab list`, `lab show`, `lab claims`, `lab compare`, and their JSON."""

import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lab.domain.services import CALLERS_OF, EVENT_CONSUMERS, PUBLISHER_OF, TWINS
from lab.report.formatting import TextFormat
from lab.report.terminal.picture import draw_blog
from lab.report.terminal.progress import ProgressDisplay
from lab.results.claims import CLAIMS
from lab.results.result import Expectation
from lab.scenarios import catalogue
from lab.scenarios.names import AFTERNOON, FIRST_HOUR
from tests.support import kept_runs
from tests.support.command_line import invoke_lab
from tests.support.small import join_lines, run_lab, scenario_file


def keep(folder: Path, scenario: str, number: int = 1, **more: Any) -> None:
    """Save a result as a run of this scenario in `runs/`."""
    run = kept_runs.result(kept_runs.samples(), scenario=scenario)
    for name, value in more.items():
        setattr(run, name, value)
    place = folder / "runs" / f"20260101-10150{number}-{scenario}"
    place.mkdir(parents=True)
    run.save(place / "result.json")


def expectation(verdict: str, measured: float, claim: str = "slowest-hop") -> Expectation:
    path = "sync-chain.during.read_feed.p50"
    return Expectation.model_validate(
        {
            "says": "It waits.",
            "claim": claim,
            "that": f"{path} >= 300",
            "verdict": verdict,
            "measured": measured,
            "values": {path: measured},
        }
    )


def listed_json(*words: str, cwd: Path) -> Any:
    ended = invoke_lab(*words, "--json", cwd=cwd)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


# ── The picture


def test_the_picture_has_every_call_and_every_event() -> None:
    lines = [line.plain for line in draw_blog(TextFormat(False, 80))]
    assert max(map(len, lines)) <= 80
    bus_begins = next(place for place, line in enumerate(lines) if line.startswith(TWINS[1]))
    chain, bus = lines[:bus_begins], lines[bus_begins:]
    caller, calls = "", set()
    for line in chain[1:]:
        if begins := re.match(r"  \S+ +─► (\w+)", line):
            caller = begins[1]
        calls |= {(caller, called) for called in re.findall(r"[─┬├└]─► (\w+)", line)}
    assert calls == {(who, target) for target, callers in CALLERS_OF.items() for who in callers}
    flows = {
        (found[1], found[2], tuple(found[3].split(", ")))
        for line in bus
        if (found := re.search(r"(\w+) +─► │ (\w+) +│ ─► (.*)", line))
    }
    assert flows == {
        (PUBLISHER_OF[event], event, consumers) for event, consumers in EVENT_CONSUMERS.items()
    }


def test_the_picture_marks_what_is_broken() -> None:
    text = list(draw_blog(TextFormat(False, 80), broken=["comments"]))[2]
    marked = [text.plain[span.start : span.end] for span in text.spans if "red" in str(span.style)]
    assert marked == ["comments"]


def test_show_has_the_picture_of_the_twins_among_its_variants(tmp_path: Path) -> None:
    shown = invoke_lab("show", "slow-service", cwd=tmp_path).stdout
    assert all(f"{name}: services" in shown for name in TWINS)
    expect = "async-bus.data.lost == 0"
    name = scenario_file(tmp_path, "own", variants=("monolith", "async-bus"), expect=expect)
    shown = invoke_lab("show", name, cwd=tmp_path).stdout
    assert "async-bus: services" in shown
    assert "sync-chain: services" not in shown


# ── The first page


def test_lab_alone_is_the_first_page(tmp_path: Path) -> None:
    alone = invoke_lab(cwd=tmp_path)
    assert alone == invoke_lab("start", cwd=tmp_path)
    assert len(alone.stdout.splitlines()) <= 35
    steps = re.findall(r"^  (.) lab run (\S+) --predict", alone.stdout, re.MULTILINE)
    assert steps == [("►", FIRST_HOUR[0]), *((" ", name) for name in FIRST_HOUR[1:])]
    assert "A slow service   (you are here)" in alone.stdout


def test_the_first_page_knows_what_was_run(tmp_path: Path) -> None:
    keep(tmp_path, FIRST_HOUR[0])
    keep(tmp_path, FIRST_HOUR[1], valid=False)
    (tmp_path / "runs" / f"20260101-101509-{FIRST_HOUR[2]}").mkdir()
    shown = invoke_lab(cwd=tmp_path).stdout
    steps = re.findall(r"^  (.) lab run (\S+) --predict", shown, re.MULTILINE)
    assert [sign for sign, _ in steps] == ["✓", "►", " ", " ", " "]
    for name in FIRST_HOUR[1:]:
        keep(tmp_path, name, 5)
    shown = invoke_lab(cwd=tmp_path).stdout
    assert "you are here" not in shown
    assert "All five are done." in shown


def test_each_run_of_the_path_names_the_next() -> None:
    for name, following in pairwise((*FIRST_HOUR, AFTERNOON[0])):
        assert catalogue.find(name).answer.next.split()[0] == following


# ── Scenarios


def test_the_list_begins_with_the_first_hour(tmp_path: Path) -> None:
    listed = invoke_lab("list", cwd=tmp_path).stdout
    lines = re.findall(r"^  ([a-z-]+)  +\S.* \d+ +\d+$", listed, re.MULTILINE)
    assert lines == [*FIRST_HOUR, *AFTERNOON]
    assert all(name in listed for name in catalogue.builtin_names())


def test_the_whole_list_has_a_line_for_each_scenario(tmp_path: Path) -> None:
    listed = invoke_lab("list", "--all", cwd=tmp_path).stdout
    for scenario in catalogue.builtin_scenarios():
        line = rf"^  {scenario.name}  +{re.escape(scenario.title)} +\d+ +\d+$"
        assert re.search(line, listed, re.MULTILINE)
    assert all(tag in listed for tag in catalogue.TAGS)


@pytest.mark.parametrize("words", [("list",), ("list", "--all")])
def test_names_are_whole_in_a_narrow_terminal(tmp_path: Path, words: tuple[str, ...]) -> None:
    wide, narrow = (
        invoke_lab(*words, cwd=tmp_path, COLUMNS=columns).stdout for columns in ("240", "40")
    )
    names = {word.strip(",") for word in wide.split()} & set(catalogue.builtin_names())
    assert len(names) > 9
    assert names <= {word.strip(",") for word in narrow.split()}


def test_scenarios_as_json(tmp_path: Path) -> None:
    data = listed_json("list", cwd=tmp_path)
    assert data["schema"] == "lab.scenarios/1"
    assert [one["name"] for one in data["scenarios"]] == list(catalogue.builtin_names())
    by_name = {one["name"]: one for one in data["scenarios"]}
    assert by_name["slow-service"]["stage"] == "first hour"
    assert by_name["slow-service"]["seconds"] == 12
    assert by_name["slow-service"]["quick_seconds"] == 6
    assert all(one["theme"] for one in data["scenarios"])


def test_a_scenario_as_json(tmp_path: Path) -> None:
    data = listed_json("show", "slow-service", cwd=tmp_path)
    assert (data["schema"], data["name"]) == ("lab.scenario/1", "slow-service")
    during = next(phase for phase in data["phases"] if phase["name"] == "during")
    (fault,) = during["faults"]
    assert (fault["kind"], fault["target"], fault["settings"]) == (
        "latency",
        "comments",
        {"ms": 300, "per_event": True},
    )
    assert list(data["variants"]) == list(TWINS)


# ── Claims


def test_claims_show_figures_with_units_and_count_the_rest(tmp_path: Path) -> None:
    nothing = join_lines(invoke_lab("claims", cwd=tmp_path).stdout)
    assert all(f"{claim} " in nothing for claim in CLAIMS)
    tested_by = [one for one in catalogue.builtin_scenarios() if "slowest-hop" in one.claims]
    count = len(tested_by)
    assert f"Not measured here: {count} scenarios test it. Try: lab run slow-service" in nothing
    keep(tmp_path, "slow-service", expectations=[expectation("holds", 312.4)])
    shown = join_lines(invoke_lab("claims", cwd=tmp_path).stdout)
    assert "1 of 1 hold. It waits. Measured: sync-chain.during.read_feed.p50 312 ms." in shown
    assert f"Not measured here: {count - 1} more scenarios test it." in shown


def test_claims_come_from_the_newest_valid_run(tmp_path: Path) -> None:
    keep(tmp_path, "slow-service", 1, expectations=[expectation("holds", 312)])
    keep(tmp_path, "slow-service", 2, expectations=[expectation("fails", 3.1)])
    keep(tmp_path, "slow-service", 3, expectations=[expectation("holds", 999)], valid=False)
    shown = join_lines(invoke_lab("claims", cwd=tmp_path).stdout)
    assert "✗ 0 of 1 hold. It waits. Measured: sync-chain.during.read_feed.p50 3.1 ms." in shown
    assert "999" not in shown
    data = listed_json("claims", cwd=tmp_path)
    claim = next(one for one in data["claims"] if one["id"] == "slowest-hop")
    measured = {one["scenario"]: one["measured"] for one in claim["tested_by"]}
    assert measured["slow-service"]["expectations"][0]["verdict"] == "fails"
    assert {name for name, figures in measured.items() if figures} == {"slow-service"}


# ── Comparisons


def test_compare_judges_no_run_that_is_no_result(tmp_path: Path) -> None:
    keep(tmp_path, "calm", 1, expectations=[expectation("holds", 3)])
    keep(tmp_path, "slow-service", 2, expectations=[expectation("fails", 4)], valid=False)
    shown = invoke_lab("compare", "calm", "slow-service", cwd=tmp_path).stdout
    assert "B is no result, so no verdicts are compared." in shown
    assert "B fails" not in shown
    data = listed_json("compare", "calm", "last", cwd=tmp_path)
    assert data["changed"] is None
    assert [run["valid"] for run in data["runs"]] == [True, False]
    feed = next(one for one in data["figures"] if one["request"] == "read_feed")
    assert feed["p50_ms"][0] == feed["p50_ms"][1] > 0
    keep(tmp_path, "slow-service", 3, expectations=[expectation("fails", 4)])
    (changed,) = listed_json("compare", "calm", "last", cwd=tmp_path)["changed"]
    assert changed["verdicts"] == ["holds", "fails"]


def test_the_machine_is_described_as_json(tmp_path: Path) -> None:
    ended = invoke_lab("doctor", "--json", cwd=tmp_path)
    data = json.loads(ended.stdout)
    assert data["schema"] == "lab.doctor/1"
    levels = {finding["level"] for finding in data["findings"]}
    assert levels <= {"ok", "warn", "bad"}
    assert ended.returncode == (3 if "bad" in levels else 0)


# ── Saved runs


def test_where_runs_are_saved_is_set_once(tmp_path: Path) -> None:
    keep(tmp_path / "mine", "calm")
    listed = run_lab("runs", cwd=tmp_path, LAB_RUNS_DIR="mine/runs")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "(mine/runs/20260101-101501-calm)" in listed.stdout


def test_a_saved_result_is_printed_as_it_was_saved(tmp_path: Path) -> None:
    keep(tmp_path, "calm", title="Größe")
    (saved,) = tmp_path.glob("runs/*/result.json")
    shown = invoke_lab("report", "--json", cwd=tmp_path)
    assert (shown.returncode, shown.stdout) == (0, saved.read_text("utf-8"))
    assert invoke_lab("report", "--json", "--plot", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("run", ["last", "calm", "runs/20260101-101501-calm"])
def test_a_trace_is_found_in_a_run_by_its_name(tmp_path: Path, run: str) -> None:
    """The saved run has no samples; the message names the folder in which they were looked for."""
    keep(tmp_path, "calm")
    ended = invoke_lab("trace", "--run", run, cwd=tmp_path)
    assert ended.returncode == 2
    assert "runs/20260101-101501-calm" in ended.stderr


# ── The version, and progress


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_an_option(tmp_path: Path, option: str) -> None:
    assert invoke_lab(option, cwd=tmp_path) == invoke_lab("version", cwd=tmp_path)


def progress_text(level: int, terminal: bool) -> str:
    out = io.StringIO()
    out.isatty = lambda: terminal  # type: ignore[method-assign]
    screen = Console(file=out, width=80, force_terminal=terminal, color_system=None)
    scenario = catalogue.find("slow-service")
    counts = {"sent": 3, "ok": 2, "failed": 1, "in_flight": 0, "pending_visible": 0}
    with ProgressDisplay(scenario, screen, level=level) as display:
        display({"phase": "before", "t": 0.1, "variants": {}})
        display({"phase": "during", "t": 3.0, "variants": {"sync-chain": counts}})
    return out.getvalue()


def test_the_progress_separates_phase_and_fault() -> None:
    assert "during   comments: latency" in progress_text(0, terminal=True)


def test_verbose_progress_is_a_line_for_each_phase_also_in_a_pipe() -> None:
    assert progress_text(0, terminal=False) == progress_text(-1, terminal=True) == ""
    before, during = progress_text(1, terminal=False).splitlines()
    assert "slow-service 0.1 s before" in join_lines(before)
    assert join_lines(during) == (
        "slow-service 3.0 s during comments: latency sync-chain 2 ok, 1 failed"
    )
