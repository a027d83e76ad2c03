"""External services in a scenario next to the lab's: broken, and judged by their feed."""

import asyncio
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

import lab
from lab.cluster.control_client import ControlResponse
from lab.cluster.errors import LabCannotRun
from lab.cluster.fixtures import seed_posts
from lab.cluster.stack import Stack
from lab.experiment.checker import check
from lab.experiment.evaluate import validity_problems
from lab.experiment.pooling import _pool_data
from lab.experiment.readback import read_external_state
from lab.experiment.runner import Run
from lab.load.samples import Sample, make_token
from lab.report.terminal import run
from lab.results.result import FaultEvidence, RunResult, VariantResult
from lab.scenarios.external import with_external_variant, with_replacement
from lab.scenarios.overrides import apply_overrides
from lab.scenarios.scenario import Scenario
from tests.support.command_line import invoke_lab
from tests.support.foreign_blog import make_target
from tests.support.patience import PATIENCE_S

DOWN: dict[str, Any] = {
    "name": "their-query-down",
    "title": "Their query is away",
    "load": {
        **{"rate": 8, "mix": {"read_feed": 1, "create_post": 1, "create_comment": 4}},
        **{"reader_delay_s": 0, "settle_s": PATIENCE_S, "timeout_ms": 60_000},
    },
    "phases": {"before": 0.4, "during": 0.8, "after": 0.4},
    "method": [{"fault": "down", "target": "query"}],
    "variants": {"async-bus": {}},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One run of three variants: the lab's own, the external services on the lab's log, and one of
    them inside the lab's stack. The last has no fault: waiting for its lost events would be in
    vain."""
    scenario = Scenario.model_validate(DOWN)
    scenario = with_external_variant(scenario, make_target("logged"), {"bus": "log"})
    (down,) = scenario.method
    down = down.model_copy(update={"variants": tuple(scenario.variants)})
    scenario = with_replacement(
        scenario.model_copy(update={"method": (down,)}), "query", make_target()
    )
    return asyncio.run(Run(scenario, tmp_path_factory.mktemp("run"))())


def variant(result: RunResult, name: str) -> VariantResult:
    found = result.variant(name)
    assert found is not None
    return found


def table(result: RunResult) -> str:
    shown = io.StringIO()
    run.render(result, Console(file=shown, width=100))
    return shown.getvalue()


def test_with_the_log_the_same_services_lose_nothing(result: RunResult) -> None:
    data = variant(result, "logged").data
    assert data is not None
    assert (data.lost, data.unsettled, data.duplicated, data.refused_kept) == (0, 0, 0, 0)
    assert data.visible == data.acknowledged > 0
    # Figures that need more than the feed are not measured.
    assert (data.diverged, data.out_of_order, data.orphaned, data.undecided) == (None,) * 4
    assert data.resurrected == 0


async def test_what_their_feed_does_not_show_is_lost() -> None:
    written = [
        Sample("x", "during", "create_post", 0.0, 0.0, 1.0, ok=True, token=make_token(0, number))
        for number in range(3)
    ]
    feed = [{"id": one.token, "title": one.token, "comments": []} for one in written[1:]]

    async def shows(*_: str) -> ControlResponse:
        return ControlResponse(200, "", feed)

    stack = SimpleNamespace(name="theirs", entry_urls={"query": ""}, call=shows)
    held = await read_external_state(cast(Stack, stack))
    data = check(written, held)
    assert (data.acknowledged, data.visible, data.lost) == (3, 2, 1)
    both = _pool_data([data, data], [])
    assert both is not None
    assert (both.lost, both.diverged) == (2, None)


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        ({"detail": "posts answered 201: no id.", "created": True}, "so it needs their ids"),
        ({"detail": "posts answered 500: no bus."}, "could not be written: posts answered 500"),
    ],
)
async def test_a_first_post_without_an_id_says_what_a_run_needs(
    problem: dict[str, Any], says: str
) -> None:
    async def call(*_: object) -> ControlResponse:
        return ControlResponse(502, "", problem)

    stack = SimpleNamespace(name="mine", call=call, entry_urls={"posts": ""})
    with pytest.raises(LabCannotRun, match=says):
        await seed_posts(cast(Stack, stack), PATIENCE_S)


def test_their_variants_are_kept_and_read_again(result: RunResult) -> None:
    again = RunResult.model_validate_json(result.to_json())
    assert [one.name for one in again.variants] == ["async-bus", "logged", "query-by-mine"]
    logged, of = variant(again, "logged"), variant(again, "query-by-mine")
    assert (logged.arrangement, logged.options) == ("foreign", {"bus": "log"})
    assert (of.arrangement, of.options) == ("async-bus", {"bus": "course"})
    assert any(note.startswith("query is mine's.") for note in of.notes)


def test_the_fault_is_proved_for_theirs_as_for_ours(result: RunResult) -> None:
    for name in ("async-bus", "logged"):
        faults = variant(result, name).faults
        assert [(proof.kind, proof.acted) for proof in faults] == [("down", True)], name
        assert faults[0].evidence["probe"] == "refused"
    assert variant(result, "query-by-mine").faults == []


def test_the_table_has_stale_feeds_and_the_sidecar_s_cost(result: RunResult) -> None:
    cost = variant(result, "logged").sidecar
    assert cost is not None
    assert cost.with_ms > 0
    assert variant(result, "async-bus").sidecar is None
    assert "logged: the sidecar before it takes" in table(result)
    (row,) = [line for line in table(result).splitlines() if "feeds that were stale" in line]
    assert len(row.split()) == len(["feeds", "that", "were", "stale"]) + len(result.variants)


@pytest.mark.parametrize(("name", "problems"), [("mine", 0), ("async-bus", 1)])
def test_a_fault_that_met_nobody_spoils_only_our_own(name: str, problems: int) -> None:
    scenario = with_external_variant(Scenario.model_validate(DOWN), make_target())
    evidence = {"visitors": 0, "acted": 0, "healed": True}
    proof = FaultEvidence(kind="error", target="comments", acted=False, evidence=evidence)
    of = VariantResult(name=name, arrangement=scenario.variants[name].arrangement, faults=[proof])
    found = RunResult(scenario="x", seed=7, started="", variants=[of])
    assert len(validity_problems(scenario, found, [])) == problems


PART = make_target().model_copy(update={"services": {"posts": make_target().services["posts"]}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": make_target(), "bus": "nats"}, "saw 'nats'"),
        ({"target": make_target(), "bus": "nats"}, 'bus = "log"'),
        ({"target": PART}, "services.comments: there is none, and create_comment asks it."),
        ({"target": make_target("async-bus")}, "has a variant 'async-bus' already"),
    ],
)
def test_a_wish_that_can_not_be_met_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        apply_overrides(Scenario.model_validate(DOWN), **options)
    with pytest.raises(ValueError, match="workers is a switch of the lab's own services"):
        with_external_variant(Scenario.model_validate(DOWN), make_target(), {"workers": 2})


def test_a_service_of_theirs_may_end_by_itself() -> None:
    scenario = Scenario.model_validate(DOWN)
    theirs = with_external_variant(scenario, make_target()).variants["mine"]
    assert set(theirs.may_end) == {"posts", "comments", "query", "moderation", "event-bus"}
    replaced = with_replacement(scenario, "query", make_target())
    assert replaced.variants["query-by-mine"].may_end == ("query",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replace", "comments"], "expected SERVICE=TARGET, as comments=mine.toml."),
        (["--with", "nowhere.toml"], "nowhere.toml: can't be read"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_named(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = invoke_lab("run", "calm", *arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_from_python_it_is_said_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.toml: can't be read"):
        lab.run("calm", with_=tmp_path / "nowhere.toml")
    with pytest.raises(ValueError, match="only one external service at a time"):
        lab.run("calm", replace={"posts": "a.toml", "query": "b.toml"})


def test_a_target_is_a_variant_that_can_be_chosen_alone(tmp_path: Path) -> None:
    alone = apply_overrides(
        Scenario.model_validate(DOWN), target=make_target("My_blog"), only=["my-blog"]
    )
    assert list(alone.variants) == ["my-blog"]
