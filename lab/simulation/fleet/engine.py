"""The engine: discrete events for services whose workers are held while they wait.

A *station* is a service: `workers` that each hold one request from its begin to its answer, and a
*bench* of `cores` on which handlers compute. A handler is a short list of steps: compute, call
others and wait, commit, publish. Callers have the lab's own policies (timeout, retries, budget,
breaker, bulkhead, hedge, fallback, deadline).

Timeouts of one length wait in a queue and not in the heap: most of them never happen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.simulation.fleet.bus import (
    append,
    applied,
    back,
    consume,
    hits,
    published,
    tell,
)
from lab.simulation.fleet.world import (
    ANYONE,
    APPLIED,
    ARRIVE,
    BACK,
    BENCH,
    BREAKER_FAILURES,
    BREAKER_OPEN_S,
    BUDGET_CAPACITY,
    CALL,
    CLIENT,
    COMMIT,
    CONSUME,
    DOWN,
    ERROR,
    F_CALLER,
    F_DELAY,
    F_FROM,
    F_JITTER,
    F_KIND,
    F_STATION,
    F_STATUS,
    F_UNTIL,
    FAULT_OFF,
    FAULT_ON,
    FOREVER_S,
    GIVE_UP,
    HANG,
    HEDGE,
    HTTP_502,
    HTTP_503,
    HTTP_504,
    LATENCY,
    LONGEST_WAIT_S,
    MOST_CALLS,
    MOST_PROBES,
    MOST_REQUESTS,
    MOST_TICKS,
    NOT_ASKED,
    OBSERVE_EVERY_S,
    OK,
    P_BREAKER,
    P_BUDGET,
    P_DEADLINE,
    P_EVENTS,
    P_FALLBACK,
    P_HEDGE,
    P_JITTER,
    P_PERMITS,
    P_RETRIES,
    P_TIMEOUT,
    P_UNKNOWN,
    P_WAIT,
    PROBE,
    PROBE_FIRST_S,
    PROBE_LAST_S,
    PUBLISHED,
    QUESTION,
    READ,
    REFUSED,
    REPLY,
    RESET,
    RESET_PEER,
    RESPOND,
    RETRY,
    RUN,
    SEND,
    STEP,
    TELL,
    TELL_ONCE,
    TICK,
    TICK_S,
    TIMEOUT,
    UNANSWERED,
    compiled,
    draw,
    draw_with,
    drop_timer,
    moment,
    pop,
    push,
    set_timer,
    uniform,
)

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
    half = draw_with(w, w.tgt[tgt, 3], w.c_sample[call]) / 2
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
    elif timeout_s < FOREVER_S:
        set_timer(w, 2 * policy, now + timeout_s, moment(GIVE_UP, call, gen))
    if w.policy[policy, P_EVENTS] > 0:
        tell(w, now, w.t_station[parent], QUESTION, call, gen)
        return
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
        if w.policy[w.c_policy[call], P_EVENTS] > 0:
            tell(w, now, station, REPLY - code, call, w.t_cgen[task])
        else:
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
    if w.s_frozen[station] > now:
        push(w, w.s_frozen[station], moment(STEP, task, w.t_gen[task]))
        return
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
                push(w, now + draw_with(w, a, sample), moment(STEP, task, w.t_gen[task]))
            elif w.s_bench[station] < w.cores[station]:
                w.s_bench[station] += 1
                push(w, now + draw_with(w, a, sample), moment(BENCH, task, w.t_gen[task]))
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
        elif code == READ:
            if w.probed:
                w.r_read[sample, a] = now
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
    push(
        w,
        now + draw_with(w, dist, w.t_sample[following]),
        moment(BENCH, following, w.t_gen[following]),
    )


@compiled
def arrive(w: Any, now: float, call: int) -> None:
    """A request reaches its station: the process, its fault filter, then a worker or the queue."""
    tgt = w.c_tgt[call]
    station, gen = w.tgt[tgt, 0], w.c_gen[call]
    if w.s_down[station] > now:
        if w.policy[w.c_policy[call], P_EVENTS] == 0:  # nothing refuses an event
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
        end_probe(w, now, sample, code)
        return
    w.r_latency[sample] = now - w.r_begun[sample]
    w.r_error[sample] = code + 1  # 0: no outcome yet
    if w.users > 0:
        following = sample + w.users
        send_s = now + w.r_due[following] - w.r_due[sample]
        if following < w.requests and send_s < w.load_end:
            push(w, send_s, moment(SEND, following))
    if not w.probed or code != OK:
        return
    if w.r_kind[sample] == 0:
        if now - w.observed >= OBSERVE_EVERY_S:
            observe(w, now, sample)
        return
    if w.n_waiting < MOST_PROBES:
        w.waiting[w.n_waiting] = sample
        w.n_waiting += 1
    w.probe_pause = PROBE_FIRST_S
    if w.probing:
        w.probe_again = 1
    else:
        plan_probe(w, now)


# ── Visibility, as `lab/load/visibility.py` measures it


@compiled
def observe(w: Any, now: float, feed: int) -> None:
    """Find the writes that wait to be seen in a feed; without `comments`, it shows only posts."""
    w.observed = now
    kept = 0
    for index in range(w.n_waiting):
        sample = w.waiting[index]
        part = w.r_kind[sample] - 1
        complete = part == 0 or not w.r_degraded[feed]
        if complete and 0 < w.r_shown[sample] <= w.r_read[feed, part]:
            w.r_seen[sample] = now
        else:
            w.waiting[kept] = sample
            kept += 1
    w.n_waiting = kept


@compiled
def plan_probe(w: Any, at_s: float) -> None:
    """The next probe, instead of one that was planned before."""
    w.probe_gen += 1
    push(w, at_s, moment(PROBE, 0, w.probe_gen))


@compiled
def start_probe(w: Any, now: float) -> None:
    if w.n_waiting == 0 or w.probes >= MOST_PROBES:
        return
    w.probing = 1
    w.probes += 1
    tgt = w.entry_tgt[w.entry[0, 0]]
    start_call(w, now, -1, tgt, 0, MOST_REQUESTS + w.probes - 1, 0.0)


@compiled
def end_probe(w: Any, now: float, feed: int, code: int) -> None:
    """The next one begins at once after a new write, else after 1 to 50 ms."""
    w.probing = 0
    if code == OK:
        observe(w, now, feed)
    if w.n_waiting == 0:
        return
    if w.probe_again:
        w.probe_again = 0
        start_probe(w, now)
    else:
        plan_probe(w, now + w.probe_pause)
        w.probe_pause = min(2 * w.probe_pause, PROBE_LAST_S)


# ── Faults


@compiled
def fault_on(w: Any, now: float, fault: int) -> None:
    station, kind = int(w.fault[fault, F_STATION]), w.fault[fault, F_KIND]
    w.f_active[fault] = 1
    if kind == HANG:
        w.s_frozen[station] = max(w.s_frozen[station], w.fault[fault, F_UNTIL])
        w.frozen_until = max(w.frozen_until, w.s_frozen[station])
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


# ── The loop


@compiled
def send(w: Any, now: float, sample: int) -> None:
    """A request of the load begins."""
    kind = w.r_kind[sample]
    first, end = w.entry[kind, 0], w.entry[kind, 1]
    choice = first
    if end - first > 1:
        choice = first + int(uniform(w) * (end - first))
    tgt = w.entry_tgt[choice]
    w.r_group[sample] = w.group[tgt] if kind == 0 else -1 - w.group[tgt]
    w.r_begun[sample] = now
    start_call(w, now, -1, tgt, 0 if kind == 0 else 1, sample, 0.0)


@compiled
def frozen_until(w: Any, kind: int, number: int) -> float:
    """Until when the process to which something happens is suspended; 0 if it is not. A request
    still arrives: the kernel accepts it, and the process serves it later, wanted or not."""
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
    if w.frozen_until > now:
        until_s = frozen_until(w, kind, number)
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
    elif kind == SEND:
        send(w, now, number)
    elif kind == PROBE:
        if w.probe_gen & 0xFFFFFF == gen:
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
    """Run until `until_s`, or until nothing happens any more. Returns the last time. In a closed
    loop of `users`, each takes every `users`-th request, one at a time."""
    for fault in range(w.faults):
        push(w, w.fault[fault, F_FROM], moment(FAULT_ON, fault))
        push(w, w.fault[fault, F_UNTIL], moment(FAULT_OFF, fault))
    push(w, 0.0, moment(TICK, 0))
    following, count = 0, len(at_s)
    w.requests = count
    w.r_kind[:count] = kinds
    if w.users > 0:
        w.r_due[:count] = at_s
        following = count
        for sample in range(min(w.users, count)):
            push(w, at_s[sample], moment(SEND, sample))
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
            send(w, now, following)
            following += 1
        elif source == -3:
            happen(w, now, pop(w))
        else:
            happen(w, now, drop_timer(w, source))
    return now
