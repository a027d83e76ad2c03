"""The world of a simulation: its arrays, its random numbers, and what happens next.

Compiled code (numba) passes one record as one pointer, so all arrays of a simulation are fields of
one record, with the size of the largest fleet. A page of memory is used only once something is
written there.

The random numbers are splitmix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number
Generators*, OOPSLA 2014). Moments of one time happen in the order in which they were planned. So a
seed gives the same run on every machine, bit for bit.

Times are seconds. Names of fields: `t_` a request in a process, `c_` a call, `e_` an edge from
caller to callee, `s_` a station, `k_` a consumer, `f_` a fault, `d_` an event on its way, `r_` a
request of the load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from platformdirs import user_cache_path

F = TypeVar("F", bound=Callable[..., Any])

NUMBA = import_module("numba")


def _cache_folder() -> str:
    """Where compiled code is kept: a folder for these very sources, because numba looks only at the
    file of a function, and not at those of the functions that it calls."""
    sources = [Path(__file__).with_name(f"{name}.py") for name in ("world", "bus", "engine")]
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return str(user_cache_path("sync-async-lab", appauthor=False) / f"engine-{digest[:12]}")


if not NUMBA.config.CACHE_DIR:
    NUMBA.config.CACHE_DIR = _cache_folder()


def compiled(function: F) -> F:
    """Compile a function on its first call, and keep the code in the user's cache folder. Where no
    folder can be written, each process compiles it again."""
    result: F
    try:
        result = NUMBA.njit(cache=True)(function)
    except RuntimeError:
        result = NUMBA.njit(function)
    return result


def is_compiled() -> bool:
    """Whether the cache folder has the code of these sources, for this version of Python."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    kept = Path(NUMBA.config.CACHE_DIR).glob(f"*/engine.run_world-*.{version}*.nbi")
    return any(kept)


# ── What a network consists of

RUN, CALL, TELL, TELL_ONCE, COMMIT, READ, END = range(7)
"""Steps of a handler. RUN a: a distribution, b: 1 on the bench, 0 beside it. CALL a, b: from the
first of its targets to behind the last one, c: the policy. TELL a: a type of event. READ a: what a
feed reads at that moment, 0 posts, 1 comments."""

OK, TIMEOUT, REFUSED, RESET, NOT_ASKED, HTTP_502, HTTP_503, HTTP_504 = range(8)
"""Outcomes of a request; further numbers are other HTTP statuses."""

DOWN, HANG, LATENCY, ERROR, UNANSWERED, RESET_PEER = range(6)
ANYONE, CLIENT, BUS_CALLER = -1, -2, -3
NOTHING, VISIBLE, TELLS = range(3)
"""What a consumer does with an event: nothing, show the write, or publish type + TELLS."""
QUESTION, REPLY = -1, -2
"""Types of events that carry a call; a reply with outcome n has the type REPLY - n."""


POLICY = (
    *("timeout_s", "retries", "wait_s", "jitter_s", "budget", "breaker", "permits"),
    *("hedge_s", "fallback", "deadline", "only_unknown", "by_events"),
)
(P_TIMEOUT, P_RETRIES, P_WAIT, P_JITTER, P_BUDGET, P_BREAKER, P_PERMITS) = range(7)
(P_HEDGE, P_FALLBACK, P_DEADLINE, P_UNKNOWN, P_EVENTS) = range(7, 12)
FAULT = (
    *("station", "kind", "from_s", "until_s", "probability", "ms", "jitter", "first"),
    *("caller", "status", "per_event"),
)
(F_STATION, F_KIND, F_FROM, F_UNTIL, F_SHARE, F_DELAY, F_JITTER, F_FIRST) = range(8)
(F_CALLER, F_STATUS, F_PER_EVENT) = range(8, 11)

