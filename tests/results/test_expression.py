"""The expression language of `that` and `steady_state`: what it means, and what it refuses."""

import pytest

from lab.results.expressions import check, evaluate
from lab.results.paths import ExpressionError
from lab.results.result import (
    CheckerCounts,
    EndpointResult,
    FailureLatency,
    FaultEvidence,
    LatencySummary,
    PhaseResult,
    RunResult,
    VariantResult,
    VisibilityLatency,
)

VARIANTS = ("sync-chain", "async-bus")
PHASES = ("before", "posts down", "event-bus down", "after")


def read_feed(p50: float | None, success: float | None = 0.5) -> EndpointResult:
    return EndpointResult(
        sent=0 if success is None else 10,
        ok=5,
        failed=5,
        success=success,
        errors={"timeout": 3, "http_503": 2},
        latency_ms=LatencySummary(p50=p50),
        failed_after_ms=FailureLatency(p50=2_000),
    )


def variant_result(name: str, p50: float | None) -> VariantResult:
    write = EndpointResult(
        sent=4, ok=4, failed=0, success=1, visible_ms=VisibilityLatency(p50=40, p99=50, max=60)
    )
    figures = PhaseResult(seconds=1, endpoints={"read_feed": read_feed(p50), "create_post": write})
    return VariantResult(
        name=name,
        arrangement=name,
        phases={phase: figures.model_copy(deep=True) for phase in ("before", "posts down")},
        data=CheckerCounts(
            acknowledged=9, visible=9, lost=0, duplicated=2, unsettled=0, unknown_kept=1
        ),
        recovery_seconds=0.5,
    )


def run_result() -> RunResult:
    variants = [variant_result("sync-chain", 4.2), variant_result("async-bus", None)]
    return RunResult(scenario="mine", seed=1, started="", variants=variants)


@pytest.mark.parametrize(
    ("text", "holds", "measured", "expected"),
    [
        ("sync-chain.before.read_feed.p50 <= 5", True, 4.2, "<= 5"),
        (
            "sync-chain.before.read_feed.p50 >= sync-chain.posts_down.read_feed.p50 + 250",
            False,
            4.2,
            ">= 4.2 + 250 (= 254.2)",
        ),
        ("1 < sync-chain.before.read_feed.p50 < 4", False, 4.2, "1 < … < 4"),
        (
            "sync-chain.data.lost == 0 and sync-chain.data.duplicated == 0",
            False,
            2,
            "== 0 and 0 == 0",
        ),
        ("sync-chain.data.lost == 1 or sync-chain.data.duplicated == 2", True, 2, "== 2 or 0 == 1"),
        ("not sync-chain.data.lost > 0", True, 0, "not > 0"),
        ("max(sync-chain.data.lost, sync-chain.data.duplicated) == 2", True, 2, "== 2"),
        ("min(sync-chain.data.lost, 1, 2) == 0", True, 0, "== 0"),
        ("abs(sync-chain.data.lost - 3) == 3", True, 3, "== 3"),
        ("sync-chain.data.acknowledged - 2 * 3 / 4 != -1", True, 7.5, "!= -1"),
        ("sync-chain.recovery_seconds <= 2", True, 0.5, "<= 2"),
        ("sync-chain.posts_down.read_feed.errors.timeout == 3", True, 3, "== 3"),
        ("sync-chain.posts_down.read_feed.errors.http_502 == 0", True, 0, "== 0"),
        ("sync-chain.posts_down.read_feed.failed_after_p50 >= 900", True, 2_000, ">= 900"),
        ("sync-chain.posts_down.create_post.visible_p99 >= 50", True, 50, ">= 50"),
    ],
)
def test_an_expression_says_whether_it_holds_and_with_which_figures(
    text: str, holds: bool, measured: float, expected: str
) -> None:
    check(text, VARIANTS, PHASES)
    outcome = evaluate(text, run_result())
    assert outcome.holds is holds
    assert outcome.measured == pytest.approx(measured)
    assert outcome.expected == expected


def test_the_figures_behind_a_verdict_are_kept_by_their_paths() -> None:
    text = "sync-chain.data.lost == 0 and async-bus.before.read_feed.p50 < 5"
    assert evaluate(text, run_result()).values == {
        "sync-chain.data.lost": 0,
        "async-bus.before.read_feed.p50": None,
    }


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("async-bus.before.read_feed.p50 < 5", None),
        ("async-bus.before.read_feed.p50 + 1 < 5", None),
        ("max(async-bus.before.read_feed.p50, 9) > 5", None),
        ("not async-bus.before.read_feed.p50 < 5", None),
        ("async-bus.before.read_feed.p50 < 5 and sync-chain.data.lost == 0", None),
        ("async-bus.before.read_feed.p50 < 5 and sync-chain.data.lost == 1", False),
        ("async-bus.before.read_feed.p50 < 5 or sync-chain.data.lost == 0", True),
        ("async-bus.after.read_feed.p50 < 5", None),
        ("async-bus.before.create_comment.success == 1", None),
        ("1 / sync-chain.data.lost > 0", None),
    ],
)
def test_what_was_not_measured_neither_holds_nor_fails(text: str, holds: bool | None) -> None:
    check(text, VARIANTS, PHASES)
    assert evaluate(text, run_result()).holds is holds


def test_nothing_sent_is_no_success_rate() -> None:
    result = run_result()
    result.variants[0].phases["before"].endpoints["read_feed"] = read_feed(None, None)
    assert evaluate("sync-chain.before.read_feed.success >= 0", result).holds is None
    assert evaluate("sync-chain.before.read_feed.errors.timeout == 0", result).holds is None


