"""The engine: discrete events for services whose workers are held while they wait.

A *station* is one process: `workers` that each hold one request from its begin to its answer, and a
*bench* of `cores` on which handlers compute. A handler is a short list of steps: compute, call
others and wait, commit, publish. Callers have the lab's own policies (timeout, retries, budget,
breaker, bulkhead, hedge, fallback, deadline); consumers take events from the bus in batches.

The loop is compiled (numba). It draws from its own generator (splitmix64: Steele, Lea, Flood: *Fast
Splittable Pseudorandom Number Generators*, OOPSLA 2014) and orders events of one moment by their
number, so a seed gives the same run on every machine, bit for bit. Timeouts of one length wait in a
queue instead of the heap: most of them never happen.

All times are seconds. Names of arrays: `t_` a request in a process, `c_` a call, `e_` an edge from
caller to callee, `s_` a station, `k_` a consumer, `f_` a fault, `d_` an event on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
from platformdirs import user_cache_path

F = TypeVar("F", bound=Callable[..., Any])

NUMBA = import_module("numba")
if not NUMBA.config.CACHE_DIR:
    NUMBA.config.CACHE_DIR = str(user_cache_path("sync-async-lab", appauthor=False) / "numba")


def compiled(function: F) -> F:
    """Compile a function on its first call, and keep the code in the user's cache folder."""
    result: F = NUMBA.njit(cache=True)(function)
    return result


# ── What a network consists of

RUN, CALL, TELL, TELL_ONCE, COMMIT, END = range(6)
"""Steps of a handler. RUN a: a distribution, b: 1 on the bench, 0 beside it. CALL a, b: from the
first of its targets to behind the last one, c: the policy. TELL a: a type of event."""

OK, TIMEOUT, REFUSED, RESET, NOT_ASKED, HTTP_502, HTTP_503, HTTP_504 = range(8)
"""Outcomes of a request; further numbers are other HTTP statuses."""

DOWN, HANG, LATENCY, ERROR, UNANSWERED, RESET_PEER = range(6)
ANYONE, CLIENT, BUS_CALLER = -1, -2, -3
NOTHING, VISIBLE, TELLS = range(3)
"""What a consumer does with an event: nothing, show the write, or publish type + TELLS."""


POLICY = (
    *("timeout_s", "retries", "wait_s", "jitter_s", "budget", "breaker", "permits"),
    *("hedge_s", "fallback", "deadline", "only_unknown"),
)
(P_TIMEOUT, P_RETRIES, P_WAIT, P_JITTER, P_BUDGET, P_BREAKER, P_PERMITS) = range(7)
(P_HEDGE, P_FALLBACK, P_DEADLINE, P_UNKNOWN) = range(7, 11)
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
PROBE_FIRST_S, PROBE_LAST_S = 0.001, 0.05
TICK_S = 0.1

# Kinds of moments in the heap
(ARRIVE, STEP, BENCH, RESPOND, GIVE_UP, HEDGE, RETRY, FAULT_ON, FAULT_OFF) = range(9)
(PUBLISHED, CONSUME, APPLIED, TICK, PROBE, BACK) = range(9, 15)

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
        *_fields("f8", MOST_POLICIES, "policy", 11),
        *_fields("i8", 8, "entry", 2),  # by kind of request: its part of `entry_tgt`
        *_fields("i4", MOST_STATIONS, "entry_tgt"),
        *_fields("i4", MOST_STATIONS, "sub_at", 2),  # by type of event: its part of `sub`
        *_fields("i4", MOST_STATIONS, "sub", 3),  # consumer, effect, distribution
        *_fields("i4", MOST_STATIONS, "consumer", 6),
        *_fields("f8", MOST_FAULTS, "fault", 11),
        *_scalars("faults consumers probed restart reconnect"),
        # Counters, and the first free place of each pool
        *_scalars("heap seq free_task free_call free_event free_timer"),
        *_scalars("used_tasks used_calls used_events used_timers ready_at ready_end full"),
        *_scalars("hops moments told applies ticks lost_events probes probing probe_again"),
        *_scalars("n_waiting", *(f"n_{name}" for name in COUNTS)),
        *[("rng", "u8"), ("probe_pause", "f8")],
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
        *_fields("f8", MOST_REQUESTS, "r_latency r_begun r_shown"),
        *_fields("i4", MOST_REQUESTS, "r_group"),
        *_fields("i2", MOST_REQUESTS, "r_error"),
        *_fields("i1", MOST_REQUESTS, "r_degraded r_retried"),
        *_fields("f8", MOST_PROBES, "probe_begun probe_end"),
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
    world["rng"] = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for name in EMPTY:
        world[name] = -1
    return world


