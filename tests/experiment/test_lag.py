"""Consumer lag: figures from a consumer's readings, and a consumer that was down."""

import asyncio
import csv
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.cluster.arrangements import ARRANGEMENTS
from lab.experiment.lag import LagReading, LagSampler, compute_consumer_lag, write_lag
from lab.results.paths import ExpressionError, check_figure_path, lookup
from lab.results.result import ConsumerLag, FaultEvidence, RunResult, VariantResult
from tests.support.laboratory import PATIENCE_S, Laboratory, RunningBlog

PUBLISHED_PER_S, CONSUMED_PER_S, CAPACITY_PER_S = 30, 20, 50
"""Events per second: published on the bus, consumed (two of three), and the consumer's capacity."""

OUTAGE_S = 2.0
COMMENTS, EVENTS = 10, 3
"""Comments that are written while `query` is down, and the events per comment."""


def readings_with_outage(
    offset_at: Callable[[int], int], last_s: float = 12.0, outage: tuple[float, float] = (4.0, 6.0)
) -> list[LagReading]:
    """Readings every tenth of a second. `until(head)` is the offset, once the consumer is back."""
    readings = []
    for tenth in range(round(last_s * 10) + 1):
        t, head = tenth / 10, PUBLISHED_PER_S * tenth // 10
        down = outage[0] < t < outage[1]
        offset = head if t <= outage[0] else PUBLISHED_PER_S * 4 if down else offset_at(tenth)
        readings.append(
            LagReading(
                t,
                "v",
                "query",
                head,
                offset,
                offset * CONSUMED_PER_S // PUBLISHED_PER_S,
                answered=not down,
            )
        )
    return readings


