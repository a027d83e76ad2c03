"""Oracles: what theory predicts, as small pure functions with their sources.

A scenario calls them in `[[predict]]`, with figures of the run or plain numbers as arguments:
`predicted = "drain_seconds(5, 40, 100)"`. Shares are from 0 to 1, rates are per second; the name of
a function gives the unit of its result, if it has one. Arguments for which theory has no answer (a
queue with more arrivals than it can serve) raise ValueError, and the prediction then says so.
"""

import math
from collections.abc import Callable


def chain_ms(*calls_ms: float) -> float:
    """Calls one after another take as long as the sum of them: Σ dᵢ.

    The mean of a sum is the sum of the means, even if the calls depend on each other. For medians
    and percentiles this is true only where one term dominates.
    """
    return math.fsum(calls_ms)


def fan_out_ms(*calls_ms: float) -> float:
    """Calls side by side take as long as the slowest of them: max dᵢ."""
    return max(calls_ms)


def all_up(availability: float, parts: float) -> float:
    """The share of time in which all of `parts` independent parts are up: aⁿ.

    Treynor, Dahlin, Rau, Beyer: The Calculus of Service Availability, ACM Queue 15(2), 2017.
    """
    return math.pow(_share(availability), parts)


def any_slow(share_slow: float, parts: float) -> float:
    """The share of requests that meet a slow part when each needs `parts` of them: 1 − (1 − p)ⁿ.

    Dean, Barroso: The Tail at Scale, CACM 56(2), 2013: 1 % slow, 100 wide, 63 %.
    """
    return 1 - math.pow(1 - _share(share_slow), parts)


def worker_limit(workers: float, held_seconds: float) -> float:
    """The most requests a second that `workers` can serve when each request holds one for
    `held_seconds`: W / D.

    Little's law, L = λ·W, with every worker busy. Little: Operations Research 9(3), 1961.
    """
    if held_seconds <= 0:
        raise ValueError("A worker that is held for no time sets no limit.")
    return workers / held_seconds


def erlang_b(places: float, offered: float) -> float:
    """The share of requests that find all places taken, without a queue: Erlang's B formula,
    B₀ = 1 and Bₖ = a·Bₖ₋₁ / (k + a·Bₖ₋₁).

    `offered`: the offered load a = λ·D, arrivals a second times the seconds that each holds a place
    (erlang). Arrivals are a Poisson process; the formula holds for holding times of any
    distribution. Erlang: Solution of some Problems in the Theory of Probabilities of Significance
    in Automatic Telephone Exchanges, 1917; Kleinrock, Queueing Systems I, 1975, section 3.6.
    """
    if places != int(places) or places < 0 or offered < 0:
        raise ValueError("Places are a whole number, and the offered load is not negative.")
    blocked = 1.0
    for place in range(1, int(places) + 1):
        blocked = offered * blocked / (place + offered * blocked)
    return blocked


def attempts_in_all(attempts: float, layers: float) -> float:
    """How many attempts reach the last layer when each layer makes `attempts`: aᴸ.

    Beyer et al. (eds.): Site Reliability Engineering, O'Reilly 2016, chapter 22.
    """
    return math.pow(attempts, layers)


def expected_attempts(share_failing: float, most: float) -> float:
    """The mean number of attempts when each fails with probability p and there are at most k:
    1 + p + … + pᵏ⁻¹ = (1 − pᵏ) / (1 − p), the mean of a truncated geometric distribution."""
    p = _share(share_failing)
    return most if p == 1 else (1 - math.pow(p, most)) / (1 - p)


def fails_every_time(share_failing: float, attempts: float) -> float:
    """The share of requests whose attempts all fail, if attempts fail independently: pᵏ."""
    return math.pow(_share(share_failing), attempts)


def backlog(arriving: float, served: float, seconds: float) -> float:
    """The backlog after `seconds` in which more arrives than is served: (λ − μ)·T, at least 0.

    The fluid approximation of a queue: Kleinrock, Queueing Systems II, 1976, chapter 2.
    """
    return max(0.0, (arriving - served) * seconds)


def drain_seconds(outage_seconds: float, arriving: float, served: float) -> float:
    """How long the backlog of an outage takes to drain: T·λ / (μ − λ).

    At the end of the outage λ·T are waiting, and this number falls by μ − λ a second (fluid
    approximation, as in `backlog`).
    """
    if served <= arriving:
        raise ValueError("What is served is no more than what arrives: the backlog never drains.")
    return outage_seconds * arriving / (served - arriving)


def stale_share(writes: float, stale_seconds: float) -> float:
    """The share of reads that miss a write when each write stays invisible for `stale_seconds`:
    1 − e^(−λ·L).

    Writes are a Poisson process, and reads are independent of them. Bailis et al.:
    Probabilistically Bounded Staleness for Practical Partial Quorums, PVLDB 5(8), 2012.
    """
    return 1 - math.exp(-writes * stale_seconds)


def freeze_quantile_ms(freeze_ms: float, window_ms: float, quantile: float) -> float:
    """A quantile of the latency of arrivals spread evenly over a window with one freeze in it.

    A request that arrives t before the end of the freeze waits t. The quantile is therefore
    F − (1 − q)·T, at least 0. A closed loop does not measure these waits: Tene, How NOT to Measure
    Latency, 2013.
    """
    return max(0.0, freeze_ms - (1 - _share(quantile)) * window_ms)


def direct_edges(services: float) -> float:
    """The most direct dependencies among n services that may all call each other: n·(n − 1)."""
    return services * (services - 1)


def bus_edges(services: float) -> float:
    """The connections among n services that all publish and consume on one bus: n."""
    return services


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value:g} is no share: it lies outside 0 to 1.")
    return value


ORACLES: dict[str, Callable[..., float]] = {
    oracle.__name__: oracle
    for oracle in (
        chain_ms,
        fan_out_ms,
        all_up,
        any_slow,
        worker_limit,
        erlang_b,
        attempts_in_all,
        expected_attempts,
        fails_every_time,
        backlog,
        drain_seconds,
        stale_share,
        freeze_quantile_ms,
        direct_edges,
        bus_edges,
    )
}
"""The oracles, by the name that a scenario uses."""