# ── Random numbers


@compiled
def uniform(w: Any) -> float:
    """A number from 0 to 1, without 1: 53 bits of splitmix64."""
    w.rng += np.uint64(0x9E3779B97F4A7C15)
    z = w.rng
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def draw(w: Any, dist: int) -> float:
    """A time in seconds from a distribution: quantiles joined by straight lines."""
    at, count = w.dist_at[dist], w.dist_n[dist]
    if count == 1:
        return float(w.values[at])
    if count == 0:
        return float(-w.values[at] * np.log(1.0 - uniform(w)))
    place = uniform(w) * (count - 1)
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


# ── Calls


@compiled
def new_call(w: Any, parent: int, tgt: int, policy: int, sample: int) -> int:
    call = w.free_call
    if call >= 0:
        w.free_call = w.c_left[call]
    else:
        call = w.used_calls
        if call >= MOST_CALLS:
            w.full = 1
            return -1
        w.used_calls += 1
    w.c_parent[call] = parent
    w.c_pgen[call] = w.t_gen[parent] if parent >= 0 else 0
    w.c_tgt[call], w.c_policy[call], w.c_sample[call] = tgt, policy, sample
    w.c_gen[call] += 1
    w.c_born[call] = w.c_gen[call]
    w.c_left[call] = int(w.policy[policy, P_RETRIES])
    w.c_state[call] = w.c_hedge[call] = 0
    w.c_sibling[call] = -1
    w.c_held_by[call] = -1
    w.c_deadline[call] = np.inf
    return int(call)


@compiled
def start_call(
    w: Any, now: float, parent: int, tgt: int, policy: int, sample: int, delay: float
) -> int:
    """Begin a call with all its layers; `delay`: until the request leaves the caller."""
    call = new_call(w, parent, tgt, policy, sample)
    if call < 0:
        return -1
    if parent >= 0:
        w.n_asked += 1
        if w.policy[policy, P_BUDGET] >= 0:
            station = w.t_station[parent]
            w.s_tokens[station] = min(
                BUDGET_CAPACITY, w.s_tokens[station] + int(w.policy[policy, P_BUDGET])
            )
    attempt(w, now, call, delay)
    hedge_s = w.policy[policy, P_HEDGE]
    if hedge_s > 0:
        set_timer(w, 2 * policy + 1, now + hedge_s, moment(HEDGE, call, w.c_born[call]))
    return call


@compiled
def attempt(w: Any, now: float, call: int, delay: float) -> None:
    """Send the request once, if breaker and bulkhead let it pass."""
    tgt, policy = w.c_tgt[call], w.c_policy[call]
    edge = w.tgt[tgt, 2]
    w.c_gen[call] += 1
    gen = w.c_gen[call]
    permits = w.policy[policy, P_PERMITS]
    w.c_state[call] = 0
    if permits > 0:
        if w.e_used[edge] >= permits:
            w.n_bulkhead_refused += 1
            push(w, now, moment(RESPOND, call, gen, NOT_ASKED))
            return
        w.e_used[edge] += 1
        w.c_state[call] |= 1
    if w.policy[policy, P_BREAKER] > 0 and w.e_open_until[edge] > 0:
        if now < w.e_open_until[edge] or w.e_trial[edge]:
            w.n_broken += 1
            push(w, now, moment(RESPOND, call, gen, NOT_ASKED))
            return
        w.e_trial[edge] = 1
        w.c_state[call] |= 2
    w.c_state[call] |= 4
    half = draw(w, w.tgt[tgt, 3]) / 2
    w.c_half[call] = half
    timeout_s = w.policy[policy, P_TIMEOUT]
    parent = w.c_parent[call]
    if parent >= 0:
        w.n_attempts += 1
    if w.policy[policy, P_DEADLINE] > 0:
        if parent >= 0:
            timeout_s = max(0.001, min(timeout_s, w.t_deadline[parent] - now))
        w.c_deadline[call] = now + timeout_s
    if w.policy[policy, P_DEADLINE] > 0 and parent >= 0:
        push(w, now + timeout_s, moment(GIVE_UP, call, gen))
    else:
        set_timer(w, 2 * policy, now + timeout_s, moment(GIVE_UP, call, gen))
    push(w, now + delay + half, moment(ARRIVE, call, gen))


