"""A found history becomes a scenario of real processes, and a run says whether it happens there."""

import asyncio
from pathlib import Path

import pytest

from lab.results.expressions import parse
from lab.scenarios.scenario import Scenario
from lab.simulation.histories.drawing import diagram_of
from lab.simulation.histories.history import Deed, History, Verdict
from lab.simulation.histories.judge import Goal
from lab.simulation.histories.proof import NotOnProcesses, prove, scenario_text
from lab.simulation.histories.search import search
from lab.simulation.histories.variant import parse_variant

DEEDS = [
    Deed(0, "crash", "event-bus", point="now"),
    Deed(0, "crash", "comments", point="after commit"),
    Deed(0, "partition", "query"),
    Deed(0, "partition", "comments", peer="event-bus"),
    Deed(0, "slow", "query", ms=5.0),
    Deed(0, "duplicate", "query"),
    Deed(0, "drop", "moderation", count=2),
    Deed(0, "reorder", "query"),
]


def found(goal: str, *words: str) -> History:
    outcome = search(Goal(goal), parse_variant(list(words)), seed=1, histories=3_000)
    assert outcome.history is not None
    return outcome.history


def history_of(deed: Deed, goal: str = "missing", **figures: float) -> History:
    verdict = Verdict(goal, True, 'It "never" arrives.', figures or {"missing": 1}, (1,))
    return History("async-bus", {"outbox": "off"}, "1:0", (deed,), (), (), (), verdict, (), 0, 0)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: f"{deed.kind} {deed.target}")
def test_each_deed_has_a_valid_scenario(deed: Deed, tmp_path: Path) -> None:
    file = tmp_path / "found.toml"
    file.write_text(scenario_text(history_of(deed)), encoding="utf-8")
    scenario = Scenario.load_file(file)
    (method,) = scenario.method
    assert method.target == deed.target
    assert scenario.variants["async-bus"].options == {"outbox": False}
    (expected,) = scenario.expect
    assert expected.that == "async-bus.data.missing >= 1"
    parse(expected.that)


def test_what_a_run_does_not_measure_is_not_proved() -> None:
    with pytest.raises(NotOnProcesses, match="stuck"):
        scenario_text(history_of(DEEDS[0], "stuck", stuck=1))
    with pytest.raises(NotOnProcesses, match="repeat"):
        scenario_text(history_of(Deed(0, "repeat")))


def test_a_drawing_shows_the_write_that_never_arrived() -> None:
    history = found("missing", "outbox=off")
    diagram = diagram_of(history)
    assert diagram.caption == history.verdict.sentence
    assert any(arrow.lost and "Created (1)" in arrow.label for arrow in diagram.arrows)
    assert any(mark.label == "acknowledged: 1" for mark in diagram.marks)


@pytest.mark.slow
def test_a_found_history_happens_on_real_processes(tmp_path: Path) -> None:
    history = found("missing", "outbox=off")
    file = tmp_path / "found.toml"
    file.write_text(scenario_text(history), encoding="utf-8")
    proof = asyncio.run(prove(Scenario.load_file(file), tmp_path / "run", seed=7))
    assert proof.happened, proof
    assert "async-bus.data.missing" in proof.measured
