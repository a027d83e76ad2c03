"""Stale reads: feeds that came without something that had been acknowledged before they were asked.

Nothing in such an answer says so. It is found out afterwards, from the moments of the others: a
write is acknowledged at one moment and first seen at a later one, and a feed that was asked for and
answered in between can't have shown it. So it is known as exactly as *visible* is, to within the
pause between two looks of the watcher.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import inf

from lab.load.samples import WRITES, Sample


def mark_stale(samples: Sequence[Sample]) -> None:
    """Mark the feeds among one variant's samples that were stale. All samples of a run, no more."""
    unseen = sorted(
        (_answered_s(one), one.intended_s + one.visible_ms / 1_000 if one.visible_ms else inf)
        for one in samples
        if one.ok and one.endpoint in WRITES
    )
    acknowledged_s = [begin_s for begin_s, _ in unseen]
    seen_s = list(accumulate((end_s for _, end_s in unseen), max))
    for one in samples:
        if one.ok and one.endpoint == "read_feed":
            before = bisect_right(acknowledged_s, one.intended_s + one.lag_ms / 1_000)
            one.stale = before > 0 and seen_s[before - 1] > _answered_s(one)


def _answered_s(sample: Sample) -> float:
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000