@compiled
def settle(w: Any, now: float, call: int, code: int) -> None:
    """The outcome of one attempt: try again, or pass it on."""
    policy, tgt, state = w.c_policy[call], w.c_tgt[call], w.c_state[call]
    edge, parent = w.tgt[tgt, 2], w.c_parent[call]
    w.c_gen[call] += 1
    if state & 1:
        w.e_used[edge] -= 1
    if w.policy[policy, P_BREAKER] > 0 and state & 4:
        if state & 2:
            w.e_trial[edge] = 0
        if code == OK:
            w.e_failures[edge] = 0
            w.e_open_until[edge] = 0.0
        else:
            w.e_failures[edge] += 1
            if state & 2 or w.e_failures[edge] >= BREAKER_FAILURES:
                if not state & 2 and w.e_open_until[edge] == 0.0:
                    w.n_opened += 1
                w.e_open_until[edge] = now + BREAKER_OPEN_S
    w.c_state[call] = 0
    if code == TIMEOUT and parent >= 0:
        w.n_timed_out += 1
    alive = parent < 0 or w.t_gen[parent] == w.c_pgen[call]
    if code != OK and code != NOT_ASKED and w.c_left[call] > 0 and alive and parent > -3:
        may = w.policy[policy, P_UNKNOWN] == 0 or code in (TIMEOUT, RESET)
        if w.policy[policy, P_DEADLINE] > 0 and parent >= 0 and now >= w.t_deadline[parent]:
            may = False
        if may and w.policy[policy, P_BUDGET] >= 0 and parent >= 0:
            station = w.t_station[parent]
            if w.s_tokens[station] < 1_000:
                w.n_budget_denied += 1
                may = False
            else:
                w.s_tokens[station] -= 1_000
        if may:
            tried = int(w.policy[policy, P_RETRIES]) - w.c_left[call]
            w.c_left[call] -= 1
            if parent >= 0:
                w.n_retried += 1
            else:
                w.r_retried[w.c_sample[call]] += 1
            wait_s = w.policy[policy, P_WAIT] * (1 << min(tried, 20))
            wait_s += w.policy[policy, P_JITTER] * uniform(w)
            push(w, now + min(wait_s, LONGEST_WAIT_S), moment(RETRY, call, w.c_gen[call]))
            return
    finish(w, now, call, code)


@compiled
def finish(w: Any, now: float, call: int, code: int) -> None:
    """The outcome of a whole call: hedge and fallback, then its parent."""
    parent, policy, sample = w.c_parent[call], w.c_policy[call], w.c_sample[call]
    sibling = w.c_sibling[call]
    pgen = w.c_pgen[call]
    w.c_gen[call] += 1
    w.c_born[call] = w.c_gen[call]
    w.c_left[call] = w.free_call
    w.free_call = call
    if parent == -3:
        return
    if sibling >= 0:
        w.c_sibling[sibling] = -1
        if code != OK:
            return
        w.c_parent[sibling] = -3
        w.n_hedge_won += w.c_hedge[call]
    if code != OK and w.policy[policy, P_FALLBACK] > 0 and parent >= 0:
        w.n_fell_back += 1
        code = OK
        w.r_degraded[sample] = 1
    if parent >= 0:
        if w.t_gen[parent] != pgen:
            return
        w.t_waits[parent] -= 1
        if code != OK and w.t_failed[parent] == OK:
            w.t_failed[parent] = as_seen_above(code)
        if w.t_waits[parent] == 0:
            make_ready(w, parent)
        return
    end_request(w, now, sample, code)


@compiled
def as_seen_above(code: int) -> int:
    """The status with which a service answers when its callee failed."""
    if code in (REFUSED, NOT_ASKED):
        return HTTP_503
    return HTTP_504 if code == TIMEOUT else HTTP_502


@compiled
def make_ready(w: Any, task: int) -> None:
    end = w.ready_end
    w.ready[end] = task
    w.ready_end = (end + 1) % MOST_CALLS


# ── Requests in a process


@compiled
def end_task(w: Any, now: float, task: int, code: int) -> None:
    """Answer, give the worker back, and let the next request have it."""
    station, call = w.t_station[task], w.t_call[task]
    if w.c_gen[call] == w.t_cgen[task]:
        push(w, now + w.c_half[call], moment(RESPOND, call, w.t_cgen[task], code))
    free_task(w, task)
    following = w.s_head[station]
    if following >= 0:
        w.s_head[station] = w.t_next[following]
        make_ready(w, following)
    else:
        w.s_busy[station] -= 1


@compiled
def free_task(w: Any, task: int) -> None:
    w.t_gen[task] += 1
    w.t_station[task] = -1
    w.t_next[task] = w.free_task
    w.free_task = task


