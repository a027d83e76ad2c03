"""The oracles agree with their sources, with brute force, and with each other."""

import inspect
import random

import pytest

from lab.scenarios import oracles
from lab.scenarios.oracles import ORACLES


def test_one_percent_slow_a_hundred_wide_hits_sixty_three_percent() -> None:
    assert oracles.any_slow(0.01, 100) == pytest.approx(0.634, abs=0.001)


def test_five_services_of_99_percent_are_up_together_95_percent_of_the_time() -> None:
    assert oracles.all_up(0.99, 5) == pytest.approx(0.951, abs=0.001)


def test_a_chain_adds_up_and_a_fan_out_waits_for_the_slowest() -> None:
    assert oracles.chain_ms(1, 2, 300) == 303
    assert oracles.fan_out_ms(1, 2, 300) == 300


def test_eight_workers_held_for_two_seconds_take_four_requests_a_second() -> None:
    assert oracles.worker_limit(8, 2) == 4


def test_three_attempts_in_each_of_three_layers_are_twenty_seven() -> None:
    assert oracles.attempts_in_all(3, 3) == 27


def test_the_mean_number_of_attempts_is_that_of_many_tries() -> None:
    dice = random.Random(7)
    tries = []
    for _ in range(40_000):
        attempts = 1
        while attempts < 3 and dice.random() < 0.3:
            attempts += 1
        tries.append(attempts)
    assert oracles.expected_attempts(0.3, 3) == pytest.approx(sum(tries) / len(tries), rel=0.01)
    assert oracles.expected_attempts(1, 3) == 3


def test_what_fails_every_time_and_what_does_not_are_the_whole() -> None:
    assert oracles.fails_every_time(0.3, 3) + 0.7 * (1 + 0.3 + 0.09) == pytest.approx(1)


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


def test_a_bus_has_an_edge_a_service_and_a_web_has_almost_one_a_pair() -> None:
    assert (oracles.direct_edges(6), oracles.bus_edges(6)) == (30, 6)


@pytest.mark.parametrize("name", ["all_up", "any_slow", "fails_every_time"])
def test_what_is_no_share_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no share"):
        ORACLES[name](1.5, 2)


@pytest.mark.parametrize("name", list(ORACLES))
def test_every_oracle_says_its_formula(name: str) -> None:
    assert len(inspect.getdoc(ORACLES[name]) or "") > 40