BREAKER_FAILURES, BREAKER_OPEN_S = 5, 1.0
BUDGET_CAPACITY = 10_000
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_WAIT_S = 0.02, 0.5, 1.0
PUBLISH_BATCH, DELIVERY_BATCH = 500, 2_000
PROBE_FIRST_S, PROBE_LAST_S, OBSERVE_EVERY_S = 0.001, 0.05, 0.1
TICK_S = 0.1
FOREVER_S = 1e9
"""A timeout of this length is none."""

# Kinds of moments in the heap
(ARRIVE, STEP, BENCH, RESPOND, GIVE_UP, HEDGE, RETRY, FAULT_ON, FAULT_OFF) = range(9)
(PUBLISHED, CONSUME, APPLIED, TICK, PROBE, BACK, SEND) = range(9, 16)

_KIND_BITS, _ID_BITS, _GEN_BITS, _CODE_BITS = 4, 26, 24, 9
_ID_MASK, _GEN_MASK, _CODE_MASK = (1 << 26) - 1, (1 << 24) - 1, (1 << 9) - 1
DEGRADED_BIT = 256
MOST_AT_ONCE = 1 << 25

COUNTS = (
    *("asked", "attempts", "timed_out", "retried", "budget_denied", "broken", "opened"),
    *("bulkhead_refused", "hedged", "hedge_won", "fell_back", "given_up"),
)
"""What callers count, as the services of the lab do (`lab/service/counters.py`)."""

# ── The world: everything that a simulation reads and changes

MOST_REQUESTS, MOST_CALLS = 1 << 24, 1 << 22
MOST_MOMENTS, MOST_TIMERS, MOST_EVENTS = 1 << 22, 1 << 23, 1 << 22
MOST_STATIONS, MOST_EDGES, MOST_STEPS = 1 << 14, 1 << 18, 1 << 18
MOST_ROLES, MOST_PROBES, MOST_TICKS = 16, 1 << 16, 1 << 12
MOST_POLICIES, MOST_FAULTS = 16, 1 << 14


def _fields(kind: str, count: int, names: str, *more: int) -> list[tuple[Any, ...]]:
    return [(name, kind, (count, *more)) for name in names.split()]


def _scalars(*names: str) -> list[tuple[str, str]]:
    return [(name, "i8") for name in " ".join(names).split()]


