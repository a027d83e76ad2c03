"""A fault that did not act as declared is no proof, and the figures under it are not measured."""

from dataclasses import replace
from math import comb
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.cluster.injector import Injection
from lab.cluster.stack import Stack
from lab.experiment.evaluate import (
    judge_expectations,
    merge_evidence,
    unproved_figures,
    validity_problems,
)
from lab.experiment.fault_proof import IMPLAUSIBLE, Moments, binomial_p_value, doubts, ended_late
from lab.faults.filter import FaultFilter
from lab.faults.kinds import parse_fault
from lab.results.result import LatencySummary, RunResult
from lab.scenarios.scenario import Scenario
from tests.report.test_compare import run

IN_TIME = Moments(2.0, 6.0, 2.01, 6.0, 6.05)
ALWAYS = {"visitors": 20, "acted": 20}


def found(kind: str, options: dict[str, Any], *evidence: dict[str, Any], **moved: float) -> str:
    fault = parse_fault(kind, "comments", options)
    return "; ".join(doubts(fault, replace(IN_TIME, **moved), evidence or [ALWAYS]))


@pytest.mark.parametrize("kind", ["error", "down", "hang"])
def test_a_fault_that_was_on_for_its_whole_time_is_proved(kind: str) -> None:
    assert found(kind, {}) == ""


@pytest.mark.parametrize("kind", ["error", "down", "hang"])
def test_a_fault_that_began_late_or_ended_early_is_not(kind: str) -> None:
    assert found(kind, {}, on_s=5.6) == "it was on for 0.40 of its 4 s, from 3.60 s on"
    assert found(kind, {}, off_s=5.5) == "it was on for 3.49 of its 4 s, from 0.01 s on"
    assert found(kind, {}, on_s=2.3) == ""


def test_a_killed_process_may_take_longer_to_return() -> None:
    late, later = replace(IN_TIME, gone_s=7.0), replace(IN_TIME, gone_s=8.1)
    error, down = (parse_fault(kind, "comments", {}) for kind in ("error", "down"))
    assert ended_late(error, late) == "it was gone only 1.00 s after its end"
    assert [bool(ended_late(down, moments)) for moments in (IN_TIME, late, later)] == [
        *(False, False, True)
    ]
    assert found("error", {}, gone_s=7.0) == "", "it acted all the same"


def test_a_poison_has_to_be_published_at_its_moment() -> None:
    of = {"type": "CommentCreated"}
    assert found("poison", of, {}, off_s=2.02, gone_s=30.0) == ""
    assert found("poison", of, {}, on_s=2.45) == ""
    assert found("poison", of, {}, on_s=3.0) == "it was published 1.00 s after its moment"


@pytest.mark.parametrize(
    ("probability", "visitors", "acted", "plausible"),
    [
        *((1.0, 20, 20, True), (1.0, 20, 19, False), (0.5, 100, 50, True), (0.5, 100, 33, False)),
        *((0.05, 200, 10, True), (0.05, 200, 3, True), (0.05, 200, 30, False), (0.3, 3, 3, True)),
    ],
)
def test_the_share_of_hits_has_to_be_plausible(
    probability: float, visitors: int, acted: int, plausible: bool
) -> None:
    counts = {"visitors": visitors, "acted": acted}
    assert (found("error", {"probability": probability}, counts) == "") is plausible


def test_the_counts_of_all_hops_are_judged_together() -> None:
    each = {"visitors": 3, "acted": 3}
    assert found("error", {"probability": 0.3}, each) == ""
    assert found("error", {"probability": 0.3}, *[each] * 8) != ""


def test_of_the_first_three_no_fourth_may_be_hit() -> None:
    assert found("error", {"first": 3}, {"visitors": 9, "acted": 3}) == ""
    assert found("error", {"first": 3}, {"visitors": 9, "acted": 4}) != ""


def test_the_p_value_is_that_of_the_textbook() -> None:
    exact = [comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)]
    for hits in range(21):
        expected = sum(weight for weight in exact if weight <= exact[hits] * (1 + 1e-7))
        assert binomial_p_value(hits, 20, 0.3) == pytest.approx(expected)
    with pytest.raises(ValueError, match="5 of 4"):
        binomial_p_value(5, 4, 0.5)


def test_right_dice_are_hardly_ever_doubted() -> None:
    doubted = 0
    for seed in range(1_000):
        random = Random(seed)
        tries, probability = random.randint(1, 300), random.choice((0.05, 0.2, 0.3, 0.5))
        hits = sum(random.random() < probability for _ in range(tries))
        doubted += binomial_p_value(hits, tries, probability) < IMPLAUSIBLE
    assert doubted <= 3


