"""Many people's runs as one document: nothing is averaged over machines."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.report import merged as report
from lab.report.blocks import Line, Table
from lab.results.merge import (
    HandedIn,
    LeftOut,
    MergedScenario,
    RunSpread,
    find_results,
    merge,
)
from lab.results.result import NOBODY, Guess, RunResult
from tests.support import kept_runs
from tests.support.command_line import invoke_lab


def run_of(slower: float = 1.0, guessed: float = 300.0, **more: Any) -> RunResult:
    """A run on a machine where everything takes `slower` times as long, with two guesses."""
    samples = [
        replace(one, latency_ms=(one.latency_ms or 0) * slower) for one in kept_runs.samples()
    ]
    result = kept_runs.result(samples, seed=round(slower * 10), **more)
    who = Guess(question="who", asks="Who fails?", guessed=NOBODY, measured="sync-chain", hit=False)
    how = Guess(
        question="feed_p50_ms",
        asks="How long?",
        variant="sync-chain",
        unit="ms",
        guessed=guessed,
        measured=300.0 * slower,
        hit=0.5 <= guessed / (300 * slower) <= 2,
    )
    return result.model_copy(update={"guesses": [who, how]})


def merged_of(*runs: RunResult) -> MergedScenario:
    (part,) = merge(HandedIn(f"person-{at}", run) for at, run in enumerate(runs)).scenarios
    return part


def figure_of(part: MergedScenario, variant: str, phase: str, endpoint: str) -> Any:
    (found,) = (
        one
        for one in part.figures
        if (one.variant, one.phase, one.endpoint) == (variant, phase, endpoint)
    )
    return found


def test_a_figure_has_its_lowest_median_and_highest_run() -> None:
    part = merged_of(run_of(1.0), run_of(3.0), run_of(2.0))
    p50 = figure_of(part, "sync-chain", "during", "read_feed").p50_ms
    single = figure_of(merged_of(run_of(2.0)), "sync-chain", "during", "read_feed").p50_ms
    assert p50.runs == 3
    assert p50.low < p50.median < p50.high
    assert p50.median == single.median
    assert p50.high / p50.low == pytest.approx(3)


def test_successes_are_counted_over_all_requests() -> None:
    part = merged_of(run_of(1.0), run_of(2.0))
    alone = figure_of(merged_of(run_of(1.0)), "sync-chain", "during", "read_feed")
    both = figure_of(part, "sync-chain", "during", "read_feed")
    assert both.sent == 2 * alone.sent
    assert both.success == alone.success < 1


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=12))
def test_no_merged_figure_lies_outside_of_the_runs(values: list[float | None]) -> None:
    spread, measured = RunSpread.of(values), [one for one in values if one is not None]
    if spread is None:
        assert not measured
    else:
        assert (spread.low, spread.high) == (min(measured), max(measured))
        assert spread.median in measured
        assert spread.runs == len(measured)


def test_the_room_s_guesses_are_counted_beside_the_measurements() -> None:
    part = merged_of(run_of(1.0, 290), run_of(2.0, 10), run_of(1.5, 300))
    who, how = part.guesses
    assert (who.answers, who.measured) == ({NOBODY: 3}, {"sync-chain": 3})
    assert (who.hits, who.judged) == (0, 3)
    assert how.spread == RunSpread(runs=3, low=10, median=290, high=300)
    assert (how.hits, how.judged) == (2, 3)


def test_an_invalid_run_gives_its_guess_and_no_figure() -> None:
    part = merged_of(run_of(1.0, 290), run_of(9.0, 100, valid=False, problems=["Too busy."]))
    how = part.guesses[1]
    assert how.spread is not None
    assert (how.spread.runs, how.judged) == (2, 1)
    assert figure_of(part, "sync-chain", "during", "read_feed").p50_ms.runs == 1
    assert [run.pace is None for run in part.runs] == [False, True]
    assert report.heading(part) == "A slow service: 1 valid runs, 1 more are no result"


def test_the_pace_of_a_machine_is_that_of_its_calm_requests() -> None:
    part = merged_of(run_of(1.0), run_of(2.0), run_of(4.0))
    paces = [run.pace for run in part.runs]
    assert paces == pytest.approx([0.5, 1.0, 2.0])
    assert "the slowest run took 4.0 times as long" in text_of(part)


def test_other_variants_and_other_scenarios_are_not_mixed() -> None:
    quick = run_of(1.0).model_copy(update={"quick": True})
    other = run_of(1.0).model_copy(update={"scenario": "calm"})
    with_option = run_of(1.0)
    with_option.variants[0].options["timeout_ms"] = 250
    runs = [run_of(1.0), run_of(2.0), quick, other, with_option]
    parts = merge(HandedIn(str(at), run) for at, run in enumerate(runs)).scenarios
    assert [len(part.runs) for part in parts] == [2, 1, 1, 1]


def test_a_copied_run_counts_once() -> None:
    merged = merge(
        [HandedIn("ada", run_of()), HandedIn("bob", run_of()), HandedIn("ada", run_of())]
    )
    assert [run.name for run in merged.scenarios[0].runs] == ["ada"]
    assert [one.why for one in merged.left_out] == ["The same run as ada."] * 2


def test_files_are_found_deep_in_folders_and_parts_of_a_run_once(tmp_path: Path) -> None:
    for place in ("ada/20260101-slow", "ada/20260101-slow/run-1", "bob/hand-in/deep"):
        (tmp_path / place).mkdir(parents=True)
        run_of(1.0 + len(place)).save(tmp_path / place / "result.json")
    (tmp_path / "eve").mkdir()
    (tmp_path / "zoe").mkdir()
    (tmp_path / "zoe" / "result.json").write_text("{")
    found = list(find_results([tmp_path / name for name in ("ada", "bob", "eve", "zoe")]))
    assert [one.name.removeprefix(f"{tmp_path}/") for one in found] == [
        "ada/20260101-slow",
        "bob/hand-in/deep",
        "eve",
        "zoe",
    ]
    assert [isinstance(one, LeftOut) for one in found] == [False, False, True, True]


def texts_of(part: MergedScenario) -> Iterator[str]:
    for block in report.blocks(part):
        if isinstance(block, Table):
            yield from (cell.text for row in block.rows for cell in row)
        else:
            yield block.text


def text_of(part: MergedScenario) -> str:
    return "\n".join(texts_of(part))


def test_the_page_shows_people_s_text_as_text(tmp_path: Path) -> None:
    evil = run_of(1.0).model_copy(update={"title": "<script>alert(1)</script>"})
    merged = merge([HandedIn("ada", evil), LeftOut(name="<b>", why="No & why.")])
    page, document = report.save(merged, tmp_path)
    text = page.read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<li>&lt;b&gt;: No &amp; why.</li>" in text
    assert json.loads(document.read_text())["schema"] == "lab.merge/1"
    assert page.stat().st_mode & 0o077 == 0
    assert all(isinstance(line, Line) for line in report.left_out(merged))


def test_the_command_prints_the_room_and_saves_a_page(tmp_path: Path) -> None:
    for at, name in enumerate(("ada", "bob"), 1):
        (tmp_path / name).mkdir()
        run_of(at, 250.0 * at).save(tmp_path / name / "result.json")
    (tmp_path / "eve").mkdir()
    said = invoke_lab("merge", "ada", "bob", "eve", "-o", "merged", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    for text in ("2 valid runs", "What the room thought", "250 ms", "2 of 2", "eve is left out"):
        assert text in said.stdout, said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80
    assert (tmp_path / "merged" / "merged.html").exists()
    as_json = json.loads(invoke_lab("merge", "ada", "--json", cwd=tmp_path).stdout)
    assert as_json["scenarios"][0]["runs"][0]["name"] == "ada"
    nothing = invoke_lab("merge", "eve", cwd=tmp_path)
    assert nothing.returncode == 2
    assert "There is no run to merge. eve: There is no result.json in it." in nothing.stderr
