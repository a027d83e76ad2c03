"""The interval of a ratio has the promised coverage, and finds real differences."""

import math
from random import Random

import pytest

from lab.experiment.differences import MIN_ANSWERS, compare_medians
from lab.experiment.lateness import in_time
from lab.experiment.statistics import (
    blocks_in_time,
    factor_interval,
    factor_of_few,
    median,
    students_t,
)
from lab.load.samples import Sample
from lab.results.result import Difference, NoiseFloor

SEEDS = 40
NONE = NoiseFloor(share=0.0)
SOME = NoiseFloor(share=0.07, runs=4, newest="2026-01-01T00:00:00+00:00")
Values = list[float]


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


def test_the_median_is_a_value_that_was_measured() -> None:
    assert median([4, 1, 3, 2]) == 2
    assert median([9, 1, 5]) == 5


def interval(
    first: list[float], other: list[float], confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of two variants whose requests were due at the same moments."""
    timed = ([(place / 10, ms) for place, ms in enumerate(own)] for own in (first, other))
    found = factor_interval(blocks_in_time(*timed), confidence)
    assert found is not None
    return found


def test_a_block_holds_the_requests_of_one_moment() -> None:
    first = [(place / 10, 1.0) for place in range(100)]
    blocks = blocks_in_time(first, [(at_s + 0.01, 2.0) for at_s, _ in first[20:40]])
    assert [ms for block in blocks for ms in block.first] == [1.0] * 100
    with_other = [number for number, block in enumerate(blocks) if block.other]
    assert with_other == list(range(with_other[0], with_other[-1] + 1))
    assert sum(len(blocks[number].first) for number in with_other) < 40


def test_the_factor_of_the_one_is_the_inverse_of_the_others() -> None:
    one, other = latencies(120, 1, times=2)
    low, high = interval(one, other)
    assert interval(other, one) == pytest.approx((1 / high, 1 / low), rel=0.003)


def test_equal_things_seldom_lie_outside_the_interval() -> None:
    outside = 0
    for seed in range(3 * SEEDS):
        low, high = interval(*latencies(120, seed))
        outside += not low <= 1 <= high
    assert outside <= 12  # 6 of 120 are expected


def test_neighbours_that_are_slow_together_make_the_interval_wider() -> None:
    def median_width(stays: float) -> float:
        random, widths = Random(1), []
        for _ in range(20):
            one, other = (
                [math.exp(0.5 * value) for value in slowdowns(200, random, stays)] for _ in range(2)
            )
            low, high = interval(one, other)
            widths.append(math.log(high / low))
        return median(widths)

    assert median_width(stays=0.8) > 1.2 * median_width(stays=0.0)


def test_a_stall_of_both_does_not_make_them_different() -> None:
    stall = [1.0 + place / 1_000 for place in range(40)] + [30.0 + place for place in range(60)]
    found = interval(stall, [1.1 * value for value in stall])
    assert found == pytest.approx((1.1, 1.1), rel=0.002)


def test_a_third_longer_is_found_almost_always() -> None:
    found = [interval(*latencies(400, seed, times=1.3)) for seed in range(12)]
    assert sum(low > 1 for low, _ in found) >= 11


def test_a_median_between_two_humps_does_not_hide_a_difference() -> None:
    random = Random(4)
    quick = [5 * math.exp(random.gauss(0, 0.1)) for _ in range(120)]
    half_slow = [one * (50 if random.random() < 0.5 else 1.3) for one in quick]
    low, high = interval(quick, half_slow)
    assert 1.2 < low < 20 < high


def test_a_freeze_that_the_open_loop_meets_is_seen() -> None:
    """Three of five seconds are frozen. Each of four users in a closed loop waits once."""
    random = Random(3)

    def ms(at_s: float) -> float:
        return 1_000 * (7 - at_s if 4 < at_s < 7 else 0) + 5 * random.lognormvariate(0, 0.2)

    opened, closed, at_s = [], [], 3.0
    while (at_s := at_s + random.expovariate(40)) < 8:
        opened.append((at_s, ms(at_s)))
    for _ in range(4):
        at_s = 3 + random.random() / 10
        while at_s < 8:
            closed.append((at_s, ms(at_s)))
            at_s += closed[-1][1] / 1_000 + random.expovariate(10)
    found = factor_interval(blocks_in_time(opened, closed), 1 - 0.05 / 3)
    assert found is not None
    assert found[1] < 1 / 1.15


def test_an_interval_may_have_no_end() -> None:
    good, none = [1.0 + place for place in range(40)], [math.inf] * 40
    assert interval(good, none) == (math.inf, math.inf)
    assert interval(none, good) == (0, 0)
    assert interval(none, none) == (1, 1)


def test_two_blocks_are_too_few_for_an_interval() -> None:
    (one, other) = latencies(16, 1)
    blocks = blocks_in_time(
        *([(place, ms) for place, ms in enumerate(own)] for own in (one, other))
    )
    assert factor_interval(blocks[:1], 0.95) is None
    assert factor_interval(blocks[:2], 0.999) is None


@pytest.mark.parametrize(("repeats", "count"), [(1, 300), (3, 130), (8, 130)])
def test_half_as_long_again_is_found(repeats: int, count: int) -> None:
    runs = [run_samples(number, times=1.5, count=count) for number in range(repeats)]
    found = compare_runs(*runs, floor=SOME)
    assert [one.verdict for one in found] == ["slower"] * 6
    assert sum(one.low < 1.5 < one.high for one in found) >= 5
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


@pytest.mark.parametrize("counts", [(6, 6), (6, 13), (9, 8), (19, 7)])
def test_few_answers_differ_exactly_where_the_rank_test_of_scipy_says_so(
    counts: tuple[int, int],
) -> None:
    oracle = pytest.importorskip("scipy.stats").mannwhitneyu
    random, seen = Random(5), set()
    for _ in range(60):
        times = random.choice((1.0, 1.5, 3.0, 20.0))
        first = [random.lognormvariate(0, 0.5) for _ in range(counts[0])]
        other = [times * random.lognormvariate(0, 0.5) for _ in range(counts[1])]
        p = oracle(first, other, method="exact").pvalue
        for confidence in (0.95, 0.997):
            interval = factor_of_few(first, other, confidence)
            assert interval is not None
            differs = not interval[0] <= 1 <= interval[1]
            assert differs == (p <= 1 - confidence)
            seen.add(differs)
    assert seen == {True, False}


def test_too_few_answers_have_no_interval() -> None:
    assert factor_of_few([1, 2, 3], [10, 20, 30], 0.95) is None
    assert factor_of_few([1] * 6, [math.inf] * 6, 0.99) == (math.inf, math.inf)
    assert factor_of_few([math.inf] * 6, [1] * 6, 0.99) == (0, 0)


def test_requests_of_a_moment_are_compared_with_those_of_that_moment() -> None:
    """Seven of ten posts of the other fail while it is ill, so it sends fewer comments at once."""
    random, samples = Random(2), []
    for place in range(200):
        at_s = place / 20
        phase = "before" if at_s < 3 else "during" if at_s < 7 else "after"
        ms = 10 * random.lognormvariate(0, 0.1)
        slow = 3 if phase == "after" else 1
        samples.append(Sample("sync-chain", phase, "comment_at_once", at_s, 0, slow * ms, ok=True))
        if phase != "during" or random.random() < 0.3:
            ms = 10 * random.lognormvariate(0, 0.1)
            samples.append(Sample("other", phase, "comment_at_once", at_s, 0, ms, ok=True))
    found = {one.phase: one for one in compare_runs(samples)}
    assert {phase: one.verdict for phase, one in found.items()} == {
        "before": "no difference shown",
        "during": "no difference shown",
        "after": "faster",
    }
    assert found["after"].ratio == pytest.approx(1 / 3, rel=0.1)


def test_the_ratio_is_that_of_the_printed_medians() -> None:
    """A closed loop sends fewer requests, at other moments."""
    open_loop = run_samples(5, count=150)
    closed = [one for one in open_loop if one.variant == "sync-chain" or hash(one.intended_s) % 3]
    for one in compare_runs(closed):
        printed = [
            median(
                [
                    sample.latency_ms or 0
                    for sample in closed
                    if (sample.variant, sample.phase, sample.endpoint)
                    == (name, one.phase, one.endpoint)
                ]
            )
            for name in ("other", "sync-chain")
        ]
        assert one.ratio == printed[0] / printed[1]


def test_giving_up_on_slow_requests_is_not_faster() -> None:
    samples = run_samples(3, count=200)
    for sample in samples:
        if sample.variant == "other" and (sample.latency_ms or 0) > 4:
            sample.ok, sample.error = False, "timeout"
    found = compare_runs(samples)
    assert {one.verdict for one in found} == {"no difference shown"}
    assert all(one.high < 1 for one in found)
    assert "requests succeeded, against 200 of 200" in found[0].reason


def test_much_faster_is_faster_although_some_fail() -> None:
    samples = run_samples(3, times=0.1, count=100)
    for sample in samples[::7]:
        sample.ok, sample.error = False, "http_503"
    assert {one.verdict for one in compare_runs(samples)} == {"faster"}


def test_writes_that_nobody_saw_are_not_seen_sooner() -> None:
    samples = [
        Sample(
            name,
            "during",
            "create_post",
            place,
            0.1,
            3.0,
            201,
            ok=True,
            visible_ms=None if name == "other" and place % 3 else 10.0 + place % 7,
        )
        for place in range(90)
        for name in ("sync-chain", "other")
    ]
    for sample in samples:
        if sample.variant == "other" and sample.visible_ms:
            sample.visible_ms /= 5
    (seen,) = (one for one in compare_runs(samples) if one.figure == "visible")
    assert (seen.verdict, seen.high < 1) == ("no difference shown", True)
    assert "Only 30 of 90 requests were seen by readers, against 90 of 90" in seen.reason


def test_visible_times_are_compared_too() -> None:
    samples = [
        Sample(name, "during", "create_post", place, 0.1, 3.0, 201, ok=True, visible_ms=visible)
        for place in range(30)
        for name, visible in (("sync-chain", 2_000.0 + place), ("other", 10.0 + place % 3))
    ]
    by_figure = {one.figure: one.verdict for one in compare_runs(samples)}
    assert by_figure == {"latency": "no difference shown", "visible": "faster"}
    assert len(compare_runs(run_samples(1, count=MIN_ANSWERS))) == 6  # no line is missing


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
