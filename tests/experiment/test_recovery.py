"""When each kind of request is as usual again."""

from dataclasses import replace

import pytest

from lab.experiment.recovery import recoveries, slowest, usual_figures
from lab.load.metrics import endpoint_figures
from lab.load.samples import Sample

FEED = Sample("v", "after", "read_feed", 10.0, 0.1, 5.0, 200, ok=True)
POST = replace(FEED, endpoint="create_post", visible_ms=20.0)
USUAL = {
    "read_feed": endpoint_figures([FEED]),  # p99 5 ms: up to 60 ms is as usual
    "create_post": endpoint_figures([POST], is_write=True),  # visible within 90 ms
}


def feeds(*latencies_ms: float, of: Sample = FEED) -> list[Sample]:
    """A request every 100 ms from second 10 on; a latency of 0 is a failure."""
    return [
        replace(of, intended_s=10 + n / 10, latency_ms=latency_ms, ok=latency_ms > 0)
        for n, latency_ms in enumerate(latencies_ms)
    ]


def posts_seen_after(*visible_ms: float | None) -> list[Sample]:
    return [
        replace(POST, intended_s=10 + n / 10, visible_ms=seen) for n, seen in enumerate(visible_ms)
    ]


def recovered(samples: list[Sample]) -> float | None:
    return slowest(recoveries(samples, 10.0, USUAL))


def test_recovery_begins_with_ten_good_requests_in_a_row() -> None:
    samples = feeds(0, 0, 5, 5, 61, *[60] * 10, *[0] * 9)
    assert recovered(samples[::-1]) == pytest.approx(0.5)
    assert recovered(feeds(*[0, *[5] * 9] * 4, 0)) is None, "never more than nine in a row"


def test_half_of_few_requests_are_enough() -> None:
    assert recovered(feeds(0, 0, 0, 5, 5, 5)) == pytest.approx(0.3)
    assert recovered(feeds(0, 5, 5, 5, 5, 5, 61, 5, 5, 61)) == pytest.approx(0.1)
    assert recovered(feeds(0, 5, 5, 5, 5, 61, 5, 5, 5, 61)) is None
    assert recovered(feeds(0, 0, 0, 5, 5)) is None
    assert recovered(feeds(5, 5)) == 0.0
    assert recovered([replace(FEED, intended_s=10.9)]) == 0.0, "there was none before it"
    assert recovered(feeds(0, 5)) is None


def test_each_kind_is_judged_alone() -> None:
    samples = [*feeds(*[5] * 40), *feeds(*[0] * 4, of=POST)]
    assert recoveries(samples, 10.0, USUAL) == {"read_feed": 0.0, "create_post": None}
    assert recovered(samples) is None


def test_a_write_that_readers_see_late_is_not_recovered() -> None:
    assert recovered(posts_seen_after(900, 800, None, 91, 90, 20, 20)) == pytest.approx(0.4)
    assert recovered(posts_seen_after(*[400] * 30)) is None


def test_a_write_seen_only_in_the_fault_is_not_what_is_usual() -> None:
    before = [replace(POST, intended_s=9.0), replace(POST, intended_s=9.4, visible_ms=3_000.0)]
    assert usual_figures(before, 9.5)["create_post"]["visible_ms"]["p99"] == 20.0
    late = posts_seen_after(*[900] * 30)
    assert recoveries(late, 10.0, usual_figures(before, 9.5)) == {"create_post": None}
    assert recoveries(late, 10.0, usual_figures(before, 99.0)) == {"create_post": 0.0}


def test_a_service_that_stays_slow_has_not_recovered() -> None:
    assert recovered(feeds(*[61] * 50)) is None
    assert slowest(recoveries(feeds(*[61] * 50), 10.0, {})) == 0.0


def test_nothing_sent_afterwards_is_no_measurement() -> None:
    assert recoveries(feeds(5, 5, 5), 11.0, USUAL) == {}
    assert recoveries([replace(FEED, dropped=True)], 10.0, USUAL) == {}


def test_what_failed_before_has_nothing_to_return_to() -> None:
    often_refused = endpoint_figures([POST, replace(POST, ok=False)], is_write=True)
    usual = {**USUAL, "create_post": often_refused}
    assert recoveries(feeds(*[0] * 20, of=POST), 10.0, usual) == {}
