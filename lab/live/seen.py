"""A sentence on what is to be seen just now, and the claim of the course that it bears on.

What it is said of was measured in the last two seconds (`lab/live/picture.py`), and a table of
rules says what it means (`lab/live/rules.py`); that somebody has put a fault somewhere makes none
of them true.
"""

from collections import deque
from collections.abc import Sequence

from lab.live.halves import Half
from lab.live.picture import Picture, picture
from lab.live.rules import ALIKE, OF_ASKING, RULES, Rule
from lab.live.show import Show
from lab.live.ticks import EVERY_MS, Tick

OVER_S = 2.0
SETTLED_AFTER_S = 1.0
SAY_AGAIN_AFTER_S = 4.0
"""The same sentence with other figures is said so seldom: somebody may be listening to it."""


def what_is_seen(one: Picture, other: Picture) -> tuple[Rule, str, str | None] | None:
    """The first rule that holds of the two, its sentence, and the claim."""
    if one.tells and not other.tells:
        one, other = other, one
    for rule in RULES if other.tells and not one.tells else ALIKE:
        if rule.when(one, other):
            by_events = one.by_events and rule.claim in OF_ASKING
            return rule, rule.says(one, other), "events-like-calls" if by_events else rule.claim
    return None


class Seer:
    """Looks at the ticks of one start, and says when something else is to be seen."""

    def __init__(self, halves: Sequence[Half], show: Show) -> None:
        self._halves, self._show = halves, show
        self._ticks: deque[Tick] = deque(maxlen=round(OVER_S * 1_000 / EVERY_MS))
        self._rule, self._say_again_at = "", 0.0

    def look(self, tick: Tick) -> None:
        """Take in a tick; tell everybody when another rule holds, or its figures are old."""
        self._ticks.append(tick)
        if len(self._ticks) < (self._ticks.maxlen or 0):
            return  # Both have just started, and the first requests are never like the others.
        left, right = (
            picture(half, [one["halves"][half.name] for one in self._ticks])
            for half in self._halves
        )
        seen = what_is_seen(left, right)
        name = seen[0].name if seen else ""
        if name == self._rule and tick["t"] < self._say_again_at:
            return
        # The first figures of an outage are a mixture of before and after: soon there are better.
        wait_s = SAY_AGAIN_AFTER_S if name == self._rule else SETTLED_AFTER_S
        self._rule, self._say_again_at = name, tick["t"] + wait_s
        if seen:
            told = {"rule": name, "says": seen[1], "claim": seen[2]}
            if told != self._show.now["seen"]:
                self._show.change("seen", told)
