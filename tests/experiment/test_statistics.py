"""The interval of a ratio has the promised coverage, and finds real differences."""

import math
from random import Random
from typing import Any

import pytest

from lab.experiment import statistics
from lab.experiment.differences import MIN_ANSWERS, compare_medians
from lab.experiment.lateness import in_time
from lab.experiment.statistics import (
    Estimate,
    median,
    median_interval,
    ratio_of_runs,
    ratios_of_requests,
    students_t,
)
from lab.load.samples import Sample
from lab.results.result import Difference, NoiseFloor

SEEDS = 40
NONE = NoiseFloor(share=0.0)
SOME = NoiseFloor(share=0.07, runs=4, newest="2026-01-01T00:00:00+00:00")
Values = list[float | None]


def slowdowns(count: int, random: Random, stays: float = 0.7) -> list[float]:
    """Random slowdowns of `count` moments (AR(1), mean 0, variance 1): busy moments cluster."""
    at, found = random.gauss(0, 1), []
    for _ in range(count):
        at = stays * at + math.sqrt(1 - stays * stays) * random.gauss(0, 1)
        found.append(at)
    return found


def latencies(count: int, seed: int, times: float = 1.0) -> tuple[Values, Values]:
    """Latencies in ms of two variants on one machine; the second's are `times` as long."""
    random = Random(seed)
    machine = slowdowns(count, random)
    one, other = slowdowns(count, random, 0.5), slowdowns(count, random, 0.5)
    return (
        [4 * math.exp(0.4 * m + 0.4 * own) for m, own in zip(machine, one, strict=True)],
        [4 * times * math.exp(0.4 * m + 0.4 * own) for m, own in zip(machine, other, strict=True)],
    )


def run_samples(
    seed: int, times: float = 1.0, count: int = 60, name: str = "other"
) -> list[Sample]:
    """The samples of a run: three phases, two kinds of requests, two variants."""
    samples = []
    for number, phase in enumerate(("before", "during", "after")):
        for endpoint in ("read_feed", "create_comment"):
            both = latencies(count, hash((seed, number, endpoint == "read_feed")), times)
            for variant, values in zip(("sync-chain", name), both, strict=True):
                samples += [
                    Sample(variant, phase, endpoint, 10 * number + place / count, 0.1, value, 200)
                    for place, value in enumerate(values)
                ]
    for sample in samples:
        sample.ok = True
    return samples


def compare_runs(*runs: list[Sample], floor: NoiseFloor = NONE) -> list[Difference]:
    names = ("sync-chain", "other")
    bounded = [[in_time(sample) for sample in run] for run in runs]
    return compare_medians(bounded, names, ("before", "during", "after"), floor)


@pytest.mark.parametrize(
    ("confidence", "freedom", "tabled"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 4, 2.776),
        (0.99, 7, 3.499),
        (0.95, 30, 2.042),
        (0.95, 1_000, 1.962),
    ],
)
def test_students_t_is_the_one_of_the_tables(
    confidence: float, freedom: int, tabled: float
) -> None:
    assert students_t(confidence, freedom) == pytest.approx(tabled, abs=0.001)


def test_from_a_single_thing_nothing_follows() -> None:
    assert Estimate(2.0, 0.1, sample_size=1).interval() == (0, math.inf)


def test_the_median_is_a_value_that_was_measured() -> None:
    assert median([4, 1, 3, 2]) == 2
    assert median([9, 1, 5]) == 5


def test_twice_and_half_as_long_are_as_far_from_equal() -> None:
    assert ratio_of_runs([2, 0.5]).ratio == pytest.approx(1)
    low, high = ratio_of_runs([2, 0.5, 2, 0.5, 1]).interval()
    assert low == pytest.approx(1 / high)


def test_equal_things_seldom_lie_outside_the_interval() -> None:
    outside = 0
    for seed in range(SEEDS):
        low, high = ratios_of_requests([latencies(120, seed)], seed)[0].interval()
        outside += not low <= 1 <= high
    assert outside <= 4  # 2 of 40 are expected


def test_neighbours_that_are_slow_together_make_the_interval_wider() -> None:
    def median_error(stays: float) -> float:
        random, widths = Random(1), []
        for _ in range(10):
            one, other = (
                [math.exp(0.5 * value) for value in slowdowns(200, random, stays)] for _ in range(2)
            )
            widths.append(ratios_of_requests([(one, other)])[0].log_standard_error)
        return median(widths)

    assert median_error(stays=0.8) > 1.2 * median_error(stays=0.0)


def test_a_stall_of_both_does_not_make_them_different() -> None:
    stall = [1.0] * 40 + [30.0] * 60
    (estimate,) = ratios_of_requests([(stall, [1.1 * value for value in stall])])
    assert estimate.ratio == pytest.approx(1.1)
    assert estimate.log_standard_error == pytest.approx(0, abs=1e-9)


def test_a_third_longer_is_found_almost_always() -> None:
    found = [ratios_of_requests([latencies(400, seed, times=1.3)], seed)[0] for seed in range(12)]
    assert sum(one.interval()[0] > 1 for one in found) >= 11


