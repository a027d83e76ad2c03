"""Checks of the exercises on fleets (09): each simulates, or computes, what was asked."""

from typing import Any

import lab
from checks import Feedback, check_set, unanswered

AS_USUAL = 0.99


def widest(answer: Any, slow: float, bearable: float) -> Feedback:
    """How many answers a feed may need, so that at most a share `bearable` is slow."""
    wanted = f"the largest number of answers with at most {bearable:.0%} of the feeds slow"
    if answer is ...:
        return unanswered(wanted)
    if not isinstance(answer, int) or answer < 1:
        return Feedback(False, f"{answer!r}, which is not a number of answers", wanted)
    share, one_more = (1 - (1 - slow) ** n for n in (answer, answer + 1))
    seen = f"{answer}: {share:.1%} slow; one more: {one_more:.1%}"
    return Feedback(share <= bearable < one_more, seen, wanted)


def left(answer: Any) -> Feedback:
    """The variants of `retry-storm` that leave the storm."""
    wanted = "the variants whose feeds succeed again after the freeze"
    if answer is ...:
        return unanswered(wanted)
    after = lab.simulate("retry-storm").phase("after")["read_feed"]
    return check_set(answer, {name for name, ok in after.success.items() if ok >= AS_USUAL}, wanted)