def test_no_recovery_fails_only_where_a_fault_acted() -> None:
    result = run_result()
    result.variants[0].recovery_seconds = None
    assert evaluate("sync-chain.recovery_seconds <= 2", result).holds is None
    result.variants[0].faults = [FaultEvidence(kind="down", target="posts", acted=True)]
    assert evaluate("sync-chain.recovery_seconds <= 2", result).holds is False


def test_the_steady_state_is_evaluated_before_the_fault() -> None:
    check("read_feed.success >= 0.99", VARIANTS, PHASES, steady=True)
    outcome = evaluate("read_feed.success >= 0.99", run_result(), steady_in="async-bus")
    assert outcome.holds is False
    assert outcome.values == {"async-bus.before.read_feed.success": 0.5}
    with pytest.raises(ExpressionError, match="Begin with the endpoint"):
        check("sync-chain.before.read_feed.success > 0", VARIANTS, PHASES, steady=True)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("synch-chain.data.lost == 0", "Did you mean 'sync-chain'?"),
        ("sync-chain.bevore.read_feed.p50 > 1", "Did you mean 'before'?"),
        ("sync-chain.post_down.read_feed.p50 > 1", "Did you mean 'posts_down'?"),
        ("sync-chain.before.read_fed.p50 > 1", "Did you mean 'read_feed'?"),
        ("sync-chain.before.read_feed.sucess > 1", "Did you mean 'success'?"),
        ("sync-chain.data.los == 0", "Did you mean 'lost'?"),
        ("sync-chain.before.read_feed.errors.timeot > 0", "Did you mean 'timeout'?"),
        ("sync-chain.before.read_feed.p50-1 > 0", "A minus needs spaces around it."),
        ("sync-chain.before.read_feed.visible_p50 > 1", "belong to create_post"),
        ("sync-chain.before.read_feed > 1", "should name its figure"),
        ("sync-chain > 1", "should name its phase"),
        ("sync-chain.recovery_seconds.p50 > 1", "a figure itself"),
        ("sync-chain.data.lost", "Compare it"),
        ("sync-chain.data.lost == 0 and 1", "'1' is a figure"),
        ("(sync-chain.data.lost == 0) + 1 > 0", "'sync-chain.data.lost == 0' is not a figure"),
        ("not 5", "Compare it"),
        ("sync-chain.data.lost ==", "not a complete comparison"),
        ("", "not a complete comparison"),
        ("min(1) > 0", "two figures or more"),
        ("abs(1, 2) > 0", "takes one figure"),
        ("abs > 0", "is not a figure"),
        ("1 and", "not a complete comparison"),
        ("1 > 0 " * 100, "Split it"),
        ("(" * 300 + "1", "not a complete comparison"),
        ("9" * 400 + " > 1", "not a complete comparison"),
    ],
)
def test_a_mistake_is_answered_with_what_was_probably_meant(text: str, suggestion: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check(text, VARIANTS, PHASES)
    assert suggestion in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') == 0",
        "sync-chain.__class__ == 0",
        "(lambda: 1)() > 0",
        "[1][0] > 0",
        "1 if 1 else 0 > 0",
        "2 ** 9 > 0",
        "open > 0",
        "sync-chain.data.lost is 0",
        "max(*x) > 0",
        "(x := 1) > 0",
        "True > 0",
        "f'{1}' > 0",
    ],
)
def test_nothing_but_the_little_language_is_understood(text: str) -> None:
    with pytest.raises(ExpressionError):
        check(text, VARIANTS, PHASES)


# ── Figures with two ends


P50, SUCCESS = "sync-chain.before.read_feed.p50", "sync-chain.before.read_feed.success"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (f"{P50} <= 9", True),
        (f"{P50} >= 9", False),
        (f"{P50} <= 5", None),
        (f"{P50} >= 4 and {P50} <= 5", None),  # false at both ends, and true between them
        (f"{P50} >= 4 and {SUCCESS} >= 0.9", False),
        (f"{P50} >= 4 or {SUCCESS} >= 0.4", True),
        (f"not {P50} >= 9", True),
        (f"{P50} == 5", None),
        (f"{P50} != 9", True),
        (f"abs({P50} - 5) <= 3", True),
        (f"abs({P50} - 5) >= 1", None),  # the smallest distance lies between the ends
        (f"min({P50}, 1) == 1", True),
        (f"100 / {P50} >= 12", True),
        (f"100 / ({P50} - 5) >= -1000", None),
        (f"0 - {P50} <= -2", True),
        (f"chain_ms({P50}, 300) <= 308", True),
        (f"drain_seconds(1, {P50}, 100) <= 0.1", True),
        ("sync-chain.before.read_feed.errors.reset == 0", None),
        ("sync-chain.before.create_post.p50 >= 1", None),
    ],
)
def test_a_verdict_is_the_same_for_all_values_between_two_ends(
    text: str, holds: bool | None
) -> None:
    result = run_result()
    result.variants[0].bounds = {
        "before.read_feed.p50": (2.0, 8.0),
        "before.read_feed.errors": (0.0, 1.0),
    }
    outcome = evaluate(text, result)
    assert outcome.holds is holds
    assert bool(outcome.reason) is (holds is None)
    assert outcome.uncertain is (holds is None and "create_post" not in text)


def test_an_uncertain_figure_names_its_ends() -> None:
    result = run_result()
    result.variants[0].bounds = {"before.read_feed.p50": (2.0, None)}
    assert evaluate(f"{P50} <= 5", result).reason == (
        "Requests were sent late, so these figures are not certain: "
        "sync-chain.before.read_feed.p50 is 2 or more."
    )
    assert evaluate("sync-chain.before.create_post.p50 <= 5", result).reason == (
        "Nothing was measured for sync-chain.before.create_post.p50."
    )
