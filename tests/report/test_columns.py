"""Each figure is in the right column, row and phase."""

from lab.results.result import (
    CheckerCounts,
    EndpointResult,
    LatencySummary,
    PhaseResult,
    VariantResult,
)
from tests.report.test_tables import make_result, rendered_text


def distinct_latencies(first_ms: int) -> PhaseResult:
    """A phase in which every percentile is a different figure, from `first_ms` on."""
    p50, p90, p95, p99, most = range(first_ms, first_ms + 5)
    times = LatencySummary(p50=p50, p90=p90, p95=p95, p99=p99, max=most, mean=p50)
    feed = EndpointResult(sent=50, ok=50, failed=0, success=1.0, latency_ms=times)
    return PhaseResult(seconds=3, endpoints={"read_feed": feed})


def test_each_figure_stands_where_its_name_is() -> None:
    phases = {
        "before": distinct_latencies(20),
        "during": distinct_latencies(40),
        "after": distinct_latencies(60),
    }
    data = CheckerCounts(acknowledged=9, visible=8, lost=1, duplicated=2, unsettled=3, diverged=4)
    variant = VariantResult(name="sync-chain", arrangement="sync-chain", phases=phases, data=data)
    lines = {" ".join(line.split()) for line in rendered_text(make_result(variant)).splitlines()}
    answers = {"read_feed before 50 100 % 20 22 24", "during 50 100 % 40 42 44"}
    counts = {"lost 1", "duplicated 2", "never settled 3", "two services disagree 4"}
    assert (answers | counts | {"after 50 100 % 60 62 64"}) - lines == set()