@compiled
def advance(w: Any, now: float, task: int) -> None:
    """Take the steps of a handler until one has to wait."""
    station, sample = w.t_station[task], w.t_sample[task]
    if w.t_failed[task] != OK:
        end_task(w, now, task, w.t_failed[task])
        return
    if now > w.t_deadline[task] and not w.t_begun[task]:
        w.n_given_up += 1
        end_task(w, now, task, HTTP_504)
        return
    if w.t_delay[task] > 0:
        delay_s = w.t_delay[task]
        w.t_delay[task] = 0.0
        push(w, now + delay_s, moment(STEP, task, w.t_gen[task]))
        return
    w.t_begun[task] = 1
    while True:
        step = w.t_op[task]
        w.t_op[task] += 1
        code, a, b = w.op[step, 0], w.op[step, 1], w.op[step, 2]
        if code == RUN:
            if b == 0:
                push(w, now + draw(w, a), moment(STEP, task, w.t_gen[task]))
            elif w.s_bench[station] < w.cores[station]:
                w.s_bench[station] += 1
                push(w, now + draw(w, a), moment(BENCH, task, w.t_gen[task]))
            else:
                w.t_next[task] = -1
                if w.s_bhead[station] < 0:
                    w.s_bhead[station] = task
                else:
                    w.t_next[w.s_btail[station]] = task
                w.s_btail[station] = task
            return
        if code == CALL:
            policy, delay_s = w.op[step, 3], 0.0
            for tgt in range(a, b):
                if w.tgt_share[tgt] >= 1.0 or uniform(w) < w.tgt_share[tgt]:
                    call = start_call(w, now, task, tgt, policy, sample, delay_s)
                    if call < 0:
                        return
                    w.t_waits[task] += 1
                    if b - a > 1 and w.cores[station] == 1:
                        delay_s += w.c_half[call]
            if w.t_waits[task] > 0:
                return
        elif code == TELL:
            tell(w, now, station, a, sample)
        elif code == TELL_ONCE:
            bus = w.relay_bus[station]
            if w.s_down[w.bus_station[bus]] > now:
                w.lost_events += 1
            else:
                append(w, now, bus, a, sample)
        elif code == COMMIT:
            if w.r_shown[sample] == 0:
                w.r_shown[sample] = now
        else:
            end_task(w, now, task, OK)
            return


@compiled
def leave_bench(w: Any, now: float, station: int) -> None:
    """The next one computes; whoever is past its deadline by then does not."""
    while True:
        following = w.s_bhead[station]
        if following < 0:
            w.s_bench[station] -= 1
            return
        w.s_bhead[station] = w.t_next[following]
        if now <= w.t_deadline[following]:
            break
        w.n_given_up += 1
        end_task(w, now, following, HTTP_504)
    dist = w.op[w.t_op[following] - 1, 1]
    push(w, now + draw(w, dist), moment(BENCH, following, w.t_gen[following]))


@compiled
def hits(w: Any, fault: int) -> bool:
    first = w.fault[fault, F_FIRST]
    if first > 0 and w.f_hits[fault] >= first:
        return False
    share = w.fault[fault, F_SHARE]
    if share < 1.0 and uniform(w) >= share:
        return False
    w.f_hits[fault] += 1
    return True


@compiled
def arrive(w: Any, now: float, call: int) -> None:
    """A request reaches its station: the process, its fault filter, then a worker or the queue."""
    tgt = w.c_tgt[call]
    station, gen = w.tgt[tgt, 0], w.c_gen[call]
    if w.s_down[station] > now:
        push(w, now + w.c_half[call], moment(RESPOND, call, gen, REFUSED))
        return
    parent = w.c_parent[call]
    delay_s = 0.0
    if w.s_doors[station] > 0:
        caller = w.role[w.t_station[parent]] if parent >= 0 else CLIENT
        for fault in range(w.faults):
            if not w.f_active[fault] or w.fault[fault, F_STATION] != station:
                continue
            only = w.fault[fault, F_CALLER]
            kind = w.fault[fault, F_KIND]
            if kind < LATENCY or (only != ANYONE and only != caller) or not hits(w, fault):
                continue
            if kind == LATENCY:
                jitter = w.fault[fault, F_JITTER]
                spread = jitter * (2 * uniform(w) - 1) if jitter > 0 else 0.0
                delay_s += max(0.0, w.fault[fault, F_DELAY] + spread)
            elif kind == ERROR:
                code = int(w.fault[fault, F_STATUS])
                push(w, now + w.c_half[call], moment(RESPOND, call, gen, code))
                return
            elif kind == RESET_PEER:
                push(w, now + w.c_half[call], moment(RESPOND, call, gen, RESET))
                return
            else:
                w.c_held_by[call] = fault
                return
    task = w.free_task
    if task >= 0:
        w.free_task = w.t_next[task]
    else:
        task = w.used_tasks
        if task >= MOST_CALLS:
            w.full = 1
            return
        w.used_tasks += 1
    w.hops += 1
    w.t_station[task], w.t_op[task] = station, w.first_op[w.tgt[tgt, 1]]
    w.t_call[task], w.t_cgen[task] = call, gen
    w.t_waits[task], w.t_failed[task], w.t_sample[task] = 0, OK, w.c_sample[call]
    w.t_deadline[task], w.t_delay[task], w.t_begun[task] = w.c_deadline[call], delay_s, 0
    w.t_next[task] = -1
    if w.s_busy[station] < w.workers[station]:
        w.s_busy[station] += 1
        make_ready(w, task)
    else:
        if w.s_head[station] < 0:
            w.s_head[station] = task
        else:
            w.t_next[w.s_tail[station]] = task
        w.s_tail[station] = task


