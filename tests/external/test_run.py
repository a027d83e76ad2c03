"""Services of somebody else's in a scenario, beside the lab's: broken, and judged by their feed."""

import asyncio
import io
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import lab
from lab.report import tables
from lab.scenarios.evaluate import health_of_the_run
from lab.scenarios.foreign import with_replaced, with_target
from lab.scenarios.pooled import _data
from lab.scenarios.prepared import prepared
from lab.scenarios.result import FaultProof, Result, Variant
from lab.scenarios.runner import Run
from lab.scenarios.scenario import Scenario
from tests.support.foreign_blog import a_target
from tests.support.small import CLI

DOWN: dict[str, Any] = {
    "name": "their-query-down",
    "title": "Their query is away",
    "load": {
        **{"rate": 8, "mix": {"read_feed": 1, "create_post": 1, "create_comment": 4}},
        **{"reader_delay_s": 0, "settle_s": 4},
    },
    "phases": {"before": 0.6, "during": 1.2, "after": 0.6},
    "method": [{"fault": "down", "target": "query"}],
    "variants": {"async-bus": {}},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """One run of four: the lab's own, the naive one, the same services told by the log, and one of
    them among the lab's own."""
    scenario = Scenario.model_validate(DOWN)
    scenario = with_target(scenario, a_target("naive"))
    scenario = with_target(scenario, a_target("logged"), {"bus": "log"})
    scenario = with_replaced(scenario, "query", a_target())
    return asyncio.run(Run(scenario, tmp_path_factory.mktemp("run"))())


def variant(result: Result, name: str) -> Variant:
    found = result.variant(name)
    assert found is not None
    assert found.data is not None
    return found


def test_a_naive_bus_loses_comments_while_a_subscriber_is_down(result: Result) -> None:
    data = variant(result, "naive").data
    assert data is not None
    assert data.lost > 0
    assert data.acknowledged > data.visible


def test_with_the_log_in_its_place_the_same_services_lose_none(result: Result) -> None:
    data = variant(result, "logged").data
    assert data is not None
    assert (data.lost, data.unsettled, data.duplicated, data.refused_kept) == (0, 0, 0, 0)
    assert data.visible == data.acknowledged > 0


def test_one_of_them_among_the_labs_own_loses_what_the_course_s_bus_does_not_keep(
    result: Result,
) -> None:
    of = variant(result, "query-by-mine")
    assert of.data is not None
    assert of.data.lost > 0
    assert (of.arrangement, of.options) == ("async-bus", {"bus": "course"})
    assert any(note.startswith("query is mine's.") for note in of.notes)


def test_the_fault_is_proved_for_all_of_them(result: Result) -> None:
    for one in result.variants:
        assert [(proof.kind, proof.acted) for proof in one.faults] == [("down", True)], one.name
        assert one.faults[0].evidence["probe"] == "refused"


def test_what_only_a_second_teller_could_know_is_not_measured(result: Result) -> None:
    data = variant(result, "naive").data
    assert data is not None
    assert (data.diverged, data.out_of_order, data.orphaned, data.undecided) == (None,) * 4
    assert data.resurrected == 0


def test_several_runs_together_measure_no_more_than_each_of_them(result: Result) -> None:
    data = variant(result, "naive").data
    assert data is not None
    both = _data([data, data], [])
    assert both is not None
    assert both.lost == 2 * data.lost
    assert both.diverged is None


def test_what_the_sidecar_costs_stands_under_the_table(result: Result) -> None:
    cost = variant(result, "naive").sidecar
    assert cost is not None
    assert cost.with_ms > 0
    assert variant(result, "async-bus").sidecar is None
    shown = io.StringIO()
    tables.render(result, Console(file=shown, width=100))
    assert "naive: the sidecar before it takes" in shown.getvalue()


def test_stale_feeds_stand_in_the_same_table(result: Result) -> None:
    shown = io.StringIO()
    tables.render(result, Console(file=shown, width=100))
    (row,) = [line for line in shown.getvalue().splitlines() if "feeds that were stale" in line]
    assert len(row.split()) == len(["feeds", "that", "were", "stale"]) + len(result.variants)


def test_a_run_of_it_is_kept_and_read_again(result: Result) -> None:
    again = Result.model_validate_json(result.to_json())
    names = ["async-bus", "naive", "logged", "query-by-mine"]
    assert [one.name for one in again.variants] == names
    assert variant(again, "logged").arrangement == "foreign"
    assert variant(again, "logged").options == {"bus": "log"}


def refused(**wishes: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is what is looked at
        prepared(Scenario.model_validate(DOWN), **wishes)
    return str(caught.value)


def test_switches_of_the_labs_own_services_are_refused() -> None:
    scenario = Scenario.model_validate(DOWN)
    with pytest.raises(ValueError, match="workers is a switch of the lab's own services"):
        with_target(scenario, a_target(), {"workers": 2})


@pytest.mark.parametrize(("name", "problems"), [("mine", 0), ("async-bus", 1)])
def test_a_fault_at_a_door_to_which_nobody_comes_makes_only_the_labs_own_invalid(
    name: str, problems: int
) -> None:
    scenario = with_target(Scenario.model_validate(DOWN), a_target())
    evidence = {"visitors": 0, "acted": 0, "healed": True}
    proof = FaultProof(kind="error", target="comments", acted=False, evidence=evidence)
    of = Variant(name=name, arrangement=scenario.variants[name].arrangement, faults=[proof])
    found = Result(scenario="x", seed=7, started="", variants=[of])
    assert len(health_of_the_run(scenario, found, [])) == problems


def test_a_bus_that_does_not_speak_as_theirs_is_refused() -> None:
    said = refused(target=a_target(), bus="nats")
    assert "saw 'nats'" in said
    assert 'bus = "log"' in said


def test_one_that_is_not_whole_is_refused_with_what_is_missing() -> None:
    part = a_target().model_copy(update={"services": {"posts": a_target().services["posts"]}})
    said = refused(target=part)
    assert "services.comments: there is none, and create_comment asks it." in said


def test_a_service_of_theirs_that_ends_by_itself_makes_no_run_invalid() -> None:
    scenario = Scenario.model_validate(DOWN)
    theirs = with_target(scenario, a_target()).variants["mine"]
    assert set(theirs.may_end) == {"posts", "comments", "query", "moderation", "event-bus"}
    assert with_replaced(scenario, "query", a_target()).variants["query-by-mine"].may_end == (
        "query",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replace", "comments"], "meant was SERVICE=TARGET: comments=mine.toml."),
        (["--with", "nowhere.toml"], "nowhere.toml: can't be read"),
    ],
)
def test_what_the_command_line_can_not_mean_is_said(words: list[str], said: str) -> None:
    told = subprocess.run([*CLI, "run", "calm", *words], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr


def test_from_python_it_is_said_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.toml: can't be read"):
        lab.run("calm", with_=tmp_path / "nowhere.toml")
    with pytest.raises(ValueError, match="one service of somebody else's at a time"):
        lab.run("calm", replace={"posts": "a.toml", "query": "b.toml"})


def test_a_name_that_is_there_already_is_refused() -> None:
    assert "has a variant 'async-bus' already" in refused(target=a_target("async-bus"))


def test_a_target_is_a_variant_that_can_be_chosen_alone(tmp_path: Path) -> None:
    alone = prepared(Scenario.model_validate(DOWN), target=a_target("My_blog"), only=["my-blog"])
    assert list(alone.variants) == ["my-blog"]
