"""Pools several runs of one scenario into one result, computed from all their samples together.

A percentile of percentiles is not a percentile, so the raw samples are pooled first. Counts are
summed. A figure that each run has once (the time to recover, for example) is the median over the
runs; "never" counts as longer than any time. Runs that are not valid are left out, and those in
which a fault did not act as declared, if it did in others.

Runs of several machines are pooled alike, and the result says how many machines there were. Its
noise floor is then the highest of theirs.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from pathlib import Path
from typing import Any

from lab.experiment.differences import compare_medians, fingerprint
from lab.experiment.evaluate import judge_expectations, unproved_reasons
from lab.experiment.lateness import BoundedSample, bounded_run
from lab.experiment.predictions import judge_predictions
from lab.experiment.recovery import Recoveries
from lab.experiment.statistics import median
from lab.experiment.uncertainty import pooled_bounds
from lab.load.metrics import phase_figures, visibility_spread
from lab.load.samples import WRITES, Sample
from lab.results.result import (
    CheckerCounts,
    ConsumerLag,
    FaultEvidence,
    LoadSummary,
    PhaseResult,
    RunResult,
    RunSummary,
    SendLag,
    VariantResult,
    VisibilityLatency,
)
from lab.scenarios.scenario import Scenario


@dataclass(frozen=True)
class RunOutcome:
    """One run: its folder, and its result and samples, or the reason why it has none."""

    seed: int
    folder: Path
    result: RunResult | None
    samples: Sequence[Sample] = ()
    failure: str = ""

    def to_summary(self) -> RunSummary:
        result = self.result
        return RunSummary(
            seed=self.seed,
            folder=self.folder.name,
            valid=result is not None and result.valid,
            verdicts=[expectation.verdict for expectation in result.expectations] if result else [],
            problems=result.problems if result else [self.failure],
            unproved=unproved_reasons(result) if result else [],
        )


def pool_runs(scenario: Scenario, outcomes: Sequence[RunOutcome]) -> RunResult:
    """One result of all valid runs; if none is valid, one of all runs, which is not valid. At least
    one run must have a result; the first of these gives seed, machine and noise floor."""
    with_result = [(outcome.result, outcome.samples) for outcome in outcomes if outcome.result]
    valid = [(result, samples) for result, samples in with_result if result.valid]
    proved = [(result, samples) for result, samples in valid if not unproved_reasons(result)]
    pooled_runs = proved or valid or with_result
    first = with_result[0][0]
    runs = [bounded_run(samples, scenario, result) for result, samples in pooled_runs]
    variants = [
        _pool_variant(
            [variant for result, _ in pooled_runs if (variant := result.variant(name))],
            [one for run in runs for one in run if one.sample.variant == name],
        )
        for name in (variant.name for variant in first.variants)
    ]
    result = first.model_copy(
        update={
            "valid": pooled_runs[0][0].valid,
            "problems": list(dict.fromkeys(why for run, _ in pooled_runs for why in run.problems)),
            "load": merge_loads([run.load for run, _ in pooled_runs]),
            "variants": variants,
            "repeats": len(outcomes),
            "runs": [outcome.to_summary() for outcome in outcomes],
        }
    )
    machines = {fingerprint(run.environment) for run, _ in pooled_runs}
    if len(machines) > 1:
        result.environment = first.environment | {"machines": len(machines)}
        floors = [run.noise_floor for run, _ in pooled_runs if run.noise_floor]
        result.noise_floor = max(floors, key=lambda floor: floor.share, default=None)
    if result.noise_floor:
        phases = scenario.reported_phases()
        names = [variant.name for variant in variants]
        result.differences = compare_medians(runs, names, phases, result.noise_floor)
    result.expectations = judge_expectations(scenario, result)
    every = [sample for _, samples in pooled_runs for sample in samples]
    result.predictions = judge_predictions(scenario, result, every)
    return result


def merge_loads(loads: Sequence[LoadSummary]) -> LoadSummary:
    """The sums of late and dropped sends and of probes; the worst lag and shares of any run; the
    stalls of variants that one run has."""

    def worst(figure: Callable[[LoadSummary], float | None]) -> float | None:
        return max((value for load in loads if (value := figure(load)) is not None), default=None)

    return LoadSummary(
        lag_ms=SendLag(
            p50=worst(lambda load: load.lag_ms.p50),
            p99=worst(lambda load: load.lag_ms.p99),
            max=worst(lambda load: load.lag_ms.max),
        ),
        late=sum(load.late for load in loads),
        dropped=sum(load.dropped for load in loads),
        cpu_share=worst(lambda load: load.cpu_share),
        machine_share=worst(lambda load: load.machine_share),
        probes=dict(sum((Counter(load.probes) for load in loads), Counter())),
        # Several runs of a variant have several clocks, so their stalls stay with the runs.
        stalls={
            name: stalls
            for load in loads
            for name, stalls in load.stalls.items()
            if sum(name in other.stalls for other in loads) == 1
        },
    )


def _pool_variant(runs: Sequence[VariantResult], bounded: Sequence[BoundedSample]) -> VariantResult:
    first = runs[0]
    samples = [one.sample for one in bounded]
    seconds = {
        name: sum(run.phases[name].seconds for run in runs if name in run.phases)
        for name in first.phases
    }
    figures = phase_figures(samples, seconds)
    newcomers = sorted(
        (newcomer for run in runs for newcomer in run.newcomers),
        key=lambda newcomer: inf if newcomer.seconds is None else newcomer.seconds,
    )
    pooled = first.model_copy(
        update={
            "phases": {name: PhaseResult.model_validate(phase) for name, phase in figures.items()},
            "data": _pool_data([run.data for run in runs if run.data], samples),
            "recovery_seconds": _median_or_never(run.recovery_seconds for run in runs),
            "recovery": _pool_recovery([run.recovery for run in runs if run.recovery is not None]),
            "unproved": {path: why for run in runs for path, why in run.unproved.items()},
            "faults": [_pool_evidence(number, runs) for number in range(len(first.faults))],
            "ended": list(dict.fromkeys(name for run in runs for name in run.ended)),
            "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
            "lag": {
                name: _pool_lag([run.lag[name] for run in runs if name in run.lag])
                for name in first.lag
            },
            "newcomers": newcomers[(len(newcomers) - 1) // 2 :][:1],
            "reached_in": [attempt for run in runs for attempt in run.reached_in],
            "asks": None if first.asks is None else _sum_tables(run.asks or {} for run in runs),
            "dead_letters": first.dead_letters
            and _sum_tables(run.dead_letters or {} for run in runs),
            "given_up": None if first.given_up is None else sum(run.given_up or 0 for run in runs),
        }
    )
    pooled.bounds = pooled_bounds(pooled, bounded)
    for path in ("recovery_seconds", *(f"recovery.{kind}" for kind in pooled.recovery or ())):
        if any(path in run.bounds for run in runs):
            lows, highs = zip(*(_recovery_bounds(run, path) for run in runs), strict=True)
            pooled.bounds[path] = (median(lows), _median_or_never(highs))
    return pooled


def _pool_recovery(each: Sequence[Recoveries]) -> Recoveries | None:
    if not each:
        return None
    kinds = dict.fromkeys(kind for found in each for kind in found)
    return {
        kind: _median_or_never(found[kind] for found in each if kind in found) for kind in kinds
    }


def _recovery_bounds(run: VariantResult, path: str) -> tuple[float, float | None]:
    kind = path.partition(".")[2]
    seconds = (run.recovery or {}).get(kind) if kind else run.recovery_seconds
    return run.bounds.get(path, (inf if seconds is None else seconds, seconds))


def _pool_data(checks: Sequence[CheckerCounts], samples: Sequence[Sample]) -> CheckerCounts | None:
    if not checks:
        return None
    counts = [name for name in CheckerCounts.model_fields if name != "visible_ms"]
    sums = {
        name: None
        if None in (values := [getattr(check, name) for check in checks])
        else sum(values)
        for name in counts
    }
    acknowledged = [
        sample
        for sample in samples
        if sample.endpoint in WRITES and sample.ok and not sample.dropped
    ]
    return CheckerCounts.model_validate(
        {**sums, "visible_ms": VisibilityLatency(**visibility_spread(acknowledged))}
    )


def _pool_evidence(number: int, runs: Sequence[VariantResult]) -> FaultEvidence:
    """The first run's evidence, and the number of runs in which the fault acted."""
    evidences = [run.faults[number] for run in runs if number < len(run.faults)]
    acted = sum(evidence.acted for evidence in evidences)
    evidence = evidences[0].evidence | {"acted_in_runs": acted} if len(runs) > 1 else {}
    return evidences[0].model_copy(
        update={"acted": acted == len(runs), "evidence": evidence or evidences[0].evidence}
    )


def _pool_lag(lags: Sequence[ConsumerLag]) -> ConsumerLag:
    others = [name for name in ConsumerLag.model_fields if name != "max"]
    medians = {name: _median_or_never(getattr(lag, name) for lag in lags) for name in others}
    return ConsumerLag(max=max(lag.max for lag in lags), **medians)


def _median_or_never(values: Iterable[float | None]) -> float | None:
    """The median; None (never) counts as longer than any time."""
    middle = median([inf if value is None else value for value in values])
    return None if isinf(middle) else middle


def _sum_tables(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Nested tables of counts, summed key by key."""
    total: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            if isinstance(value, dict):
                total[key] = _sum_tables([total.get(key, {}), value])
            else:
                total[key] = total.get(key, 0) + value
    return total