WORLD = np.dtype(
    [
        # The network, which does not change
        *_fields("f8", 1 << 18, "values"),  # quantiles of all distributions, in seconds
        *_fields("i8", 1 << 12, "dist_at dist_n"),  # n = 0: exponential, with the mean at `at`
        *_fields("i8", MOST_STATIONS, "workers cores role relay_bus bus_station publish"),
        *_fields("i4", MOST_STEPS, "op", 4),
        *_fields("i4", MOST_STEPS, "first_op"),  # of each handler
        *_fields("i4", MOST_EDGES, "tgt", 4),  # station, handler, edge, distribution of both ways
        *_fields("f8", MOST_EDGES, "tgt_share"),  # of the calls of a step that go to this target
        *_fields("i4", MOST_EDGES, "group"),  # of each target: its shard
        *_fields("f8", MOST_POLICIES, "policy", 12),
        *_fields("i8", 8, "entry", 2),  # by kind of request: its part of `entry_tgt`
        *_fields("i4", MOST_STATIONS, "entry_tgt"),
        *_fields("i4", MOST_STATIONS, "sub_at", 2),  # by type of event: its part of `sub`
        *_fields("i4", MOST_STATIONS, "sub", 3),  # consumer, effect, distribution
        *_fields("i4", MOST_STATIONS, "consumer", 6),
        *_fields("f8", MOST_FAULTS, "fault", 11),
        *_scalars("faults consumers probed restart reconnect users requests"),
        ("load_end", "f8"),
        # Counters, and the first free place of each pool
        *_scalars("heap seq free_task free_call free_event free_timer"),
        *_scalars("used_tasks used_calls used_events used_timers ready_at ready_end full"),
        *_scalars(
            "hops moments told applies ticks lost_events probes probing probe_again probe_gen"
        ),
        *_scalars("n_waiting", *(f"n_{name}" for name in COUNTS)),
        *[("rng", "u8"), ("probe_pause", "f8"), ("observed", "f8"), ("frozen_until", "f8")],
        *[("salt", "u8"), ("together", "f8")],
        # Moments
        *_fields("f8", MOST_MOMENTS, "h_time"),
        *_fields("i8", MOST_MOMENTS, "h_seq h_data"),
        *_fields("f8", MOST_TIMERS, "timer_time"),
        *_fields("i8", MOST_TIMERS, "timer_data"),
        *_fields("i4", MOST_TIMERS, "timer_next"),
        *_fields("i8", 2 * MOST_POLICIES, "timer_head timer_tail"),
        *_fields("i4", MOST_CALLS, "ready"),
        # Requests in a process
        *_fields("i4", MOST_CALLS, "t_station t_op t_call t_cgen t_gen t_waits t_failed"),
        *_fields("i4", MOST_CALLS, "t_sample t_next"),
        *_fields("f8", MOST_CALLS, "t_deadline t_delay"),
        *_fields("i1", MOST_CALLS, "t_begun"),
        # Calls
        *_fields("i4", MOST_CALLS, "c_parent c_pgen c_tgt c_policy c_sample c_gen c_born c_left"),
        *_fields("i4", MOST_CALLS, "c_sibling c_held_by"),
        *_fields("i1", MOST_CALLS, "c_state c_hedge"),
        *_fields("f8", MOST_CALLS, "c_half c_deadline"),
        # Edges, stations, outboxes, events, consumers, faults
        *_fields("i4", MOST_EDGES, "e_used e_failures e_trial"),
        *_fields("f8", MOST_EDGES, "e_open_until"),
        *_fields("i4", MOST_STATIONS, "s_busy s_head s_tail s_bench s_bhead s_btail s_tokens"),
        *_fields("i4", MOST_STATIONS, "s_doors out_head out_tail out_n out_taken"),
        *_fields("f8", MOST_STATIONS, "s_frozen s_down out_pause"),
        *_fields("i4", MOST_EVENTS, "d_type d_sample d_pos d_next"),
        *_fields("i4", MOST_STATIONS, "k_head k_tail k_n k_batch k_busy k_gen k_applied bus_head"),
        *_fields("f8", MOST_STATIONS, "k_pause"),
        *_fields("i4", MOST_FAULTS, "f_active f_hits"),
        # Results
        *_fields("f8", MOST_REQUESTS, "r_due r_latency r_begun r_shown r_seen"),
        *_fields("i4", MOST_REQUESTS, "r_group"),
        *_fields("i2", MOST_REQUESTS, "r_error"),
        *_fields("i1", MOST_REQUESTS, "r_kind r_retried"),
        # Feeds of the load, and behind them those of the probe
        *_fields("f8", MOST_REQUESTS + MOST_PROBES, "r_read", 2),
        *_fields("i1", MOST_REQUESTS + MOST_PROBES, "r_degraded"),
        *_fields("i4", MOST_PROBES, "waiting"),
        *_fields("i4", MOST_TICKS, "lag", MOST_ROLES, 2),
        *_fields("i4", MOST_TICKS, "heads"),
    ],
    align=True,
)
"""One record, because compiled code passes a record as one pointer. Its arrays have the size of the
largest fleet; a page of memory is used only once something is written there."""

EMPTY = (
    *("free_task", "free_call", "free_event", "free_timer", "timer_head", "s_head", "s_bhead"),
    *("out_head", "k_head"),
)


def new_world(seed: int) -> Any:
    """An empty world. All memory is zero, and unused."""
    world = np.zeros(1, WORLD)[0]
    world["rng"] = world["salt"] = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for name in EMPTY:
        world[name] = -1
    return world


# ── Random numbers


@compiled
def uniform(w: Any) -> float:
    """A number from 0 to 1, without 1: 53 bits of splitmix64."""
    w.rng += np.uint64(0x9E3779B97F4A7C15)
    return mixed(w.rng)


