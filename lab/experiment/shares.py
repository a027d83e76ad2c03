"""The difference of two shares, with its confidence interval: 0 of 51 against 52 of 52.

Method 10 of R. G. Newcombe, *Interval estimation for the difference between independent
proportions: comparison of eleven methods*, Statistics in Medicine 17, 1998: the two Wilson score
intervals, combined. It is right for few requests and for shares of 0 and 1, where the textbook
interval (Wald) has no width at all.

Fisher's exact test says whether a share became smaller, for as few requests as there are: R. A.
Fisher, *Statistical Methods for Research Workers*, 5th edition 1934, section 21.02.
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


def fisher_decrease(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """The one-sided p-value of Fisher's exact test: how likely the other share is so small, or
    smaller, if both are shares of the same. 1 where nothing was counted.

    Raises ValueError for more hits than requests.
    """
    if not (0 <= hits <= total and 0 <= other_hits <= other_total):
        raise ValueError(f"{hits} of {total} and {other_hits} of {other_total} are not shares.")
    all_hits, everything = hits + other_hits, total + other_total
    at_least = max(0, all_hits - total)
    as_extreme = sum(
        math.comb(other_total, count) * math.comb(total, all_hits - count)
        for count in range(at_least, other_hits + 1)
    )
    return as_extreme / math.comb(everything, all_hits)
