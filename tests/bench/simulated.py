"""How often the tables report a difference that does not exist, and find one that does: simulated.

A data set is what one run of a scenario measures: three phases, three kinds of requests, two
variants, answered and visible. It goes through `compare_medians`, as every run does, with all lines
of its table. A *false alarm* is a table in which any line reports a difference that is none, or has
the wrong direction. *Power* is the share of tables that report the difference of feeds in `during`.

Latencies are log-normal. Busy moments of the machine slow down both variants, busy moments of one
variant that one only; both last for some requests (autoregressive, order 1), and sometimes a
variant stalls for twenty requests in a row. There are 132 feeds in a run, of which 60 in `during`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import NormalDist

from lab.experiment.differences import TWINS, compare_medians, floor_share, median_gap
from lab.experiment.lateness import in_time
from lab.load.samples import WRITES, Sample
from lab.results.result import Difference, NoiseFloor
from tests.bench.table import Figure, at_most, shown

DATA_SETS = 1_000
RATE = 20.0
PHASES = {"before": 3.0, "during": 5.0, "after": 3.0}
MIX = ("read_feed",) * 6 + ("create_post",) + ("create_comment",) * 3
USUAL_MS = {"read_feed": 5.0, "create_post": 3.0, "create_comment": 8.0}
PLACEMENT = 0.01
"""The spread of what equal variants differ by in one run: memory layout, cores, turns."""


@dataclass(frozen=True)
class Variant:
    """What distinguishes one variant: how many times as long its answers take, the spread of its
    placement, and more of it by name."""

    times: float = 1.0
    placement: float = PLACEMENT
    slow_share: float = 0.0
    slow_times: float = 50.0
    gives_up_ms: float = math.inf
    fails: float = 0.0
    keeps: float = 1.0
    never_seen: float = 0.0


@dataclass(frozen=True)
class Family:
    """Data sets of one kind. `truth`: the verdict that would be right; "" if the two are equal."""

    name: str
    first: Variant
    other: Variant
    truth: str = ""
    runs: int = 1
    calm_runs: int = 10
    rate: float = RATE

    @property
    def placement(self) -> float:
        return self.other.placement

    def data_set(self, random: Random) -> list[list[Sample]]:
        return [one_run(random, (self.first, self.other), self.rate) for _ in range(self.runs)]

    def table(self, random: Random) -> list[Difference]:
        """The differences that the lab reports for a new data set."""
        bounded = [[in_time(sample) for sample in run] for run in self.data_set(random)]
        return compare_medians(bounded, TWINS, list(PHASES), self._floor(random))

    def _floor(self, random: Random) -> NoiseFloor:
        if not self.calm_runs:
            return NoiseFloor()
        gaps = random.choices(calm_gaps(self.placement), k=self.calm_runs)
        return NoiseFloor(share=floor_share(gaps), runs=self.calm_runs)


EQUAL = Variant()
HUMPS = Variant(slow_share=0.2), Variant(slow_share=0.8)
FAMILIES = (
    Family("equal twins", EQUAL, EQUAL),
    Family("equal twins, no noise floor measured yet", EQUAL, EQUAL, calm_runs=0),
    Family("equal twins, three runs pooled", EQUAL, EQUAL, runs=3),
    Family("equal twins, five runs pooled", EQUAL, EQUAL, runs=5),
    *(
        Family(
            f"equal, placed differently (± 4 %), floor of {count} run{'s' * (count > 1)}",
            Variant(placement=0.04),
            Variant(placement=0.04),
            calm_runs=count,
        )
        for count in (1, 3, 10)
    ),
    Family(
        "equal, placed differently (± 4 %), five runs pooled",
        *[Variant(placement=0.04)] * 2,
        runs=5,
    ),
    Family("equal, one in a closed loop", EQUAL, Variant(keeps=0.35)),
    Family("equal, a third of all answers is fifty times as slow", *[Variant(slow_share=0.33)] * 2),
    Family("equal, half of all answers is fifty times as slow", *[Variant(slow_share=0.5)] * 2),
    Family("equal, few samples", EQUAL, EQUAL, rate=5.0),
    Family("equal, but one gives up early", EQUAL, Variant(gives_up_ms=5.0)),
    Family("equal, but one fails every third request", EQUAL, Variant(fails=0.33)),
    Family("equal, but one never shows half of its writes", EQUAL, Variant(never_seen=0.5)),
    Family("1.1 times as long", EQUAL, Variant(times=1.1), "slower"),
    Family("1.1 times as long, five runs pooled", EQUAL, Variant(times=1.1), "slower", runs=5),
    Family("1.5 times as long", EQUAL, Variant(times=1.5), "slower"),
    Family("1.5 times as long, three runs pooled", EQUAL, Variant(times=1.5), "slower", runs=3),
    Family("1.5 times as long, five runs pooled", EQUAL, Variant(times=1.5), "slower", runs=5),
    Family("1.5 times as long, in a closed loop", EQUAL, Variant(1.5, keeps=0.35), "slower"),
    Family("0.02 times as long, few samples", EQUAL, Variant(times=0.02), "faster", rate=5.0),
    Family("60 % fifty times as slow, against none", EQUAL, Variant(slow_share=0.6), "slower"),
    Family("80 % fifty times as slow, against 20 %", *HUMPS, "slower"),
    Family("80 % fifty times as slow, against 20 %, three runs pooled", *HUMPS, "slower", runs=3),
    Family("a fifth as long, and one in ten fails", EQUAL, Variant(times=0.2, fails=0.1), "faster"),
)


def figures() -> Iterator[Figure]:
    for family in FAMILIES:
        alarms, power = rates(family, DATA_SETS)
        yield at_most(f"false alarms, {family.name}", 5, [100 * alarms], "% of tables")
        if family.truth:
            yield shown(f"power, {family.name}", [100 * power], "% of tables")


def rates(family: Family, data_sets: int) -> tuple[float, float]:
    """The shares of false alarms and of found differences, of `data_sets` data sets."""
    alarms = found = 0
    for seed in range(data_sets):
        table = family.table(Random(f"{family.name} {seed}"))
        verdicts = {one.verdict for one in table} - {"no difference shown", family.truth}
        alarms += bool(verdicts)
        found += any(
            one.verdict == family.truth
            for one in table
            if (one.figure, one.phase, one.endpoint) == ("latency", "during", "read_feed")
        )
    return alarms / data_sets, found / data_sets


# ── Data sets


def slowdowns(random: Random, stays: float) -> Iterator[float]:
    """Random slowdowns of one moment after the other (AR(1), mean 0, variance 1)."""
    at = random.gauss(0, 1)
    while True:
        yield at
        at = stays * at + math.sqrt(1 - stays * stays) * random.gauss(0, 1)


def one_run(random: Random, variants: Sequence[Variant], rate: float) -> list[Sample]:
    """The samples of one run of the twins."""
    machine = slowdowns(random, 0.7)
    senders = [
        _sender(random, name, variant) for name, variant in zip(TWINS, variants, strict=True)
    ]
    samples: list[Sample] = []
    ends_s = {name: sum(list(PHASES.values())[: at + 1]) for at, name in enumerate(PHASES)}
    at_s = random.expovariate(rate)
    while at_s < max(ends_s.values()):
        phase = next(name for name, end_s in ends_s.items() if at_s < end_s)
        endpoint, busy = random.choice(MIX), next(machine)
        for send in senders:
            samples += send(phase, endpoint, at_s + random.random() / (2 * rate), busy)
        at_s += random.expovariate(rate)
    return samples


Send = Callable[[str, str, float, float], list[Sample]]


def _sender(random: Random, name: str, variant: Variant) -> Send:
    own, humps = slowdowns(random, 0.5), slowdowns(random, 0.5)
    # The normal quantile of the share: humps stay for a moment, too.
    slow_below = _normal_quantile(variant.slow_share)
    placed = {one: math.exp(random.gauss(0, variant.placement / math.sqrt(2))) for one in USUAL_MS}
    stalled = 0

    def send(phase: str, endpoint: str, at_s: float, busy: float) -> list[Sample]:
        nonlocal stalled
        stalled = max(0, stalled - 1) or 20 * (random.random() < 1 / 1_000)
        ms = USUAL_MS[endpoint] * variant.times * placed[endpoint]
        ms *= math.exp(0.3 * busy + 0.3 * next(own) + 1.0 * bool(stalled))
        ms *= variant.slow_times if next(humps) < slow_below else 1.0
        if random.random() >= variant.keeps:
            return []
        ok = ms < variant.gives_up_ms and random.random() >= variant.fails
        seen = endpoint in WRITES and ok and random.random() >= variant.never_seen
        return [
            Sample(
                name,
                phase,
                endpoint,
                at_s,
                0.1,
                ms,
                200 if ok else 503,
                ok=ok,
                error="" if ok else "http_503",
                visible_ms=ms * math.exp(random.gauss(0.5, 0.2)) if seen else None,
            )
        ]

    return send


def _normal_quantile(share: float) -> float:
    return NormalDist().inv_cdf(share) if share else -math.inf


@cache
def calm_gaps(placement: float, count: int = 80) -> list[float]:
    """The gaps between the medians of equal variants in runs of `calm`."""
    random = Random(placement)
    calm = Variant(placement=placement)
    gaps = [median_gap(one_run(random, (calm, calm), 2 * RATE)) for _ in range(count)]
    return [gap for gap in gaps if gap is not None]