@compiled
def mixed(z: Any) -> float:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def draw(w: Any, dist: int) -> float:
    """A time in seconds from a distribution: quantiles joined by straight lines."""
    if w.dist_n[dist] == 1:
        return float(w.values[w.dist_at[dist]])
    return quantile(w, dist, uniform(w))


@compiled
def draw_with(w: Any, dist: int, sample: int) -> float:
    """A time of a request. With the probability `together` it has the rank of the whole request:
    on one machine, what slows one part of a request slows its others."""
    if w.together > 0.0 and uniform(w) < w.together:
        rank = mixed(w.salt + np.uint64(sample + 1) * np.uint64(0x9E3779B97F4A7C15))
        return quantile(w, dist, rank)
    return draw(w, dist)


@compiled
def quantile(w: Any, dist: int, probability: float) -> float:
    at, count = w.dist_at[dist], w.dist_n[dist]
    if count == 1:
        return float(w.values[at])
    if count == 0:
        return float(-w.values[at] * np.log(1.0 - probability))
    place = probability * (count - 1)
    low = int(place)
    first = w.values[at + low]
    return float(first + (w.values[at + low + 1] - first) * (place - low))


# ── The heap, and queues of timers


@compiled
def moment(kind: int, number: int, gen: int = 0, code: int = 0) -> int:
    """What happens, to what, in one number."""
    return kind | (number << 4) | ((gen & 0xFFFFFF) << 30) | (code << 54)


@compiled
def push(w: Any, time: float, data: int) -> None:
    size = w.heap
    if size >= MOST_MOMENTS:
        w.full = 1
        return
    w.seq += 1
    seq = w.seq
    while size > 0:
        above = (size - 1) >> 2
        if w.h_time[above] <= time:
            break
        w.h_time[size], w.h_seq[size], w.h_data[size] = (
            w.h_time[above],
            w.h_seq[above],
            w.h_data[above],
        )
        size = above
    w.h_time[size], w.h_seq[size], w.h_data[size] = time, seq, data
    w.heap += 1


@compiled
def pop(w: Any) -> int:
    """Take the earliest moment out of the heap; of one time, the one that was put in first."""
    data = w.h_data[0]
    w.heap -= 1
    size = w.heap
    time, seq, last = w.h_time[size], w.h_seq[size], w.h_data[size]
    place = 0
    while True:
        child = 4 * place + 1
        if child >= size:
            break
        best = child
        for other in range(child + 1, min(child + 4, size)):
            if w.h_time[other] < w.h_time[best] or (
                w.h_time[other] == w.h_time[best] and w.h_seq[other] < w.h_seq[best]
            ):
                best = other
        if time < w.h_time[best] or (time == w.h_time[best] and seq < w.h_seq[best]):
            break
        w.h_time[place], w.h_seq[place], w.h_data[place] = (
            w.h_time[best],
            w.h_seq[best],
            w.h_data[best],
        )
        place = best
    w.h_time[place], w.h_seq[place], w.h_data[place] = time, seq, last
    return int(data)


@compiled
def set_timer(w: Any, queue: int, time: float, data: int) -> None:
    """Add to a queue whose timers all have one length, so that the first one is the earliest."""
    one = w.free_timer
    if one >= 0:
        w.free_timer = w.timer_next[one]
    else:
        one = w.used_timers
        if one >= MOST_TIMERS:
            w.full = 1
            return
        w.used_timers += 1
    w.timer_time[one], w.timer_data[one], w.timer_next[one] = time, data, -1
    if w.timer_head[queue] < 0:
        w.timer_head[queue] = one
    else:
        w.timer_next[w.timer_tail[queue]] = one
    w.timer_tail[queue] = one


@compiled
def drop_timer(w: Any, queue: int) -> int:
    one = w.timer_head[queue]
    w.timer_head[queue] = w.timer_next[one]
    w.timer_next[one] = w.free_timer
    w.free_timer = one
    return int(w.timer_data[one])