def draining_offset(tenth: int) -> int:
    """It applies 50 relevant events a second, so its offset advances by 75 a second."""
    back = (
        PUBLISHED_PER_S * 4
        + CAPACITY_PER_S * PUBLISHED_PER_S // CONSUMED_PER_S * (tenth - 60) // 10
    )
    return min(PUBLISHED_PER_S * tenth // 10, back)


def test_the_lag_drains_with_the_spare_capacity() -> None:
    lag = compute_consumer_lag(readings_with_outage(draining_offset), (4.0, 6.0), 12.0)
    assert lag.max == PUBLISHED_PER_S * OUTAGE_S
    assert lag.outage_seconds == OUTAGE_S
    assert lag.drained_seconds == pytest.approx(
        OUTAGE_S * CONSUMED_PER_S / (CAPACITY_PER_S - CONSUMED_PER_S), abs=0.11
    )
    assert lag.drain_rate == pytest.approx(CAPACITY_PER_S, rel=0.05)
    assert lag.told_rate == pytest.approx(PUBLISHED_PER_S, rel=0.05)
    assert lag.arrival_rate == pytest.approx(CONSUMED_PER_S, rel=0.05)


def test_a_consumer_that_is_never_level_again_has_not_drained() -> None:
    lag = compute_consumer_lag(
        readings_with_outage(lambda tenth: PUBLISHED_PER_S * tenth // 10 - 40), (4.0, 6.0), 12.0
    )
    assert (lag.outage_seconds, lag.drained_seconds, lag.drain_rate) == (OUTAGE_S, None, None)
    assert lag.arrival_rate == pytest.approx(
        CONSUMED_PER_S, rel=0.05
    )  # as counted before it was down
    silent = [
        one for one in readings_with_outage(draining_offset) if one.t <= 4.0 or not one.answered
    ]
    lag = compute_consumer_lag(silent, (4.0, 6.0), 12.0)
    assert (lag.outage_seconds, lag.drained_seconds) == (None, None)


def test_without_a_fault_there_is_nothing_to_drain() -> None:
    calm = readings_with_outage(lambda tenth: PUBLISHED_PER_S * tenth // 10, outage=(12.0, 12.0))
    lag = compute_consumer_lag(calm, None, 10.0)
    assert (lag.max, lag.outage_seconds, lag.drained_seconds) == (0, None, None)
    assert lag.arrival_rate == pytest.approx(CONSUMED_PER_S, rel=0.05)
    lag = compute_consumer_lag([LagReading(0.1, "v", "query", 5, 2, 1, answered=True)], None, 10.0)
    assert (lag.max, lag.arrival_rate) == (3, None)


def test_a_lag_as_before_the_fault_counts_as_drained() -> None:
    usual = [
        replace(one, offset=one.head - 9, answered=True)
        for one in readings_with_outage(draining_offset)
    ]
    assert compute_consumer_lag(usual, (4.0, 6.0), 12.0).drained_seconds == 0.0


def test_the_readings_are_kept_as_a_table(tmp_path: Path) -> None:
    write_lag(tmp_path / "lag.csv", [LagReading(0.1, "v", "query", 5, 2, 1, answered=False)])
    assert (tmp_path / "lag.csv").stat().st_mode & 0o777 == 0o600
    with (tmp_path / "lag.csv").open(newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert row["t"] == "0.1"
    assert (row["variant"], row["service"]) == ("v", "query")
    assert (row["head"], row["offset"], row["applied"], row["answered"]) == ("5", "2", "1", "0")


# ── Figures


def result(**lag: ConsumerLag) -> RunResult:
    fault = FaultEvidence(kind="down", target="query", acted=True)
    variant = VariantResult(name="async-bus", arrangement="async-bus", lag=lag, faults=[fault])
    return RunResult(scenario="s", seed=7, started="now", variants=[variant])


def test_a_path_leads_to_each_figure_of_a_consumers_lag() -> None:
    one = result(query=ConsumerLag(max=7, arrival_rate=2.5, drained_seconds=1.5))
    for figure, value in {"max": 7, "arrival_rate": 2.5, "drained_seconds": 1.5}.items():
        path = f"async-bus.lag.query.{figure}"
        check_figure_path(path, ["async-bus"], ["before"], steady=False)
        assert lookup(path, one) == value
    assert lookup("async-bus.lag.query.drain_rate", one) is None
    assert lookup("async-bus.lag.comments.max", one) is None
    never_level = result(query=ConsumerLag(max=7))
    assert lookup("async-bus.lag.query.drained_seconds", never_level) == math.inf


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("async-bus.lag.qery.max", "no service 'qery'. Did you mean 'query'?"),
        ("async-bus.lag", "should name its service"),
        ("async-bus.lag.query", "should name its figure of the lag"),
        ("async-bus.lag.query.mx", "no figure of the lag 'mx'. Did you mean 'max'?"),
        ("async-bus.newcomer.secnds", "Did you mean 'seconds'?"),
    ],
)
def test_a_wrong_path_is_refused_with_a_suggestion(path: str, sentence: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check_figure_path(path, ["async-bus"], ["before"], steady=False)
    assert sentence in str(caught.value)


# ── A consumer that is down


async def sample_outage(blog: RunningBlog, post_id: str) -> tuple[list[LagReading], ConsumerLag]:
    """The readings of `query` while it is down and comments are written, and their figures."""
    stack, began_s = blog.stack, time.perf_counter()
    sampler = LagSampler([stack], began_s)
    sampling = asyncio.create_task(sampler.run())

    async def until(condition: Callable[[LagReading], bool]) -> float:
        while True:
            assert not sampling.done()
            mine = [one for one in sampler.readings if one.service == "query"]
            if mine and condition(mine[-1]):
                return time.perf_counter() - began_s
            await asyncio.sleep(0.01)

    down_s = await until(lambda one: one.answered and one.lag == 0)
    await stack.supervisor.kill(stack.program_name("query"))
    await until(lambda one: not one.answered)
    for number in range(COMMENTS):
        path, body = f"/posts/{post_id}/comments", {"content": f"Number {number}"}
        assert (await stack.call("POST", stack.urls["comments"], path, body)).ok
    await until(lambda one: one.lag == EVENTS * COMMENTS)
    silent = [one for one in sampler.readings if one.service == "query" and not one.answered]
    await stack.supervisor.restart(stack.program_name("query"), PATIENCE_S)
    up_s = time.perf_counter() - began_s
    over_s = await until(lambda one: one.t >= up_s and one.answered and one.lag == 0)
    sampling.cancel()
    await asyncio.gather(sampling, return_exceptions=True)
    readings = [one for one in sampler.readings if one.service == "query"]
    return silent, compute_consumer_lag(readings, (down_s, up_s), over_s)


def test_a_consumer_that_was_away_is_behind_and_then_level(laboratory: Laboratory) -> None:
    with laboratory.blog("async-bus", "lag") as blog:
        post = blog.write_post()
        silent, lag = laboratory.run(sample_outage(blog, post["id"]))
    assert len({one.offset for one in silent}) == 1
    assert silent[0].head < silent[-1].head
    assert lag.max == EVENTS * COMMENTS
    assert lag.outage_seconds is not None
    assert lag.drained_seconds is not None
    assert lag.arrival_rate is not None
    assert lag.told_rate is not None
    assert 0 < lag.arrival_rate < lag.told_rate  # it does not consume CommentModerated


async def test_a_bus_without_hearers_is_not_asked() -> None:
    class UnreadableStack:
        name = "request-reply"
        arrangement = ARRANGEMENTS["request-reply"]

        async def state(self, target: str) -> None:
            raise AssertionError(f"{target} was asked")

    sampler = LagSampler([UnreadableStack()], 0.0)  # type: ignore[list-item]
    await sampler.run()
    assert sampler.readings == []