@compiled
def end_request(w: Any, now: float, sample: int, code: int) -> None:
    """The client has its answer, or has given up. `latency` holds the intended time until then."""
    if sample >= MOST_REQUESTS:
        end_probe(w, now, sample - MOST_REQUESTS, code)
        return
    w.r_latency[sample] = now - w.r_begun[sample]
    w.r_error[sample] = code + 1  # 0: no outcome yet
    if w.probed and code == OK and w.r_group[sample] < 0:
        w.waiting[w.n_waiting] = sample
        w.n_waiting += 1
        w.probe_pause = PROBE_FIRST_S
        if w.probing > 0:
            w.probe_again = 1
        else:
            w.probing = 1
            push(w, now, moment(PROBE, 0))


# ── The visibility probe


@compiled
def end_probe(w: Any, now: float, probe: int, code: int) -> None:
    """As `lab/load/visibility.py`: at once after a new write, else after 1 to 50 ms."""
    w.probe_end[probe] = now if code == OK else np.inf
    if code == OK:
        kept = 0
        for index in range(w.n_waiting):
            sample = w.waiting[index]
            if w.r_shown[sample] == 0 or w.r_shown[sample] > w.probe_begun[probe]:
                w.waiting[kept] = sample
                kept += 1
        w.n_waiting = kept
    w.probing = 0
    if w.n_waiting == 0:
        return
    w.probing = 1
    if w.probe_again:
        w.probe_again = 0
        push(w, now, moment(PROBE, 0))
    else:
        push(w, now + w.probe_pause, moment(PROBE, 0))
        w.probe_pause = min(2 * w.probe_pause, PROBE_LAST_S)


@compiled
def start_probe(w: Any, now: float) -> None:
    probe = w.probes
    if probe >= MOST_PROBES:
        return
    w.probes += 1
    w.probe_begun[probe], w.probe_end[probe] = now, np.inf
    tgt = w.entry_tgt[w.entry[0, 0]]
    start_call(w, now, -1, tgt, 0, MOST_REQUESTS + probe, 0.0)


# ── The bus


@compiled
def new_event(w: Any, kind: int, sample: int, pos: int) -> int:
    one = w.free_event
    if one >= 0:
        w.free_event = w.d_next[one]
    else:
        one = w.used_events
        if one >= MOST_EVENTS:
            w.full = 1
            return -1
        w.used_events += 1
    w.d_type[one], w.d_sample[one] = kind, sample
    w.d_pos[one], w.d_next[one] = pos, -1
    return int(one)


@compiled
def tell(w: Any, now: float, station: int, kind: int, sample: int) -> None:
    """Put an event into the outbox of a station, and wake its relay."""
    one = new_event(w, kind, sample, 0)
    if one < 0:
        return
    if w.out_head[station] < 0:
        w.out_head[station] = one
    else:
        w.d_next[w.out_tail[station]] = one
    w.out_tail[station] = one
    w.out_n[station] += 1
    if w.out_taken[station] == 0:
        relay(w, now, station)


@compiled
def relay(w: Any, now: float, station: int) -> None:
    """Begin to publish what waits in an outbox."""
    w.out_taken[station] = min(w.out_n[station], PUBLISH_BATCH)
    bus = w.relay_bus[station]
    at_bus, took_s, delay_s = w.bus_station[bus], draw(w, w.publish[bus]), 0.0
    if w.s_doors[at_bus] > 0:
        delay_s = door_delay(w, at_bus, ANYONE, 1)
    refused = 1 if delay_s < 0 else 0
    push(w, now + took_s + max(0.0, delay_s), moment(PUBLISHED, station, 0, refused))


