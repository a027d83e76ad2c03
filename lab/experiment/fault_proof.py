"""Whether a fault acted as the scenario declares it: when, for how long, how often, how much.

A fault that was on for a tenth of its time, or hit a third of what it should have hit, has acted;
but what was measured under it says nothing about the fault that the scenario names. So each
difference between the two is a doubt, and the figures that depend on the fault are then not
measured.

All moments are lower bounds of what the fault did: it counts as on when the lab knew that it acted,
and as off when its removal began.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.cluster.injector import Injection
from lab.faults.kinds import Fault, LatencyFault, NewVersionFault

ON_SHARE = 0.9
"""A fault has to act for this share of the time that is declared for it."""

GONE_WITHIN = 0.1
GONE_WITHIN_S = 0.5
BACK_WITHIN_S = 2.0
"""A fault has to be gone so long after its end: a share of its time, or seconds if that is more. A
killed process has longer, because it has to start again."""

PUBLISHED_WITHIN_S = 0.5
"""A poison event acts from its moment on, however late that was."""

IMPLAUSIBLE = 0.001
"""Below this p-value, a share of hits is not one of the declared probability. A correct fault is
doubted less than once in a thousand runs."""

DELAY_OFF, DELAY_OFF_MS, TIMER_MS = 0.1, 20.0, 1.0
"""A mean delay may be longer than declared by this share, or by so many ms if that is more: a
sleeping worker has to get a processor again. The shortest delay may be shorter by the resolution of
the clocks."""


@dataclass(frozen=True)
class Moments:
    """When a fault was declared, and when it acted: seconds from the start of the run."""

    declared_from_s: float
    declared_until_s: float
    on_s: float
    off_s: float
    gone_s: float


def merged_moments(each: Sequence[Moments]) -> Moments:
    """The moments of several injections that act as one: the time in which all of them were on."""
    return Moments(
        declared_from_s=min(one.declared_from_s for one in each),
        declared_until_s=max(one.declared_until_s for one in each),
        on_s=max(one.on_s for one in each),
        off_s=min(one.off_s for one in each),
        gone_s=max(one.gone_s for one in each),
    )


def moments_of(injection: Injection, start_at: float) -> Moments | None:
    """The moments of one injection; None if nothing was declared for it. `start_at`: the value of
    `perf_counter` at the start of the run."""
    if injection.window is None:
        return None
    from_s, until_s = injection.window
    on_s, off_s, gone_s = (
        round(at - start_at, 3) for at in (injection.on_s, injection.off_s, injection.gone_s)
    )
    return Moments(from_s, until_s, on_s, off_s, gone_s)


def doubts(
    fault: Fault, moments: Moments | None, evidence: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Why a fault did not act as declared, one sentence each; empty if it did. `evidence`: of each
    injection, if several act as one."""
    return [
        *(_wrong_times(fault, moments) if moments is not None else ()),
        *_implausible_counts(fault, evidence),
        *(sentence for each in evidence for sentence in _wrong_delays(fault, moments, each)),
    ]


def _wrong_times(fault: Fault, moments: Moments) -> Iterator[str]:
    from_s, until_s = moments.declared_from_s, moments.declared_until_s
    declared_s, late_s = until_s - from_s, moments.on_s - from_s
    on_s = max(0.0, min(moments.off_s, until_s) - max(moments.on_s, from_s))
    if fault.acts_on == "bus":
        if late_s > max((1 - ON_SHARE) * declared_s, PUBLISHED_WITHIN_S):
            yield f"it was published {late_s:.2f} s after its moment"
        return  # What was published cannot be taken back.
    if on_s < ON_SHARE * declared_s:
        yield f"it was on for {on_s:.2f} of its {declared_s:g} s, from {late_s:.2f} s on"


