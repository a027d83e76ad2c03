"""Events in a simulation: outboxes, the bus, its consumers; and the faults of all processes."""

from __future__ import annotations

from typing import Any

from lab.simulation.fleet.world import (
    ANYONE,
    APPLIED,
    ARRIVE,
    BACK,
    BUS_CALLER,
    CONSUME,
    DELIVERY_BATCH,
    F_CALLER,
    F_DELAY,
    F_FIRST,
    F_JITTER,
    F_KIND,
    F_PER_EVENT,
    F_SHARE,
    F_STATION,
    F_UNTIL,
    FIRST_PAUSE_S,
    LATENCY,
    LONGEST_PAUSE_S,
    MOST_EVENTS,
    PUBLISH_BATCH,
    PUBLISHED,
    QUESTION,
    REFUSED,
    REPLY,
    RESPOND,
    TELLS,
    UNANSWERED,
    VISIBLE,
    compiled,
    draw,
    draw_with,
    moment,
    push,
    uniform,
)

# ── A fault filter


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
def tell(w: Any, now: float, station: int, kind: int, sample: int, gen: int = 0) -> None:
    """Put an event into the outbox of a station, and wake its relay. `sample`: of a question or a
    reply, its call, and `gen` the attempt."""
    one = new_event(w, kind, sample, gen)
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
    at_bus, delay_s = w.bus_station[bus], 0.0
    took_s = draw_with(w, w.publish[bus], w.d_sample[w.out_head[station]])
    if w.s_doors[at_bus] > 0:
        delay_s = door_delay(w, at_bus, ANYONE)
    refused = 1 if delay_s < 0 else 0
    push(w, now + took_s + max(0.0, delay_s), moment(PUBLISHED, station, 0, refused))


@compiled
def door_delay(w: Any, station: int, caller: int) -> float:
    """Seconds that the fault filter delays a delivery. Negative: it does not pass; try again later,
    after that second of the run."""
    delay_s = 0.0
    for fault in range(w.faults):
        if not w.f_active[fault] or w.fault[fault, F_STATION] != station:
            continue
        kind, only = w.fault[fault, F_KIND], w.fault[fault, F_CALLER]
        if kind < LATENCY or (only != ANYONE and only != caller):
            continue
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
def hits_each_event(w: Any, station: int) -> bool:
    """Whether a fault acts on each event of a delivery by itself."""
    for fault in range(w.faults):
        here = w.f_active[fault] and w.fault[fault, F_STATION] == station
        if here and w.fault[fault, F_PER_EVENT]:
            return True
    return False


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
        if w.d_type[w.out_head[station]] < 0:
            refuse_calls(w, now, station)
            return
        push(w, now + pause_s, moment(BACK, station, 0, 1))
        return
    w.out_pause[station] = 0.0
    for _ in range(w.out_taken[station]):
        one = w.out_head[station]
        w.out_head[station] = w.d_next[one]
        w.out_n[station] -= 1
        if w.d_type[one] < 0:
            deliver_call(w, now, one)
        else:
            append(w, now, bus, w.d_type[one], w.d_sample[one])
        w.d_next[one] = w.free_event
        w.free_event = one
    w.out_taken[station] = 0
    if w.out_n[station] > 0:
        relay(w, now, station)


@compiled
def refuse_calls(w: Any, now: float, station: int) -> None:
    """No question gets to its callee, and no reply to its caller, which waits until its timeout."""
    while w.out_n[station] > 0:
        one = w.out_head[station]
        w.out_head[station] = w.d_next[one]
        w.out_n[station] -= 1
        if w.d_type[one] == QUESTION:
            push(w, now, moment(RESPOND, w.d_sample[one], w.d_pos[one], REFUSED))
        w.d_next[one] = w.free_event
        w.free_event = one


@compiled
def deliver_call(w: Any, now: float, event: int) -> None:
    """A question or a reply is in the log, and on its way to the process that waits for it."""
    call, kind = w.d_sample[event], w.d_type[event]
    w.told += 1
    w.bus_head[0] += 1
    if kind == QUESTION:
        push(w, now + w.c_half[call], moment(ARRIVE, call, w.d_pos[event]))
    else:
        push(w, now + w.c_half[call], moment(RESPOND, call, w.d_pos[event], REPLY - kind))


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
            delivery_s = draw_with(w, w.consumer[consumer, 2], sample)
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
    one_by_one = w.consumer[consumer, 4] or (w.s_doors[station] > 0 and hits_each_event(w, station))
    count = min(w.k_n[consumer], 1 if one_by_one else DELIVERY_BATCH)
    took_s = 0.0
    if w.s_doors[station] > 0:
        took_s = door_delay(w, station, BUS_CALLER)
        if took_s < 0:
            pause_s = max(FIRST_PAUSE_S, w.k_pause[consumer])
            w.k_pause[consumer] = min(2 * pause_s, LONGEST_PAUSE_S)
            again_s = max(now, -took_s) + pause_s
            push(w, again_s, moment(CONSUME, consumer, w.k_gen[consumer]))
            return
    w.k_pause[consumer] = 0.0
    took_s += draw_with(w, w.consumer[consumer, 3], w.d_sample[w.k_head[consumer]])
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