@compiled
def door_delay(w: Any, station: int, caller: int, events: int) -> float:
    """Seconds that the fault filter delays a delivery. Negative: it does not pass; try again later,
    after that second of the run."""
    delay_s = 0.0
    for fault in range(w.faults):
        if not w.f_active[fault] or w.fault[fault, F_STATION] != station:
            continue
        kind, only = w.fault[fault, F_KIND], w.fault[fault, F_CALLER]
        if kind < LATENCY or (only != ANYONE and only != caller):
            continue
        for _ in range(events if w.fault[fault, F_PER_EVENT] else 1):
            if hits(w, fault):
                if kind == UNANSWERED:
                    return -float(w.fault[fault, F_UNTIL])
                if kind != LATENCY:
                    return -1e-9
                jitter = w.fault[fault, F_JITTER]
                spread = jitter * (2 * uniform(w) - 1) if jitter > 0 else 0.0
                delay_s += max(0.0, w.fault[fault, F_DELAY] + spread)
    return delay_s


@compiled
def published(w: Any, now: float, station: int, refused: int) -> None:
    """The bus has acknowledged what an outbox sent; or it has not, and the relay tries again."""
    if w.out_taken[station] == 0 or w.s_down[station] > now:
        w.out_taken[station] = 0
        return
    bus = w.relay_bus[station]
    at_bus = w.bus_station[bus]
    if refused or w.s_down[at_bus] > now:
        pause_s = max(FIRST_PAUSE_S, w.out_pause[station])
        w.out_pause[station] = min(2 * pause_s, LONGEST_PAUSE_S)
        w.out_taken[station] = 0
        push(w, now + pause_s, moment(BACK, station, 0, 1))
        return
    w.out_pause[station] = 0.0
    for _ in range(w.out_taken[station]):
        one = w.out_head[station]
        w.out_head[station] = w.d_next[one]
        w.out_n[station] -= 1
        append(w, now, bus, w.d_type[one], w.d_sample[one])
        w.d_next[one] = w.free_event
        w.free_event = one
    w.out_taken[station] = 0
    if w.out_n[station] > 0:
        relay(w, now, station)


@compiled
def append(w: Any, now: float, bus: int, kind: int, sample: int) -> None:
    """The event is in the log: every subscriber gets it."""
    w.bus_head[bus] += 1
    w.told += 1
    for sub in range(w.sub_at[kind, 0], w.sub_at[kind, 1]):
        consumer = w.sub[sub, 0]
        one = new_event(w, sub, sample, w.bus_head[bus])
        if one < 0:
            return
        if w.k_head[consumer] < 0:
            w.k_head[consumer] = one
        else:
            w.d_next[w.k_tail[consumer]] = one
        w.k_tail[consumer] = one
        w.k_n[consumer] += 1
        if not w.k_busy[consumer]:
            w.k_busy[consumer] = 1
            delivery_s = draw(w, w.consumer[consumer, 2])
            push(w, now + delivery_s, moment(CONSUME, consumer, w.k_gen[consumer]))


@compiled
def consume(w: Any, now: float, consumer: int) -> None:
    """Take the events that wait, and begin to apply them in one transaction."""
    station, bus = w.consumer[consumer, 0], w.consumer[consumer, 1]
    at_bus = w.bus_station[bus]
    if w.s_down[station] > now or w.s_down[at_bus] > now:
        w.k_busy[consumer] = 0  # `BACK` starts it again
        return
    if w.s_frozen[at_bus] > now:
        push(w, w.s_frozen[at_bus], moment(CONSUME, consumer, w.k_gen[consumer]))
        return
    count = min(w.k_n[consumer], 1 if w.consumer[consumer, 4] else DELIVERY_BATCH)
    took_s = 0.0
    if w.s_doors[station] > 0:
        took_s = door_delay(w, station, BUS_CALLER, count)
        if took_s < 0:
            pause_s = max(FIRST_PAUSE_S, w.k_pause[consumer])
            w.k_pause[consumer] = min(2 * pause_s, LONGEST_PAUSE_S)
            again_s = max(now, -took_s) + pause_s
            push(w, again_s, moment(CONSUME, consumer, w.k_gen[consumer]))
            return
    w.k_pause[consumer] = 0.0
    took_s += draw(w, w.consumer[consumer, 3])
    one = w.k_head[consumer]
    for _ in range(count):
        took_s += draw(w, w.sub[w.d_type[one], 2])
        one = w.d_next[one]
    w.k_batch[consumer] = count
    push(w, now + took_s, moment(APPLIED, consumer, w.k_gen[consumer]))


