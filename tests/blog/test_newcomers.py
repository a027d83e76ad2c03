"""History and late joiners: events published before the start, and replicas that catch up."""

import asyncio
from pathlib import Path

import pytest

from lab.cluster.fixtures import history_envelopes, is_history_id, newest_history_ids
from lab.domain.events import Envelope, PostCreated
from lab.domain.model import new_id
from lab.experiment.evaluate import validity_problems
from lab.experiment.runner import Run
from lab.results.paths import lookup
from lab.results.result import Newcomer, RunResult, VariantResult
from lab.scenarios.scenario import Scenario, ScenarioError
from tests.support.small import scenario_text

EVENTS = 300
JOINING = f"""
[history]
events = {EVENTS}

[[newcomer]]
service = "query"
at = 0.2
"""


def load(folder: Path, joining: str = JOINING, **more: object) -> Scenario:
    path = folder / "joins.toml"
    settings = {"variants": ("async-bus",), "expect": "async-bus.data.lost == 0", **more}
    path.write_text(scenario_text(**settings) + joining)  # type: ignore[arg-type]
    return Scenario.load_file(path)


def test_old_posts_sort_first_and_are_known_as_old() -> None:
    old = [Envelope.model_validate(one) for one in history_envelopes(1, 12)]
    events = [one.event() for one in old]
    assert all(isinstance(event, PostCreated) and event.id < new_id() for event in events)
    assert len({one.id for one in old}) == len({one.subject for one in old}) == 12
    assert {one.source for one in old} == {"/archive"}
    assert newest_history_ids(12, 3) == [one.subject for one in old][:-4:-1]
    assert newest_history_ids(2, 5) == [one.subject for one in old][1::-1]
    assert newest_history_ids(0, 5) == []
    assert is_history_id(old[0].subject)
    assert not is_history_id(new_id())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('service = "query"', 'service = "qery"', "no service 'qery'. Did you mean 'query'?"),
        ('service = "query"', 'service = "moderation"', "of them twice"),
        ("at = 0.2", "at = 0.6", "newcomer 1: would come after the 0.6 s of phases.during"),
        ("events = 300", "events = 0", "history.events: saw 0; expected 1 or more."),
        ("events = 300", "events = 2_000_000", "expected 500000 or less."),
        ("at = 0.2", "at = 0.2\n[[newcomer]]\nservice = 'query'", "1 or fewer"),
        ("[history]", "[histroy]", "Did you mean 'history'?"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_a_hint(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert old in JOINING
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, JOINING.replace(old, new))
    assert sentence in str(caught.value)


def test_without_a_bus_that_keeps_events_newcomers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, variants=("sync-chain", "request-reply"), expect="sync-chain.data.lost == 0")
    told = [problem for problem in caught.value.problems if "which keeps its events" in problem]
    assert [problem.partition(":")[0] for problem in told] == ["history", "newcomer 1"]


def test_quick_halves_the_history_and_the_moment_of_the_newcomer(tmp_path: Path) -> None:
    quick = load(tmp_path, phases="before = 1, during = 2, after = 1").quick()
    assert quick.history is not None
    assert (quick.history.events, quick.newcomer[0].at) == (EVENTS // 2, 0.1)
    assert load(tmp_path, "").quick().history is None


def test_a_newcomer_that_is_behind_makes_the_run_invalid(tmp_path: Path) -> None:
    late = Newcomer(service="query", part="query-2", at_s=0.2, events=17)
    variant = VariantResult(name="async-bus", arrangement="async-bus", newcomers=[late])
    result = RunResult(scenario="joins", seed=7, started="now", variants=[variant])
    problems = validity_problems(load(tmp_path), result, [])
    assert "async-bus: the new query did not catch up; it had consumed 17 events" in problems[0]
    assert lookup("async-bus.newcomer.seconds", result) is None
    assert lookup("async-bus.newcomer.events", result) == 17


# ── A run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The chain, and the bus with a history; in the middle a second `query` joins.

    On a busy machine the load is late, so the run is invalid. Otherwise the patience here changes
    nothing: every request is answered, and everything settles.
    """
    folder = tmp_path_factory.mktemp("joins")
    one = load(folder, variants=("sync-chain", "async-bus"), timeout_ms=60_000)
    patient = one.load.model_copy(update={"settle_s": 60.0})
    return asyncio.run(Run(one.model_copy(update={"load": patient}), folder)())


def test_a_newcomer_hears_everything_and_shows_the_same_feed(
    run: RunResult,
) -> None:
    assert not [problem for problem in run.problems if "catch up" in problem]
    chain, bus = run.variants
    assert chain.newcomers == []
    (newcomer,) = bus.newcomers
    assert (newcomer.service, newcomer.part, newcomer.at_s) == ("query", "query-2", 0.2)
    assert newcomer.events > EVENTS
    assert (newcomer.seconds or 0) > 0
    assert (newcomer.entries or 0) > EVENTS
    assert newcomer.differences == 0
    assert lookup("async-bus.newcomer.events_per_second", run) == newcomer.events_per_s


def test_a_history_counts_as_nobodys_loss(run: RunResult) -> None:
    for variant in run.variants:
        assert variant.data is not None
        assert variant.data.acknowledged == variant.data.visible > 0
        assert (variant.data.lost, variant.data.diverged, variant.data.duplicated) == (0, 0, 0)