def test_the_same_samples_give_the_same_interval() -> None:
    again = [ratios_of_requests([latencies(100, 3)], seed=5) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != ratios_of_requests([latencies(100, 3)], seed=6)


def test_requests_without_a_good_answer_have_no_part_in_it() -> None:
    one, other = latencies(100, 1, times=2)
    other[::2] = [None] * 50
    (estimate,) = ratios_of_requests([(one, other)])
    assert estimate.interval()[0] > 1.2


def test_the_more_requests_the_fewer_times_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    class CountingRandom(Random):
        def choices(self, *of: Any, **more: Any) -> Any:
            drawn.append(more["k"])
            return super().choices(*of, **more)

    monkeypatch.setattr(statistics, "Random", CountingRandom)
    monkeypatch.setattr(statistics, "_MOST_SORTED", 20_000)
    ratios_of_requests([latencies(10, 1)])
    few = len(drawn)
    ratios_of_requests([latencies(100, 1)])
    assert (few, len(drawn) - few) == (statistics.RESAMPLES, 20_000 // (100 * 2))


@pytest.mark.slow
def test_of_runs_of_equal_things_few_claim_a_difference() -> None:
    claims = [
        any(one.verdict != "no difference shown" for one in compare_runs(run_samples(seed)))
        for seed in range(SEEDS)
    ]
    assert sum(claims) <= 4


def test_of_repeated_runs_of_equal_things_few_claim_a_difference() -> None:
    claims = []
    for seed in range(2 * SEEDS):
        runs = [run_samples(1_000 * seed + number, count=30) for number in range(5)]
        claims.append(any(one.verdict != "no difference shown" for one in compare_runs(*runs)))
    assert sum(claims) <= 8


@pytest.mark.parametrize(("repeats", "count"), [(1, 300), (3, 130), (8, 130)])
def test_half_as_long_again_is_found(repeats: int, count: int) -> None:
    runs = [run_samples(number, times=1.5, count=count) for number in range(repeats)]
    found = compare_runs(*runs, floor=SOME)
    assert [one.verdict for one in found] == ["slower"] * 6
    assert all(one.low < 1.5 < one.high for one in found)
    assert {(one.variant, one.against) for one in found} == {("other", "sync-chain")}


def test_faster_is_called_faster() -> None:
    assert {one.verdict for one in compare_runs(run_samples(1, times=0.3))} == {"faster"}


def test_below_the_noise_floor_no_difference_is_claimed() -> None:
    def certain(times: float) -> list[Sample]:
        return [
            Sample(name, "during", "read_feed", place / 100, 0.1, latency, 200, ok=True)
            for place in range(100)
            for name, latency in (
                ("sync-chain", 5.0 + place % 7),
                ("other", times * (5 + place % 7)),
            )
        ]

    (below,), (beyond,) = (compare_runs(certain(times), floor=SOME) for times in (1.06, 1.08))
    assert below.low > 1
    assert below.verdict == "no difference shown"
    assert beyond.verdict == "slower"


def test_a_line_for_too_few_answers_is_not_there() -> None:
    assert compare_runs(run_samples(1, count=5)) == []


def test_a_dozen_answers_show_a_hundredfold_difference() -> None:
    found = compare_runs(run_samples(1, times=0.01, count=12))
    assert {one.verdict for one in found} == {"faster"}
    assert {one.verdict for one in compare_runs(run_samples(1, times=0.9, count=12))} == {
        "no difference shown"
    }


def test_the_interval_of_a_median_holds_for_any_distribution() -> None:
    random, outside = Random(5), 0
    for _ in range(400):
        values = [random.choice((1.0, 250.0)) + random.random() for _ in range(15)]
        interval = median_interval(values, 0.95)
        assert interval is not None
        outside += not interval[0] <= 2.0 <= interval[1] and not interval[0] <= 250 <= interval[1]
    assert outside <= 20
    assert median_interval([1, 2, 3], 0.95) is None
    assert median_interval([3, 1, 2, 5, 4, 6], 0.95) == (1, 6)


def test_visible_times_are_compared_too() -> None:
    samples = [
        Sample(name, "during", "create_post", place, 0.1, 3.0, 201, ok=True, visible_ms=visible)
        for place in range(30)
        for name, visible in (("sync-chain", 2_000.0 + place), ("other", 10.0 + place % 3))
    ]
    by_figure = {one.figure: one.verdict for one in compare_runs(samples)}
    assert by_figure == {"latency": "no difference shown", "visible": "faster"}
    assert len(compare_runs(run_samples(1, count=MIN_ANSWERS))) == 6


def test_the_more_lines_there_are_the_wider_is_each() -> None:
    both = run_samples(1, count=60)
    (alone,) = compare_runs(
        [one for one in both if (one.phase, one.endpoint) == ("during", "read_feed")]
    )
    among = next(
        one for one in compare_runs(both) if (one.phase, one.endpoint) == ("during", "read_feed")
    )
    assert among.ratio == alone.ratio
    assert among.high / among.low > alone.high / alone.low


def test_a_variant_without_answers_is_not_compared() -> None:
    samples = run_samples(1)
    for sample in samples:
        sample.ok = sample.variant == "sync-chain"
    assert compare_runs(samples) == []