@compiled
def applied(w: Any, now: float, consumer: int) -> None:
    """A batch is committed: its writes are visible, and what it publishes is in the outbox."""
    station = w.consumer[consumer, 0]
    for _ in range(w.k_batch[consumer]):
        one = w.k_head[consumer]
        w.k_head[consumer] = w.d_next[one]
        w.k_n[consumer] -= 1
        w.applies += 1
        w.k_applied[consumer] += 1
        effect, sample = w.sub[w.d_type[one], 1], w.d_sample[one]
        w.d_next[one] = w.free_event
        w.free_event = one
        if effect == VISIBLE:
            if w.r_shown[sample] == 0:
                w.r_shown[sample] = now
        elif effect >= TELLS:
            tell(w, now, station, effect - TELLS, sample)
    w.k_batch[consumer] = 0
    if w.k_n[consumer] > 0:
        consume(w, now, consumer)
    else:
        w.k_busy[consumer] = 0


# ── Faults


@compiled
def fault_on(w: Any, now: float, fault: int) -> None:
    station, kind = int(w.fault[fault, F_STATION]), w.fault[fault, F_KIND]
    w.f_active[fault] = 1
    if kind == HANG:
        w.s_frozen[station] = max(w.s_frozen[station], w.fault[fault, F_UNTIL])
    elif kind == DOWN:
        back_s = w.fault[fault, F_UNTIL] + draw(w, w.restart)
        w.s_down[station] = max(w.s_down[station], back_s)
        push(w, back_s, moment(BACK, station))
        for task in range(w.used_tasks):
            if w.t_station[task] == station:
                call = w.t_call[task]
                if w.c_gen[call] == w.t_cgen[task]:
                    push(w, now + w.c_half[call], moment(RESPOND, call, w.t_cgen[task], RESET))
                free_task(w, task)
        w.s_busy[station], w.s_head[station] = 0, -1
        w.s_bench[station], w.s_bhead[station] = 0, -1
        w.out_taken[station] = 0
        for consumer in range(w.consumers):
            if w.consumer[consumer, 0] == station:
                w.k_gen[consumer] += 1
                w.k_batch[consumer] = 0
                w.k_busy[consumer] = 0
    else:
        w.s_doors[station] += 1


@compiled
def fault_off(w: Any, now: float, fault: int) -> None:
    station, kind = int(w.fault[fault, F_STATION]), w.fault[fault, F_KIND]
    w.f_active[fault] = 0
    if kind < LATENCY:
        return
    w.s_doors[station] -= 1
    if kind == UNANSWERED:
        for call in range(w.used_calls):
            if w.c_held_by[call] == fault and w.c_state[call] & 4:
                w.c_held_by[call] = -1
                push(w, now + w.c_half[call], moment(RESPOND, call, w.c_gen[call], RESET))


@compiled
def back(w: Any, now: float, station: int) -> None:
    """A process answers again: its relay, its consumer, or all that need its bus go on."""
    if w.s_down[station] > now:
        return
    if w.out_n[station] > 0 and w.out_taken[station] == 0:
        relay(w, now, station)
    for consumer in range(w.consumers):
        bus = w.consumer[consumer, 1]
        mine = w.consumer[consumer, 0] == station or w.bus_station[bus] == station
        if mine and w.k_n[consumer] > 0 and not w.k_busy[consumer]:
            w.k_busy[consumer] = 1
            again_s = now + draw(w, w.reconnect)
            push(w, again_s, moment(CONSUME, consumer, w.k_gen[consumer]))


# ── The loop


@compiled
def frozen_until(w: Any, kind: int, number: int, gen: int) -> float:
    """Until when the process to which something happens is suspended; 0 if it is not."""
    if kind == ARRIVE:
        return float(w.s_frozen[w.tgt[w.c_tgt[number], 0]])
    if kind in (STEP, BENCH):
        station = w.t_station[number]
        return float(w.s_frozen[station]) if station >= 0 else 0.0
    if kind in (RESPOND, GIVE_UP, HEDGE, RETRY):
        parent = w.c_parent[number]
        if parent < 0 or w.t_gen[parent] != w.c_pgen[number]:
            return 0.0
        return float(w.s_frozen[w.t_station[parent]])
    if kind == PUBLISHED:
        bus = w.relay_bus[number]
        return float(max(w.s_frozen[number], w.s_frozen[w.bus_station[bus]]))
    if kind in (CONSUME, APPLIED):
        return float(w.s_frozen[w.consumer[number, 0]])
    return 0.0


