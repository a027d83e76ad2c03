"""The result document of a simulated run: `lab.result/1`, with `simulated` set.

Small runs pass through the code of real runs with all their requests. Of a large one, every n-th
request does; counts, shares and latencies are computed here from all of them, by the same rules as
`lab/load/metrics.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import Any

import numpy as np

from lab.domain.services import BUS
from lab.experiment.differences import compare_medians
from lab.experiment.evaluate import judge_expectations, validity_problems, variant_result
from lab.experiment.lag import LagReading, compute_consumer_lag
from lab.experiment.lateness import in_time
from lab.experiment.predictions import judge_predictions
from lab.load.samples import WRITES, Sample
from lab.results.result import (
    AnswerTexts,
    ConsumerLag,
    EndpointResult,
    FailureLatency,
    Footprint,
    LatencyOfAll,
    LatencySummary,
    NoiseFloor,
    PhaseResult,
    RunResult,
    SimulationFacts,
    VariantResult,
    VisibilityLatency,
)
from lab.results.run_folder import describe_environment
from lab.scenarios.scenario import Scenario
from lab.simulation.fleet.fleets import GRAPHS
from lab.simulation.fleet.model import SimulatedRun, SimulatedVariant
from lab.simulation.fleet.network import ACTIONS


def to_result(run: SimulatedRun, quick: bool = False) -> tuple[RunResult, list[Sample]]:
    """The result of a simulated run, and its requests as samples (of large runs every n-th)."""
    scenario = run.scenario if run.fleet.kind == "blog" else _of_a_fleet(run)
    samples: list[Sample] = []
    variants = []
    for simulated in run.variants.values():
        own = simulated.samples()
        samples += own
        variants.append(_variant_result(run, simulated, own))
    floor = NoiseFloor()
    result = RunResult(
        scenario=scenario.name,
        title=scenario.title,
        question=scenario.question,
        explain=scenario.explain,
        answer=AnswerTexts.model_validate(scenario.answer.model_dump()),
        seed=run.seed,
        quick=quick,
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
        environment=describe_environment(),
        isolated=scenario.isolate,
        variants=variants,
        noise_floor=floor,
        timeline=scenario.timeline().to_result(list(scenario.variants)),
        simulated=True,
        simulation=_facts(run),
    )
    for window in result.timeline.windows:
        window.target = run.fleet.target or window.target
    result.differences = compare_medians(
        [[in_time(sample) for sample in samples]],
        list(scenario.variants),
        scenario.reported_phases(),
        floor,
    )
    result.problems = validity_problems(scenario, result, [])
    result.valid = not result.problems
    result.expectations = judge_expectations(scenario, result)
    result.predictions = judge_predictions(scenario, result, samples)
    return result, samples


def _of_a_fleet(run: SimulatedRun) -> Scenario:
    """The scenario without what it says and expects of one blog; with what a fleet shows."""
    fleet, shards = run.fleet, max(one.network.shards for one in run.variants.values())
    why = ""
    if shards > 1 and run.scenario.method:
        hurt = min(shards, fleet.broken + fleet.width - 1)
        needs = "one shard" if fleet.width == 1 else f"{fleet.width} shards"
        why = (
            f"A feed needs {needs}. With a fault on {fleet.broken} of {shards}, {hurt} of {shards} "
            f"feeds ({100 * hurt / shards:.3g} %) need a shard that is hurt; the others notice "
            "nothing."
        )
    if fleet.kind in GRAPHS and fleet.target:
        made = fleet.of({})
        needing, starts = made.starts_that_need(fleet.target), len(made.starts)
        why = (
            f"`{fleet.target}` is in the call graph of {needing} of {starts} kinds of feeds "
            f"({100 * needing / starts:.3g} %); the others notice nothing."
        )
    answer = run.scenario.answer.model_copy(
        update={
            "why": why,
            "catch": "Each call takes as long as in a small blog on one machine: a network "
            "between machines, and caches, are not in the model.",
            "next": "",
        }
    )
    return run.scenario.model_copy(update={"answer": answer, "expect": (), "predict": ()})


def _facts(run: SimulatedRun) -> SimulationFacts:
    fleet, each = run.fleet, list(run.variants.values())
    return SimulationFacts(
        fleet=fleet.kind,
        services=max(one.network.services for one in each),
        shards=max(one.network.shards for one in each),
        broken=fleet.broken,
        width=fleet.width,
        requests=len(each[0].intended_s),
        rate=run.scenario.load.rate,
        calls={one.name: one.hops for one in each},
        events={one.name: one.events for one in each},
        connections={one.name: one.network.connections for one in each},
        engine_s=round(sum(one.engine_s for one in each), 3),
        measured_on=run.parameters.machine,
        measured_in=run.parameters.source,
    )


def _variant_result(
    run: SimulatedRun, simulated: SimulatedVariant, samples: Sequence[Sample]
) -> VariantResult:
    scenario, network = run.scenario, simulated.network
    memory = run.parameters.memory_mib
    arrangement = scenario.variants[simulated.name].arrangement
    used = sum(
        memory.get(BUS if plan.role == BUS else arrangement, 0.0) * plan.processes
        for plan in network.stations
    )
    counts = dict(simulated.counts)
    given_up = counts.pop("given_up")
    result = variant_result(
        scenario,
        simulated.name,
        samples,
        None,
        simulated.faults,
        extra_keys={
            "lag": _lag(run, simulated),
            "footprint": Footprint(processes=network.processes, memory_mib=used or None),
            "given_up": given_up,
            "asks": {"all": {"all": counts}} if counts["asked"] else None,
        },
    )
    for name, phase in result.phases.items():
        if simulated.stride > 1:
            phase.endpoints = _endpoints(simulated, name, phase)
        for endpoint in phase.endpoints.values():
            endpoint.stale = endpoint.decided = None  # the model moves no data
    return result


def _lag(run: SimulatedRun, simulated: SimulatedVariant) -> dict[str, ConsumerLag]:
    timeline = run.scenario.timeline()
    return {
        service: compute_consumer_lag(
            [
                LagReading(
                    round(float(t), 3),
                    simulated.name,
                    service,
                    int(head),
                    int(head - behind),
                    int(applied),
                    _answers(simulated, service, float(t)),
                )
                for t, head, behind, applied in rows
            ],
            timeline.disturbance(simulated.name),
            timeline.until_s,
        )
        for service, rows in simulated.lag.items()
        if len(rows)
    }


def _answers(simulated: SimulatedVariant, service: str, at_s: float) -> bool:
    """Whether a consumer would have responded at that moment."""
    return not any(
        fault.target == service
        and fault.kind in ("down", "hang")
        and (fault.from_s or 0.0) <= at_s < (fault.gone_s or 0.0)
        for fault in simulated.faults
    )


# ── Figures of all requests


def _endpoints(
    simulated: SimulatedVariant, name: str, of_samples: PhaseResult
) -> dict[str, EndpointResult]:
    in_phase = simulated.phase == simulated.phases.index(name)
    used = {ACTIONS[kind] for kind in np.unique(simulated.action)} | set(of_samples.endpoints)
    return {
        action: _endpoint(simulated, in_phase & (simulated.action == ACTIONS.index(action)), action)
        for action in sorted(used)
    }


def _endpoint(simulated: SimulatedVariant, chosen: Any, action: str) -> EndpointResult:
    """As `lab.load.metrics.endpoint_figures`."""
    error, latency = simulated.error[chosen], simulated.latency_ms[chosen]
    ok = error == 0
    known = error != len(simulated.errors) - 1  # the last one is "interrupted"
    kinds = Counter(dict.fromkeys(("timeout", "refused", "reset", "http_503"), 0))
    for code, count in zip(*np.unique(error[~ok], return_counts=True), strict=True):
        kinds[simulated.errors[code]] += int(count)
    good, failed = np.sort(latency[ok]), latency[~ok]
    result = EndpointResult(
        sent=len(error),
        ok=int(ok.sum()),
        failed=int((~ok).sum()),
        success=float(ok.mean()) if len(error) else None,
        errors=dict(kinds),
        latency_ms=LatencySummary(
            **{f"p{percent}": _percentile(good, percent) for percent in (50, 90, 95, 99)},
            max=_percentile(good, 100),
            mean=float(good.mean()) if len(good) else None,
        ),
        failed_after_ms=FailureLatency(p50=_percentile(np.sort(failed[~np.isnan(failed)]), 50)),
        of_all_ms=_of_all(np.where(ok, latency, np.inf)[known]),
        degraded=int(simulated.degraded[chosen].sum()),
        retried=int(simulated.retried[chosen].sum()),
    )
    if action in WRITES:
        visible = simulated.visible_ms[chosen]
        seen = np.sort(visible[ok & ~np.isnan(visible)])
        result.visible_ms = VisibilityLatency(
            p50=_percentile(seen, 50), p99=_percentile(seen, 99), max=_percentile(seen, 100)
        )
        result.visible_of_all_ms = _of_all(
            np.where(ok & ~np.isnan(visible), visible, np.inf)[known]
        )
        result.never_visible = int((ok & np.isnan(visible)).sum())
    return result


def _percentile(ordered: Any, percent: float) -> float | None:
    """The nearest-rank percentile of sorted values, as `lab.load.metrics.percentile`."""
    if not len(ordered):
        return None
    return float(ordered[max(1, ceil(percent / 100 * len(ordered))) - 1])


def _of_all(values: Any) -> LatencyOfAll:
    ordered = np.sort(values)
    found = {f"p{percent}": _percentile(ordered, percent) for percent in (50, 95)}
    return LatencyOfAll(
        **{name: None if value == np.inf else value for name, value in found.items()}
    )
