"""The simulation of a scenario: its services, switches and faults, at any size.

What the model leaves out is in `why_not_covered`: faults of data, other buses, closed loops,
follow-up requests. Everything else comes from the scenario's file and from measured parameters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from lab.domain.services import BUS, MONOLITH, SERVICES
from lab.experiment.request_phases import disturbances
from lab.faults.kinds import Fault
from lab.load.plan import WARM_UP, PlanPhase
from lab.load.samples import Sample
from lab.load.schedule import build_schedule
from lab.results.result import FaultEvidence
from lab.results.timeline import WARM_UP_PHASE, FaultWindow
from lab.scenarios.overrides import apply_overrides
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import VariantSpec
from lab.simulation.fleet import engine
from lab.simulation.fleet import world as arrays
from lab.simulation.fleet.fleets import BLOG, FleetSpec
from lab.simulation.fleet.network import ACTIONS, ROLES, Network, build
from lab.simulation.fleet.parameters import Parameters
from lab.support.text import shell_word

_FAULT_KINDS = {
    "down": arrays.DOWN,
    "hang": arrays.HANG,
    "latency": arrays.LATENCY,
    "error": arrays.ERROR,
    "timeout": arrays.UNANSWERED,
    "partition": arrays.UNANSWERED,
    "reset_peer": arrays.RESET_PEER,
}
_UNCOVERED_SWITCHES = {"delivery", "replicas"}
_BYTES_AN_ARRIVAL, _BYTES_A_REQUEST = 200, 120
MOST_CALLS = 400_000_000
"""Some minutes on a laptop."""
SAMPLES_KEPT = 20_000
"""So many requests of a variant, evenly spread, become samples: enough for every interval."""


class NotCovered(ValueError):
    """The model does not cover this scenario; the message says which part of it."""


class TooLarge(ValueError):
    """A fleet or a load that is too large for this machine; the message says by how much."""


# ── What comes out


@dataclass
class SimulatedVariant:
    """One simulated variant: arrays of numpy with one entry for each request, by intended time.

    `intended_s` (float64), `action` (int8: index into `ACTIONS`), `latency_ms` (float64, nan: no
    outcome), `error` (int16: index into `errors`, 0: good), `visible_ms` (float64, nan: never,
    or not a write), `degraded` (bool), `retried` (int8), `phase` (int16: index into `phases`).
    `lag`: by consumer, rows of (second, head of the bus, events before it, events applied); of the
    first shard. `counts`: outcomes of calls. `hops`: requests that reached a process.
    """

    name: str
    network: Network
    intended_s: Any
    action: Any
    latency_ms: Any
    error: Any
    visible_ms: Any
    degraded: Any
    retried: Any
    phase: Any
    phases: tuple[str, ...]
    errors: tuple[str, ...]
    faults: tuple[FaultEvidence, ...]
    lag: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    hops: int = 0
    events: int = 0
    engine_s: float = 0.0

    @property
    def stride(self) -> int:
        """Every how many requests one becomes a sample."""
        return max(1, len(self.intended_s) // SAMPLES_KEPT)

    def samples(self) -> list[Sample]:
        """Requests as samples of a real run, every `stride`-th of them."""
        found = []
        for index in range(0, len(self.intended_s), self.stride):
            latency, visible = self.latency_ms[index], self.visible_ms[index]
            error = self.errors[self.error[index]]
            found.append(
                Sample(
                    variant=self.name,
                    phase=self.phases[self.phase[index]],
                    endpoint=ACTIONS[self.action[index]],
                    intended_s=float(self.intended_s[index]),
                    lag_ms=0.0,
                    latency_ms=None if math.isnan(latency) else float(latency),
                    status=_status(error),
                    error=error,
                    ok=not error,
                    visible_ms=None if math.isnan(visible) else float(visible),
                    degraded=bool(self.degraded[index]),
                    retried=int(self.retried[index]),
                )
            )
        return found


def _status(error: str) -> int:
    return 200 if not error else int(error[5:]) if error.startswith("http_") else 0


@dataclass
class SimulatedRun:
    """A scenario, simulated: its variants by name."""

    scenario: Scenario
    fleet: FleetSpec
    parameters: Parameters
    seed: int
    variants: dict[str, SimulatedVariant]


# ── What the model covers


def _why_not_variant(variant: str, spec: VariantSpec) -> str | None:
    arrangement = spec.base_arrangement
    if not spec.is_own or arrangement is None:
        return (
            f"The variant {variant} has services that are not the lab's; the model has only these."
        )
    if arrangement.name not in ("sync-chain", "request-reply", "async-bus", "monolith"):
        return f"The model has no {arrangement.name}, which was not measured (variant {variant})."
    if (bus := spec.options.get("bus", "log")) != "log":
        return f"The variant {variant} has the bus {bus}, and the model has only the bus log."
    for switch in _UNCOVERED_SWITCHES & set(spec.options):
        return f"The variant {variant} has the switch {switch}, and the model does not."
    return None


def why_not_covered(scenario: Scenario) -> str | None:
    """What the model does not cover in a scenario, in a sentence; None if it covers all."""
    name = scenario.name
    if scenario.load.at_once:
        return f"{name} follows up its own writes (at_once), and the model has no follow-ups."
    if scenario.history or scenario.newcomer:
        return f"{name} starts from a history of events or adds a service, and the model does not."
    if scenario.reach_in:
        return f"{name} is about who opens which database, and the model has none."
    lacking = {
        variant: reason
        for variant, spec in scenario.variants.items()
        if (reason := _why_not_variant(variant, spec))
    }
    if lacking:
        others = [variant for variant in scenario.variants if variant not in lacking]
        hint = ""
        if others and why_not_covered(apply_overrides(scenario, only=others)) is None:
            words = " ".join(f"--only {shell_word(variant)}" for variant in others)
            hint = f" Without it: lab simulate {shell_word(name)} {words}"
        return f"{next(iter(lacking.values()))}{hint}"
    for window in scenario.timeline().faults:
        kind, target = window.fault.kind, window.fault.target
        if kind not in _FAULT_KINDS:
            return f"{name} has a fault of data ({kind}), and the model moves no data."
        if window.fault.target.startswith(f"{BUS}-"):
            return f"{name} breaks one node of a cluster ({target}), and the model's bus has one."
        in_one = [v for v in window.variants if scenario.variants[v].arrangement == MONOLITH]
        if in_one and window.fault.acts_on != "process":
            return f"{in_one[0]}: the model has no {kind} inside of a monolith."
    return None


# ── Simulation


def simulate(
    scenario: Scenario,
    parameters: Parameters,
    seed: int = 7,
    fleet: FleetSpec = BLOG,
    draw: int = 0,
) -> SimulatedRun:
    """Simulate every variant of a scenario under one schedule; its rate is for the whole fleet.

    `draw`: another number is the same load, with other random times. The same seed, draw and
    version give the same run, bit for bit. Raises what `prepare` raises, and TooLarge if more is
    under way than the engine has room for.
    """
    networks = prepare(scenario, parameters, seed + (draw << 32), fleet)
    load, timeline = scenario.load, scenario.timeline()
    schedule = build_schedule(
        seed,
        load.rate,
        [
            PlanPhase.model_construct(name=phase.name, seconds=phase.seconds, rate=phase.rate)
            for phase in (WARM_UP_PHASE, *timeline.phases)
        ],
        {action: float(weight) for action, weight in load.mix.items()},  # type: ignore[misc]
    )
    at_s = np.fromiter((arrival.at_s for arrival in schedule), np.float64, len(schedule))
    kinds = np.fromiter(
        (ACTIONS.index(arrival.action) for arrival in schedule), np.int8, len(schedule)
    )
    del schedule
    variants = {
        name: _run_variant(scenario, name, networks.pop(name), fleet, at_s, kinds)
        for name in scenario.variants
    }
    return SimulatedRun(scenario, fleet, parameters, seed, variants)


def prepare(
    scenario: Scenario, parameters: Parameters, seed: int = 7, fleet: FleetSpec = BLOG
) -> dict[str, Network]:
    """The network of each variant, before anything happens in it.

    Raises NotCovered, TooLarge or ValueError for what cannot be simulated on this machine.
    """
    if reason := why_not_covered(scenario):
        raise NotCovered(f"{reason} Simulated scenarios: lab simulate --list")
    load, timeline = scenario.load, scenario.timeline()
    phases = (WARM_UP_PHASE, *timeline.phases)
    if not math.isfinite(load.rate) or load.rate <= 0:
        raise ValueError(f"--rate: {load.rate:g} is not a number of arrivals per second.")
    if fleet.services > arrays.MOST_STATIONS:
        raise TooLarge(
            f"--services: a fleet has at most {arrays.MOST_STATIONS:,} services and buses; saw "
            f"{fleet.services:,}."
        )
    expected = sum(phase.seconds * (phase.rate or load.rate) for phase in phases)
    if expected > 0.9 * arrays.MOST_REQUESTS:
        raise TooLarge(
            f"{expected:,.0f} requests are more than the {arrays.MOST_REQUESTS:,} that fit. "
            "Lower --rate, or shorten the phases."
        )
    needed = expected * (_BYTES_A_REQUEST * len(scenario.variants) + _BYTES_AN_ARRIVAL)
    if needed > psutil.virtual_memory().available:
        raise TooLarge(
            f"{expected:,.0f} requests need {needed / 2**30:.1f} GiB of memory, and "
            f"{psutil.virtual_memory().available / 2**30:.1f} GiB are free. Lower --rate, or "
            "shorten the phases."
        )
    weights = {action: float(load.mix.get(action, 0)) for action in ACTIONS}
    rates = {action: load.rate * of / sum(weights.values()) for action, of in weights.items()}
    networks = {
        name: build(
            spec.arrangement,
            spec.options,
            fleet.of(spec.options),
            parameters,
            rates,
            {"timeout_s": load.timeout_ms / 1_000, "retries": load.retries},
            seed,
        )
        for name, spec in scenario.variants.items()
    }
    for name, network in networks.items():
        calls = (network.calls_per_s + network.events_per_s) * expected / load.rate
        if calls > MOST_CALLS:
            raise TooLarge(
                f"{name}: {calls:,.0f} calls and events would take {calls / 6e7:.0f} minutes or "
                f"more. Lower --rate to {load.rate * MOST_CALLS / calls:.0f}, or take fewer "
                "services."
            )
        if fleet.target and not {(0, fleet.target), (0, MONOLITH)} & network.by_name.keys():
            raise ValueError(f"--target: this fleet has no service {fleet.target!r}.")
    return networks


def _run_variant(
    scenario: Scenario, name: str, network: Network, fleet: FleetSpec, at_s: Any, kinds: Any
) -> SimulatedVariant:
    world, timeline = network.world, scenario.timeline()
    errors = ["", "timeout", "refused", "reset", "not_asked", "http_502", "http_503", "http_504"]
    windows = [window for window in timeline.faults if name in window.variants]
    rows = [row for window in windows for row in _fault_rows(window, network, fleet, errors)]
    world["faults"] = len(rows)
    for number, row in enumerate(rows):
        world["fault"][number] = row
    until_s = timeline.until_s + scenario.load.timeout_ms / 1_000 + scenario.load.settle_s
    world["users"] = scenario.variants[name].closed_loop_users or 0
    world["load_end"] = timeline.until_s
    began = time.perf_counter()
    engine.run_world(world, at_s, kinds, network.queues, until_s)
    took_s = time.perf_counter() - began
    if world["full"]:
        raise TooLarge(
            f"{name}: more than {arrays.MOST_CALLS:,} requests and events are under way at once: "
            "this fleet does not keep up. Lower --rate, or give it more workers."
        )
    chosen: Any = slice(len(at_s))
    if world["users"]:
        # What was not sent is no request; what was sent was due when it was sent.
        chosen = np.flatnonzero(world["r_begun"][: len(at_s)])
        at_s, kinds = world["r_begun"][chosen], kinds[chosen]
    outcome = world["r_error"][chosen].copy()
    errors.append("interrupted")
    error = np.where(outcome == 0, len(errors) - 1, outcome - 1).astype(np.int16)
    latency_ms = np.where(outcome == 0, np.nan, world["r_latency"][chosen] * 1_000)
    ok = error == 0
    faults = tuple(_evidence(scenario, windows, network, world, fleet.target))
    names, phase = _phases(scenario, name, faults, at_s, latency_ms, ok)
    return SimulatedVariant(
        name=name,
        network=network,
        intended_s=at_s,
        action=kinds,
        latency_ms=latency_ms,
        error=error,
        visible_ms=_visible_ms(world, chosen, at_s, kinds, latency_ms, ok),
        degraded=world["r_degraded"][chosen].astype(bool) & ok,
        retried=world["r_retried"][chosen].copy(),
        phase=phase,
        phases=names,
        errors=tuple(errors),
        faults=faults,
        lag=_lag(world),
        counts={key: int(world[f"n_{key}"]) for key in arrays.COUNTS},
        hops=int(world["hops"]),
        events=int(world["applies"]),
        engine_s=took_s,
    )


# ── Faults


def _fault_rows(
    window: FaultWindow, network: Network, fleet: FleetSpec, errors: list[str]
) -> list[list[float]]:
    """A row of the engine for each station that a fault acts on."""
    fault, rows = window.fault, []
    for shard in range(fleet.broken):
        target = (shard, fleet.target or fault.target)
        station = network.by_name.get(target, network.by_name.get((shard, MONOLITH)))
        if station is None:
            continue
        rows.append(
            [
                station,
                _FAULT_KINDS[fault.kind],
                window.from_s,
                window.until_s,
                fault.probability,
                getattr(fault, "ms", 0.0) / 1_000,
                getattr(fault, "jitter_ms", 0.0) / 1_000,
                fault.first or 0,
                _caller(fault),
                _status_code(fault, errors),
                float(getattr(fault, "per_event", False)),
            ]
        )
    return rows


def _caller(fault: Fault) -> int:
    caller = getattr(fault, "from_", None)
    if caller is None:
        return arrays.ANYONE
    return {"client": arrays.CLIENT, BUS: arrays.BUS_CALLER}.get(
        caller, ROLES.index(caller) if caller in ROLES else arrays.ANYONE
    )


def _status_code(fault: Fault, errors: list[str]) -> int:
    status = f"http_{getattr(fault, 'status', 503)}"
    if status not in errors:
        errors.append(status)
    return errors.index(status)


def _evidence(
    scenario: Scenario,
    windows: Sequence[FaultWindow],
    network: Network,
    world: Any,
    target: str,
) -> list[FaultEvidence]:
    """The evidence of each fault, as of a real run. Those of one method on every hop are one."""
    groups: dict[tuple[str, str, float], list[tuple[FaultWindow, int]]] = {}
    row = 0
    rows = world["fault"][: int(world["faults"])]
    for window in windows:
        hits = 0
        while (
            row < len(rows)
            and rows[row][2] == window.from_s
            and network.stations[int(rows[row][0])].name
            in (target or window.fault.target, MONOLITH)
        ):
            hits += int(world["f_hits"][row])
            row += 1
        named = target or window.group or window.fault.target
        groups.setdefault((named, window.fault.kind, window.from_s), []).append((window, hits))
    found = []
    for (named, kind, from_s), members in groups.items():
        first = members[0][0]
        hits = sum(count for _, count in members)
        in_filter = first.fault.acts_on == "door"
        restart_s = network.parameters.restart_ms.mean_ms / 1_000 if kind == "down" else 0.0
        found.append(
            FaultEvidence(
                kind=kind,
                target=named,
                acted=True,
                phase=f"{first.group or first.fault.target} {kind}"
                if scenario.in_sequence
                else "during",
                evidence={"settings": first.fault.settings(), "healed": True}
                | ({"visitors": hits, "acted": hits} if in_filter else {}),
                from_s=from_s,
                until_s=first.until_s,
                gone_s=first.until_s + restart_s,
            )
        )
    return found


# ── Figures of requests


def _phases(
    scenario: Scenario,
    name: str,
    faults: Sequence[FaultEvidence],
    at_s: Any,
    latency_ms: Any,
    ok: Any,
) -> tuple[tuple[str, ...], Any]:
    """The phase in which each request counts: the rules of `lab/experiment/request_phases.py`."""
    timeline = scenario.timeline()
    names = (WARM_UP, *dict.fromkeys(phase.name for phase in timeline.phases))
    edges = [phase.from_s for phase in timeline.phases]
    number = np.array([0, *(names.index(phase.name) for phase in timeline.phases)], np.int16)
    due = number[np.searchsorted(edges, at_s, side="right")]
    healthy = np.isin(due, [names.index(one.name) for one in timeline.phases if not one.faults])
    phase, end_s = due.copy(), at_s + np.nan_to_num(latency_ms) / 1_000
    found = disturbances(timeline, name, faults)
    for one in reversed(found):
        own = names.index(one.phase)
        if one.previous:
            phase[(due == own) & ok & (end_s < one.on_s)] = names.index(one.previous)
        phase[healthy & (one.until_s <= at_s) & (at_s < one.gone_s)] = own
    if found:
        first = found[0]
        phase[healthy & (at_s < first.from_s) & (first.from_s < end_s)] = names.index(first.phase)
    return names, phase


def _visible_ms(world: Any, chosen: Any, at_s: Any, kinds: Any, latency_ms: Any, ok: Any) -> Any:
    """From the intended time of a write to the end of the feed that showed it; nan: there was none.

    At the blog's own size the probe has seen it. In a fleet, it is the first good feed of the load
    that began after the write was there to be read: feeds sorted by shard and begin, with the
    earliest end among each feed and all later ones.
    """
    count, far = len(at_s), 1e7
    visible = np.full(count, np.nan)
    if world["probed"]:
        seen_s = world["r_seen"][chosen]
        visible[seen_s > 0] = ((seen_s - at_s) * 1_000)[seen_s > 0]
        return visible
    group = world["r_group"][chosen]
    group = np.where(group < 0, -1 - group, group)
    shown_s = world["r_shown"][chosen]
    feeds = ok & (kinds == 0) & (world["r_degraded"][chosen] == 0)
    begin = group[feeds] * far + at_s[feeds]
    end = begin + latency_ms[feeds] / 1_000
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    earliest = np.minimum.accumulate(end[::-1])[::-1]
    writes = np.flatnonzero(ok & (kinds != 0) & (shown_s > 0))
    place = np.searchsorted(begin, group[writes] * far + shown_s[writes])
    seen = place < len(begin)
    seen_s = np.full(len(writes), np.inf)
    seen_s[seen] = earliest[place[seen]]
    there = seen_s < (group[writes] + 0.5) * far
    usual_s = float(np.median(latency_ms[feeds])) / 1_000 if feeds.any() else math.nan
    # Nobody read after the last feed of the load; a reader would have taken the usual time.
    after = ~there & (shown_s[writes] > (at_s[-1] if count else 0.0) - 1.0)
    seen_s = np.where(there, seen_s - group[writes] * far, shown_s[writes] + usual_s)
    visible[writes] = np.where(there | after, (seen_s - at_s[writes]) * 1_000, np.nan)
    return visible


def _lag(world: Any) -> dict[str, Any]:
    """By consumer of the first shard: rows of (second, head, events before it, applied)."""
    ticks = int(world["ticks"])
    seconds = np.arange(ticks) * arrays.TICK_S
    found = {}
    for number in range(int(world["consumers"])):
        _, bus, *_, role = (int(value) for value in world["consumer"][number])
        if bus == 0 and ROLES[role] in SERVICES:
            behind_and_applied = world["lag"][:ticks, role]
            found[ROLES[role]] = np.column_stack(
                (seconds, world["heads"][:ticks], behind_and_applied)
            )
    return found
