"""What became of requests, in figures: the part of the result that has a place for each kind of
request in each phase.

A figure that was not measured is `None`, never 0. Keys may be added, none is renamed or taken away.
"""

from pydantic import Field

from lab.scenarios.hearing import Part


class Visible(Part):
    """Milliseconds from the intended moment of a write to the feed that showed it as decided."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


class FailedAfter(Part):
    """Milliseconds from the intended moment of a request to its failure: how long one waited."""

    p50: float | None = None


class Latency(Part):
    """Milliseconds from the *intended* moment of a request to its answer; good answers only."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    mean: float | None = None


class Endpoint(Part):
    """What happened to one kind of request in one phase."""

    sent: int
    ok: int
    failed: int
    late: int = 0
    dropped: int = 0
    success: float | None = Field(default=None, description="ok / sent; None when nothing was sent")
    errors: dict[str, int] = Field(default={})
    latency_ms: Latency = Latency()
    failed_after_ms: FailedAfter = FailedAfter()
    visible_ms: Visible | None = Field(default=None, description="writes the feed showed, only")
    never_visible: int = 0
    retried: int = Field(default=0, description="times that one was sent again after no answer")
    stale: int | None = Field(
        default=None,
        description="of `ok`: feeds without something acknowledged before they were asked",
    )
    degraded: int = Field(default=0, description="of `ok`: answers with a part left out, so marked")
    decided: int | None = Field(
        default=None, description="of `ok`: answers in which no comment still waits for its verdict"
    )


class PhaseFigures(Part):
    """One phase: how long it was, and its requests by kind."""

    seconds: float
    endpoints: dict[str, Endpoint] = Field(default={})
