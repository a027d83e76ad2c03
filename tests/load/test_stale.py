"""Stale reads: feeds that lack a write acknowledged before they were requested."""

import pytest

from lab.load.anomalies import mark_stale
from lab.load.metrics import endpoint_figures
from lab.load.samples import Sample
from lab.results.paths import lookup
from lab.results.result import EndpointResult, PhaseResult, RunResult, VariantResult


def write(at_s: float, answered_ms: float, visible_ms: float | None, **more: bool) -> Sample:
    """A post, acknowledged and visible that many ms after its intended send time."""
    settings = {"ok": True, **more}
    return Sample(
        "v", "during", "create_post", at_s, 0.0, answered_ms, visible_ms=visible_ms, **settings
    )


def feed(at_s: float, answered_ms: float = 1.0, lag_ms: float = 0.0, ok: bool = True) -> Sample:
    return Sample("v", "during", "read_feed", at_s, lag_ms, answered_ms, ok=ok)


@pytest.mark.parametrize(
    ("one", "stale"),
    [
        (feed(1.005), False),  # requested before the 201
        (feed(1.005, lag_ms=10.0, answered_ms=11.0), True),  # intended before it, sent after it
        (feed(1.050), True),
        (feed(1.050, answered_ms=60.0), False),  # when it arrived the write had already been seen
        (feed(1.150), False),
        (feed(1.050, ok=False), False),  # a missing answer is not a stale one
    ],
)
def test_a_feed_is_stale_until_it_shows_an_acknowledged_write(one: Sample, stale: bool) -> None:
    mark_stale([one, write(1.0, answered_ms=10.0, visible_ms=100.0)])
    assert one.stale is stale


def test_one_unseen_write_among_many_seen_ones_is_enough() -> None:
    one = feed(1.5)
    seen = [write(1.0 + tenth / 10, 1.0, 5.0) for tenth in range(5)]
    mark_stale([*seen, write(0.5, 1.0, 2_000.0), one])
    assert one.stale


def test_what_was_never_seen_makes_every_later_feed_stale() -> None:
    early, late = feed(0.5), feed(900.0)
    mark_stale([early, write(1.0, 1.0, None), late])
    assert (early.stale, late.stale) == (False, True)


def test_a_refused_write_makes_no_feed_stale() -> None:
    one = feed(2.0)
    mark_stale([write(1.0, 1.0, None, ok=False), one])
    assert not one.stale


def test_the_share_of_stale_feeds_is_a_figure() -> None:
    feeds = [feed(0.5), feed(1.5), feed(2.5), feed(3.5)]
    mark_stale([*feeds, write(1.0, 1.0, 2_000.0)])
    told = EndpointResult.model_validate(endpoint_figures(feeds))
    phases = {"during": PhaseResult(seconds=4, endpoints={"read_feed": told})}
    variant = VariantResult(name="v", arrangement="async-bus", phases=phases)
    result = RunResult(scenario="s", seed=7, started="now", variants=[variant])
    assert lookup("v.during.read_feed.stale", result) == 0.5
