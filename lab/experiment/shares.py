"""The difference of two shares, with its confidence interval: 0 of 51 against 52 of 52.

Method 10 of R. G. Newcombe, *Interval estimation for the difference between independent
proportions: comparison of eleven methods*, Statistics in Medicine 17, 1998: the two Wilson score
intervals, combined. It is right for few requests and for shares of 0 and 1, where the textbook
interval (Wald) has no width at all.
"""

import math
from statistics import NormalDist


def wilson_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The confidence interval of a share, 0 to 1. Raises ValueError without any request."""
    if not 0 <= hits <= total or not total:
        raise ValueError(f"{hits} of {total} is not a share.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, z2 = hits / total, z * z
    middle = share + z2 / (2 * total)
    half_width = z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    scale = 1 + z2 / total
    return max(0.0, (middle - half_width) / scale), min(1.0, (middle + half_width) / scale)


def share_difference(
    hits: int, total: int, other_hits: int, other_total: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The confidence interval of `other share - share`, -1 to 1. Raises ValueError for 0 of 0."""
    low, high = wilson_interval(hits, total, confidence)
    other_low, other_high = wilson_interval(other_hits, other_total, confidence)
    share, other = hits / total, other_hits / other_total
    difference = other - share
    return (
        difference - math.hypot(other - other_low, high - share),
        difference + math.hypot(other_high - other, share - low),
    )
