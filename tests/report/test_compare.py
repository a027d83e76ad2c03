"""Two saved runs next to each other."""

import io

from rich.console import Console

from lab.report.terminal import compare
from lab.results.result import (
    EndpointResult,
    Expectation,
    LatencySummary,
    PhaseResult,
    RunResult,
    VariantResult,
)


def run(
    p50: float | None, verdict: str = "holds", name: str = "sync-chain", **more: object
) -> RunResult:
    feed = EndpointResult(sent=10, ok=9, failed=1, success=0.9, latency_ms=LatencySummary(p50=p50))
    phases = {"during": PhaseResult(seconds=3, endpoints={"read_feed": feed})}
    expected = {"says": "It is slow.", "that": "1 > 0", "verdict": verdict, "measured": p50}
    document = {
        "scenario": "mine",
        "seed": 7,
        "started": "2026-01-01",
        "variants": [VariantResult(name=name, arrangement=name, phases=phases)],
        "expectations": [Expectation.model_validate(expected)],
        **more,
    }
    return RunResult.model_validate(document)


def comparison_text(one: RunResult, other: RunResult) -> str:
    out = io.StringIO()
    compare.render(one, other, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    return out.getvalue()


def test_the_same_figure_of_both_has_a_ratio() -> None:
    for p50, wanted in ((10, ["10", "25", "2.50"]), (None, ["-", "25", "-"])):
        (line,) = (
            line for line in comparison_text(run(p50), run(25)).splitlines() if "read_feed" in line
        )
        assert line.split()[-3:] == wanted


def test_a_verdict_that_changed_is_shown_with_both_figures() -> None:
    assert "A holds (10); B fails (25)" in comparison_text(run(10), run(25, "fails"))
    assert "the same verdict in both" in comparison_text(run(10), run(25))


def test_what_makes_them_hard_to_compare_is_said() -> None:
    text = comparison_text(
        run(10, environment={"cpus": 2}), run(10, environment={"cpus": 8}, quick=True, valid=False)
    )
    assert "cpus: A 2, B 8." in text
    assert "One of them was quick" in text
    assert "INVALID" in text


def test_runs_without_a_common_variant_say_so() -> None:
    text = comparison_text(run(10), run(10, name="async-bus"))
    assert "no variant in common" in text
    assert "Only in A: sync-chain." in text