def ended_late(fault: Fault, moments: Moments | None) -> str:
    """How much too late a fault was gone, in words; "" if it was gone in time."""
    if moments is None or fault.acts_on == "bus":
        return ""
    declared_s = moments.declared_until_s - moments.declared_from_s
    allowed_s = BACK_WITHIN_S if fault.kind == "down" else GONE_WITHIN_S
    late_s = moments.gone_s - moments.declared_until_s
    if late_s <= max(GONE_WITHIN * declared_s, allowed_s):
        return ""
    return f"it was gone only {late_s:.2f} s after its end"


def _implausible_counts(fault: Fault, evidence: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if fault.acts_on != "door" or isinstance(fault, NewVersionFault):
        return  # Of what `posts` sends, only some has a post in it.
    if not all("visitors" in each and "acted" in each for each in evidence):
        return
    visitors = sum(each["visitors"] for each in evidence)
    acted = sum(each["acted"] for each in evidence)
    if fault.first is not None:
        if any(each["acted"] > fault.first for each in evidence):
            yield f"it hit {acted}, more than the first {fault.first}"
        return
    tries, hits = visitors, [acted]
    if fault.event_effect == "overtaken":
        # The event after a hit only overtakes; the last hit may still wait for one.
        tries, hits = visitors - acted, [acted, acted + len(evidence)]
    if max(binomial_p_value(min(one, tries), tries, fault.probability) for one in hits) < (
        IMPLAUSIBLE
    ):
        yield f"it hit {acted} of {visitors}, which is not a share of {fault.probability:g}"


def binomial_p_value(hits: int, tries: int, probability: float) -> float:
    """The two-sided p-value of the exact binomial test: how likely a count is that is at least as
    unlikely as `hits` (W. J. Conover, *Practical Nonparametric Statistics*, 1999, section 3.1).

    1 without any try. Raises ValueError for more hits than tries.
    """
    if not 0 <= hits <= tries:
        raise ValueError(f"{hits} of {tries} is not a share.")
    if probability in (0, 1):
        return float(hits == tries * probability)
    weights = [_binomial_weight(count, tries, probability) for count in range(tries + 1)]
    most = weights[hits] * (1 + 1e-7)  # a weight as large as this one may be rounded up
    return min(1.0, math.fsum(weight for weight in weights if weight <= most))


def _binomial_weight(count: int, tries: int, probability: float) -> float:
    ways = math.lgamma(tries + 1) - math.lgamma(count + 1) - math.lgamma(tries - count + 1)
    return math.exp(
        ways + count * math.log(probability) + (tries - count) * math.log1p(-probability)
    )


MANY_HITS = 10
"""Of so many hits, one is in the first half of the fault's time."""


def _wrong_delays(
    fault: Fault, moments: Moments | None, evidence: Mapping[str, Any]
) -> Iterator[str]:
    if not isinstance(fault, LatencyFault) or not evidence.get("acted"):
        return
    shortest, mean = evidence.get("delayed_ms_min"), evidence.get("delayed_ms_mean")
    if shortest is None or mean is None:
        half_ms = 500 * (moments.declared_until_s - moments.declared_from_s) if moments else 0.0
        if evidence["acted"] >= MANY_HITS and fault.ms + fault.jitter_ms < half_ms:
            yield f"it hit {evidence['acted']}, and none of them waited for it to its end"
        return
    if shortest < fault.ms - fault.jitter_ms - TIMER_MS:
        yield f"it delayed by {shortest:g} ms at least, declared were {fault.ms:g} ms"
    wanted = _mean_delay_ms(fault)
    # The mean of uniform numbers: three standard errors.
    spread = 3 * fault.jitter_ms / math.sqrt(3 * evidence["acted"])
    if mean > wanted + spread + max(DELAY_OFF * wanted, DELAY_OFF_MS):
        yield f"it delayed by {mean:g} ms in the mean, declared were {fault.ms:g} ms"


def _mean_delay_ms(fault: LatencyFault) -> float:
    """The mean of a delay that varies evenly by `jitter_ms`, and is never negative."""
    if fault.jitter_ms <= fault.ms:
        return fault.ms
    return (fault.ms + fault.jitter_ms) ** 2 / (4 * fault.jitter_ms)
