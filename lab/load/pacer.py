"""The schedule: what is sent and when, fixed by a seed before the first request.

Open loop: arrivals come when they come, whether or not the last one was answered, as readers of a
blog do. A loop that waits for its answers slows down exactly when the server does, and so never
notices (coordinated omission). Gaps are exponential, so the arrivals are a Poisson process: the
standard picture of many independent people (Kleinrock, *Queueing Systems* I, section 2.4).

Every variant gets the same schedule, so a difference between two of them is not a difference
between two dice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from random import Random
from typing import NamedTuple

from lab.load.plan import Action, Phase

_RANKS = 1_000_000

ORANGE = 0.1
"""The share of comments that carry the word moderation rejects, unless told otherwise."""


class Arrival(NamedTuple):
    """One thing somebody wants. `rank` is its dice: it picks the post that gets the comment."""

    at_s: float
    action: str
    rank: int

    @property
    def is_rejectable(self) -> bool:
        """Whether a comment with this rank carries the word moderation rejects: one in ten."""
        return self.is_among(ORANGE)

    def is_among(self, share: float) -> bool:
        """Whether this one belongs to that share of all (0 to 1, in steps of 0.001).

        Read from other digits than the one that picks the post (`rank % 10`, as a rule): else all
        the rejected comments would sit under the same post.
        """
        tens, ones = divmod(self.rank // 1_000, 10)
        return 100 * ones + tens < round(1_000 * share)


def schedule(
    seed: int, rate: float, phases: Sequence[Phase], mix: Mapping[Action, float]
) -> list[Arrival]:
    """All arrivals of a run, in order: `rate` a second, or as many as the phase has of its own.

    The same seed gives the same list, byte for byte: times are whole microseconds, and the order
    in which `mix` was written doesn't matter. A longer run begins with the shorter one.

    Where the rate changes, what is left of a gap is as many mean gaps of the new rate (a Poisson
    process on another clock: Kleinrock, as above; Lewis, Shedler: Naval Research Logistics
    Quarterly 26(3), 1979).
    """
    random = Random(seed)
    actions = sorted(mix)
    weights = [mix[action] for action in actions]
    arrivals: list[Arrival] = []
    at_s, gaps = 0.0, random.expovariate(1.0)
    for until_s, now in _stretches(rate, phases):
        while at_s + gaps / now < until_s:
            at_s += gaps / now
            action = random.choices(actions, weights)[0]
            arrivals.append(Arrival(round(at_s, 6), action, random.randrange(_RANKS)))
            gaps = random.expovariate(1.0)
        gaps -= (until_s - at_s) * now
        at_s = until_s
    return arrivals


def _stretches(rate: float, phases: Sequence[Phase]) -> list[tuple[float, float]]:
    """Until when in seconds, at which rate: phases of one rate are one stretch."""
    stretches: list[tuple[float, float]] = []
    end_s = 0.0
    for now, alike in groupby(phases, key=lambda phase: phase.rate or rate):
        end_s = sum((phase.seconds for phase in alike), end_s)
        stretches.append((end_s, now))
    return stretches


TURN_S = 0.25


def shift_s(variant: int, variants: int, rate: float, at_s: float) -> float:
    """How much later variant number `variant` is sent the arrival of `at_s`, in seconds.

    Spread over one mean gap, so that twins on one machine don't always meet at the same instant.
    They take turns, a quarter of a second each, at who comes first: who always comes second meets
    what the first one has left to do, and two equal ones were seen to differ by 13 %.
    """
    place = (variant + int(at_s / TURN_S)) % variants
    return place / (rate * variants)


class Timeline:
    """Which phase a moment belongs to. Moments after the last phase belong to the last phase."""

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._names = [phase.name for phase in phases]
        self._ends_s = list(accumulate(phase.seconds for phase in phases))
        self.end_s = self._ends_s[-1]

    def phase_at(self, at_s: float) -> str:
        """The phase at `at_s` seconds from the start; a boundary belongs to the later phase."""
        return self._names[min(bisect_right(self._ends_s, at_s), len(self._names) - 1)]