def test_events_that_overtake_are_no_tries() -> None:
    faults = FaultFilter()
    faults.add("x", parse_fault("reorder", "query", {"probability": 0.4}), seed=7)
    faults.filter_events(list(range(600)), lambda event: True)
    evidence = faults.remove("x") or {}
    assert evidence["acted"] / evidence["visitors"] < 0.33
    assert found("reorder", {"probability": 0.4}, evidence) == ""
    assert found("reorder", {"probability": 0.8}, evidence) != ""


@pytest.mark.parametrize(
    ("options", "shortest", "mean", "word"),
    [
        ({"ms": 300}, 300.1, 302.0, ""),
        ({"ms": 300}, 120.0, 290.0, "at least"),
        ({"ms": 300}, 300.1, 420.0, "in the mean"),
        ({"ms": 300, "jitter_ms": 100}, 205.0, 310.0, ""),
        ({"ms": 300, "jitter_ms": 100}, 120.0, 310.0, "at least"),
        ({"ms": 10, "jitter_ms": 30}, 0.0, 13.0, ""),
    ],
)
def test_delays_have_to_be_as_set(
    options: dict[str, Any], shortest: float, mean: float, word: str
) -> None:
    waited = {**ALWAYS, "delayed_ms_min": shortest, "delayed_ms_mean": mean}
    says = found("latency", options, waited)
    assert word in says
    assert bool(says) is bool(word)


def test_a_delay_that_nobody_waited_for_is_not_proved() -> None:
    assert "none of them waited" in found("latency", {"ms": 300}, ALWAYS)
    assert found("latency", {"ms": 2_500}, ALWAYS) == "", "it ended before they had waited"


def test_two_delays_at_one_door_are_told_apart() -> None:
    faults = FaultFilter()
    faults.add("short", parse_fault("latency", "posts", {"ms": 5}), seed=1)
    faults.add("long", parse_fault("latency", "posts", {"ms": 60}), seed=1)
    faults.delay(faults.decide())
    short, long = (faults.remove(name) or {} for name in ("short", "long"))
    assert 5 <= short["delayed_ms_min"] < long["delayed_ms_min"] - 50


# ── What depends on it


def late_fault(on_s: float) -> Injection:
    """The latency of a run that began at 100, declared from 2 to 6 s."""
    fault = parse_fault("error", "comments", {})
    return Injection(
        stack=cast(Stack, SimpleNamespace(urls={})),
        fault=fault,
        name="x",
        evidence=dict(ALWAYS),
        acted=True,
        removed=True,
        window=(2.0, 6.0),
        **{"on_s": 100 + on_s, "off_s": 106.0, "gone_s": 106.1},
    )


def run_under(injection: Injection) -> tuple[RunResult, Scenario]:
    result = run(10)
    chain = result.variants[0]
    chain.faults = merge_evidence([injection], False, start_at=100.0)
    chain.unproved = unproved_figures(chain.faults)
    chain.phases["before"] = chain.phases["during"].model_copy(deep=True)
    for phase in chain.phases.values():
        phase.endpoints["read_feed"].latency_ms = LatencySummary(p50=9)
    expect = [
        SimpleNamespace(says=phase, claim=None, that=f"sync-chain.{phase}.read_feed.p50 > 5")
        for phase in chain.phases
    ]
    return result, cast(Scenario, SimpleNamespace(expect=expect, steady_state=(), load=None))


def test_figures_under_a_fault_not_proved_are_not_measured() -> None:
    result, scenario = run_under(late_fault(5.0))
    (fault,) = result.variants[0].faults
    assert (fault.from_s, fault.until_s, fault.gone_s) == (5.0, 6.0, 6.1)
    by_phase = {one.says: one for one in judge_expectations(scenario, result)}
    assert by_phase["during"].verdict == "not measured"
    assert "it was on for 1.00 of its 4 s" in by_phase["during"].reason
    assert by_phase["before"].verdict == "holds"


def test_figures_under_a_fault_as_declared_are_measured() -> None:
    result, scenario = run_under(late_fault(2.1))
    assert result.variants[0].unproved == {}
    assert {one.verdict for one in judge_expectations(scenario, result)} == {"holds"}


def test_a_fault_that_ends_late_leaves_its_own_figures_measured() -> None:
    injection = late_fault(2.1)
    injection.gone_s = 110.0
    result, scenario = run_under(injection)
    assert set(result.variants[0].unproved) == {"after"}
    assert {one.verdict for one in judge_expectations(scenario, result)} == {"holds"}


def test_a_run_is_no_result_if_all_depends_on_such_a_fault() -> None:
    result, scenario = run_under(late_fault(5.0))
    of_all = list(scenario.expect)
    scenario.expect = tuple(one for one in of_all if one.says == "during")
    spec = SimpleNamespace(is_own=True)
    scenario.variants = {variant.name: spec for variant in result.variants}
    (problem,) = validity_problems(scenario, result, [])
    assert problem.startswith("Nothing can be judged. sync-chain: The fault on `comments` (error)")
