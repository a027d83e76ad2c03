"""The oracles agree with their sources, with brute force, and with each other."""

import inspect
import random

import pytest

from lab.results import oracles
from lab.results.oracles import ORACLES


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (oracles.any_slow(0.01, 100), 0.634),  # one percent slow, a hundred wide: 63 %
        (oracles.all_up(0.99, 5), 0.951),  # five of 99 % are up together 95 % of the time
        (oracles.chain_ms(1, 2, 300), 303),  # a chain adds up
        (oracles.fan_out_ms(1, 2, 300), 300),  # a fan-out waits for the slowest
        (oracles.worker_limit(8, 2), 4),  # eight workers, two seconds each: four a second
        (oracles.attempts_in_all(3, 3), 27),  # three attempts in each of three layers
        (oracles.direct_edges(6), 30),  # a web has almost an edge a pair
        (oracles.bus_edges(6), 6),  # a bus an edge a service
        (oracles.expected_attempts(1, 3), 3),
        (oracles.fails_every_time(0.3, 3) + 0.7 * (1 + 0.3 + 0.09), 1),
    ],
)
def test_an_oracle_gives_what_its_source_says(value: float, says: float) -> None:
    assert value == pytest.approx(says, abs=0.001)


def test_the_mean_number_of_attempts_is_that_of_many_tries() -> None:
    dice = random.Random(7)
    tries = []
    for _ in range(40_000):
        attempts = 1
        while attempts < 3 and dice.random() < 0.3:
            attempts += 1
        tries.append(attempts)
    assert oracles.expected_attempts(0.3, 3) == pytest.approx(sum(tries) / len(tries), rel=0.01)


def test_a_backlog_drains_in_the_time_a_simulated_queue_needs() -> None:
    waiting, arriving, served, step_s = 0.0, 40.0, 100.0, 0.001
    for _ in range(5_000):
        waiting += arriving * step_s
    assert waiting == pytest.approx(oracles.backlog(arriving, 0, 5))
    steps = 0
    while waiting > 0:
        waiting += (arriving - served) * step_s
        steps += 1
    assert oracles.drain_seconds(5, arriving, served) == pytest.approx(steps * step_s, rel=0.01)


@pytest.mark.parametrize(("places", "offered"), [(1, 1.0), (4, 15.0), (4, 2.0), (20, 12.0)])
def test_places_without_a_queue_refuse_as_many_as_simulated(places: int, offered: float) -> None:
    dice, now, refused, arrivals = random.Random(7), 0.0, 0, 60_000
    held_until: list[float] = []
    for _ in range(arrivals):
        now += dice.expovariate(offered)
        held_until = [until for until in held_until if until > now]
        if len(held_until) < places:
            held_until.append(now + 1.0)  # fixed holding times: the formula holds for any
        else:
            refused += 1
    assert oracles.erlang_b(places, offered) == pytest.approx(
        refused / arrivals, rel=0.03, abs=0.002
    )


def test_half_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        oracles.erlang_b(2.5, 1)


def test_what_is_never_emptied_has_no_drain_time() -> None:
    with pytest.raises(ValueError, match="never drains"):
        oracles.drain_seconds(5, 40, 40)


def test_reads_miss_writes_as_often_as_a_simulation_says() -> None:
    dice = random.Random(7)
    unseen_s, writes = 0.05, 10.0
    missed = sum(dice.expovariate(writes) < unseen_s for _ in range(40_000))
    assert oracles.stale_share(writes, unseen_s) == pytest.approx(missed / 40_000, rel=0.03)


def test_a_freeze_shows_in_the_quantile_that_brute_force_finds() -> None:
    window_ms, freeze_ms = 5_000, 2_000
    waits = sorted(max(0, freeze_ms - at) for at in range(window_ms))
    expected = waits[int(0.99 * window_ms)]
    assert oracles.freeze_quantile_ms(freeze_ms, window_ms, 0.99) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("name", ["all_up", "any_slow", "fails_every_time"])
def test_what_is_no_share_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no share"):
        ORACLES[name](1.5, 2)


def test_every_oracle_says_its_formula() -> None:
    assert [name for name in ORACLES if len(inspect.getdoc(ORACLES[name]) or "") <= 40] == []
