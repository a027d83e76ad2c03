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
from itertools import accumulate
from random import Random
from typing import NamedTuple

from lab.load.plan import Action, Phase

_RANKS = 1_000_000


class Arrival(NamedTuple):
    """One thing somebody wants. `rank` is its dice: it picks the post that gets the comment."""

    at_s: float
    action: str
    rank: int

    @property
    def is_rejectable(self) -> bool:
        """Whether a comment with this rank carries the word moderation rejects: one in ten.

        Read from another digit than the one that picks the post (`rank % 10`, as a rule): else
        all the rejected comments would sit under the same post.
        """
        return self.rank // 1_000 % 10 == 0


def schedule(
    seed: int, rate: float, phases: Sequence[Phase], mix: Mapping[Action, float]
) -> list[Arrival]:
    """All arrivals of a run, in order: `rate` a second over the length of all phases together.

    The same seed gives the same list, byte for byte: times are whole microseconds, and the order
    in which `mix` was written doesn't matter. A longer run begins with the shorter one.
    """
    random = Random(seed)
    actions = sorted(mix)
    weights = [mix[action] for action in actions]
    end_s = sum(phase.seconds for phase in phases)
    arrivals: list[Arrival] = []
    at_s = random.expovariate(rate)
    while at_s < end_s:
        action = random.choices(actions, weights)[0]
        arrivals.append(Arrival(round(at_s, 6), action, random.randrange(_RANKS)))
        at_s += random.expovariate(rate)
    return arrivals


def shift_s(variant: int, variants: int, rate: float) -> float:
    """How much later variant number `variant` is sent the same arrival, in seconds.

    Spread over one mean gap, so that twins on one machine don't always meet at the same instant.
    """
    return variant / (rate * variants)


class Timeline:
    """Which phase a moment belongs to. Moments after the last phase belong to the last phase."""

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._names = [phase.name for phase in phases]
        self._ends_s = list(accumulate(phase.seconds for phase in phases))
        self.end_s = self._ends_s[-1]

    def phase_at(self, at_s: float) -> str:
        """The phase at `at_s` seconds from the start; a boundary belongs to the later phase."""
        return self._names[min(bisect_right(self._ends_s, at_s), len(self._names) - 1)]