@compiled
def happen(w: Any, now: float, data: int) -> None:
    """What one moment brings."""
    kind, number = data & 15, (data >> 4) & 0x3FFFFFF
    gen, code = (data >> 30) & 0xFFFFFF, (data >> 54) & 0x1FF
    until_s = frozen_until(w, kind, number, gen)
    if until_s > now:
        push(w, until_s, data)
        return
    if kind == ARRIVE:
        if w.c_gen[number] & 0xFFFFFF == gen:
            arrive(w, now, number)
    elif kind in (STEP, BENCH):
        if w.t_gen[number] & 0xFFFFFF == gen:
            if kind == BENCH:
                leave_bench(w, now, w.t_station[number])
            advance(w, now, number)
    elif kind == RESPOND:
        if w.c_gen[number] & 0xFFFFFF == gen:
            settle(w, now, number, code)
    elif kind == GIVE_UP:
        if w.c_gen[number] & 0xFFFFFF == gen:
            settle(w, now, number, TIMEOUT)
    elif kind == RETRY:
        if w.c_gen[number] & 0xFFFFFF == gen:
            attempt(w, now, number, 0.0)
    elif kind == HEDGE:
        parent = w.c_parent[number]
        if w.c_born[number] & 0xFFFFFF == gen and parent >= 0:
            w.n_hedged += 1
            other = new_call(w, parent, w.c_tgt[number], w.c_policy[number], w.c_sample[number])
            if other >= 0:
                w.c_sibling[other], w.c_sibling[number] = number, other
                w.c_hedge[other] = 1
                attempt(w, now, other, 0.0)
    elif kind == FAULT_ON:
        fault_on(w, now, number)
    elif kind == FAULT_OFF:
        fault_off(w, now, number)
    elif kind == PUBLISHED:
        published(w, now, number, code)
    elif kind == CONSUME:
        if w.k_gen[number] & 0xFFFFFF == gen:
            consume(w, now, number)
    elif kind == APPLIED:
        if w.k_gen[number] & 0xFFFFFF == gen:
            applied(w, now, number)
    elif kind == PROBE:
        start_probe(w, now)
    elif kind == BACK:
        back(w, now, number)
    elif kind == TICK:
        tick(w, now)


@compiled
def tick(w: Any, now: float) -> None:
    """Note how far each consumer of the first shard is, as `lab/experiment/lag.py` does."""
    row = w.ticks
    if row >= MOST_TICKS:
        return
    w.ticks += 1
    w.heads[row] = w.bus_head[0]
    for consumer in range(w.consumers):
        if w.consumer[consumer, 1] != 0:
            break
        role = w.consumer[consumer, 5]
        if w.k_n[consumer] > 0:
            w.lag[row, role, 0] = w.bus_head[0] - w.d_pos[w.k_head[consumer]] + 1
        w.lag[row, role, 1] = w.k_applied[consumer]
    push(w, now + TICK_S, moment(TICK, 0))


@compiled
def run_world(w: Any, at_s: Any, kinds: Any, queues: int, until_s: float) -> float:
    """Run until `until_s`, or until nothing happens any more. Returns the last time."""
    for fault in range(w.faults):
        push(w, w.fault[fault, F_FROM], moment(FAULT_ON, fault))
        push(w, w.fault[fault, F_UNTIL], moment(FAULT_OFF, fault))
    push(w, 0.0, moment(TICK, 0))
    following, count = 0, len(at_s)
    now = 0.0
    while w.full == 0:
        if w.ready_at != w.ready_end:
            task = w.ready[w.ready_at]
            w.ready_at = (w.ready_at + 1) % MOST_CALLS
            if w.t_station[task] >= 0:
                advance(w, now, task)
            continue
        w.moments += 1
        best, source = np.inf, -2
        if following < count:
            best, source = at_s[following], -1
        if w.heap > 0 and w.h_time[0] < best:
            best, source = w.h_time[0], -3
        for queue in range(queues):
            if w.timer_head[queue] >= 0 and w.timer_time[w.timer_head[queue]] < best:
                best, source = w.timer_time[w.timer_head[queue]], queue
        if source == -2 or best > until_s:
            break
        now = best
        if source == -1:
            kind = kinds[following]
            first, end = w.entry[kind, 0], w.entry[kind, 1]
            choice = first
            if end - first > 1:
                choice = first + int(uniform(w) * (end - first))
            tgt = w.entry_tgt[choice]
            w.r_group[following] = w.group[tgt] if kind == 0 else -1 - w.group[tgt]
            w.r_begun[following] = now
            start_call(w, now, -1, tgt, 0 if kind == 0 else 1, following, 0.0)
            following += 1
        elif source == -3:
            happen(w, now, pop(w))
        else:
            happen(w, now, drop_timer(w, source))
    return now
