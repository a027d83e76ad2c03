"""The schedule: what is sent and when, fixed by a seed before the first request.

Open loop: arrivals do not wait for earlier answers, as readers of a blog do not. A loop that waits
for its answers slows down exactly when the server does, and so never notices (coordinated
omission). Gaps are exponential, so the arrivals are a Poisson process: the standard model of many
independent users (Kleinrock, *Queueing Systems* I, section 2.4).

Every variant gets the same schedule, so a difference between two variants does not come from
different random numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from math import ceil
from random import Random
from typing import NamedTuple

from lab.load.plan import LoadAction, PlanPhase

_RANKS = 1_000_000
_MAX_BLOCK = 1_000

REJECTED_SHARE = 0.1
"""Default share of comments that contain the word that moderation rejects."""


class Arrival(NamedTuple):
    """One request to send. `at_s`: seconds from the start; `rank`: a random number that picks the
    post for a comment."""

    at_s: float
    action: str
    rank: int

    @property
    def is_rejectable(self) -> bool:
        """Whether a comment with this rank contains the word that moderation rejects: 1 in 10."""
        return self.in_share(REJECTED_SHARE)

    def in_share(self, share: float) -> bool:
        """Whether this arrival belongs to a share of all (0 to 1, in steps of 0.001).

        It uses other digits than the choice of the post does (`rank % 10`, as a rule): otherwise
        all rejected comments would belong to the same post.
        """
        tens, ones = divmod(self.rank // 1_000, 10)
        return 100 * ones + tens < round(1_000 * share)


def build_schedule(
    seed: int, rate: float, phases: Sequence[PlanPhase], mix: Mapping[LoadAction, float]
) -> list[Arrival]:
    """All arrivals of a run, in order: `rate` a second, or the rate of the phase.

    Times are random; actions are a stratified sample (`_stratified_actions`), so that even a
    phase of two seconds has some of each.

    The same seed gives the same list, byte for byte: times are whole microseconds, and the order
    in which `mix` was written doesn't matter. A longer run begins with the shorter one.

    Where the rate changes, the rest of a gap keeps its length in mean gaps (a Poisson process on
    another clock: Kleinrock, as above; Lewis, Shedler: Naval Research Logistics Quarterly 26(3),
    1979).
    """
    random = Random(seed)
    actions = _stratified_actions(random, mix)
    arrivals: list[Arrival] = []
    at_s, remaining_gaps = 0.0, random.expovariate(1.0)
    for until_s, current_rate in _constant_rate_spans(rate, phases):
        while at_s + remaining_gaps / current_rate < until_s:
            at_s += remaining_gaps / current_rate
            arrivals.append(Arrival(round(at_s, 6), next(actions), random.randrange(_RANKS)))
            remaining_gaps = random.expovariate(1.0)
        remaining_gaps -= (until_s - at_s) * current_rate
        at_s = until_s
    return arrivals


def _stratified_actions(random: Random, mix: Mapping[LoadAction, float]) -> Iterator[str]:
    """Yield the actions one by one, from shuffled blocks.

    Each block has the shares of `mix`, and is long enough to contain the rarest action once. This
    is a stratified sample (Cochran, *Sampling Techniques*, 1977, chapter 5). Independent draws
    would leave one phase in twenty without a post where three are expected.
    """
    actions = sorted(action for action in mix if mix[action] > 0)
    ends = list(accumulate(mix[action] for action in actions))
    block_size = min(_MAX_BLOCK, ceil(ends[-1] / min(mix[action] for action in actions)))
    while True:
        # Action k is drawn from the k-th part of the whole: shares that are whole actions are
        # exact in each block, the others in the long run.
        points = [(k + random.random()) / block_size * ends[-1] for k in range(block_size)]
        block = [actions[min(bisect_right(ends, point), len(actions) - 1)] for point in points]
        random.shuffle(block)
        yield from block


def _constant_rate_spans(rate: float, phases: Sequence[PlanPhase]) -> list[tuple[float, float]]:
    """(end in seconds, rate) of each span; consecutive phases of one rate are one span."""
    spans: list[tuple[float, float]] = []
    end_s = 0.0
    for current_rate, alike in groupby(phases, key=lambda phase: phase.rate or rate):
        end_s = sum((phase.seconds for phase in alike), end_s)
        spans.append((end_s, current_rate))
    return spans


ROTATE_EVERY_S = 0.25


def stagger_s(variant: int, variants: int, rate: float, at_s: float) -> float:
    """By how many seconds variant number `variant` sends the arrival of `at_s` later.

    The variants are spread over one mean gap, so that twins on one machine do not always send at
    the same instant. Every ROTATE_EVERY_S seconds another variant is first, because the second
    one meets the work that the first one left: without the rotation, two equal variants differed by
    13 %.
    """
    slot = (variant + int(at_s / ROTATE_EVERY_S)) % variants
    return slot / (rate * variants)


class PhaseClock:
    """Maps a time to its phase. Times after the last phase belong to the last phase."""

    def __init__(self, phases: Sequence[PlanPhase]) -> None:
        self._names = [phase.name for phase in phases]
        self._ends_s = list(accumulate(phase.seconds for phase in phases))
        self.end_s = self._ends_s[-1]

    def phase_at(self, at_s: float) -> str:
        """The phase at `at_s` seconds from the start; a boundary belongs to the later phase."""
        return self._names[min(bisect_right(self._ends_s, at_s), len(self._names) - 1)]
