"""Pools several runs of one scenario into one result, computed from all their samples together.

A percentile of percentiles is not a percentile, so the raw samples are pooled first. Counts are
summed. A figure that each run has once (the time to recover, for example) is the median over the
runs; "never" counts as longer than any time. Runs that are not valid are left out.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.experiment.differences import differences
from lab.experiment.evaluate import evaluated, predictions
from lab.experiment.statistics import median
from lab.load.metrics import phase_figures, visible_ms
from lab.load.samples import WRITES, Sample
from lab.results.result import (
    ConsumerLag,
    Data,
    FaultProof,
    Lag,
    Load,
    OneRun,
    PhaseFigures,
    Result,
    Variant,
    Visible,
)
from lab.scenarios.scenario import Scenario


@dataclass(frozen=True)
class Outcome:
    """One run: its folder, and its result and samples, or the reason why it has none."""

    seed: int
    folder: Path
    result: Result | None
    samples: Sequence[Sample] = ()
    why_none: str = ""

    def in_brief(self) -> OneRun:
        of = self.result
        return OneRun(
            seed=self.seed,
            folder=self.folder.name,
            valid=of is not None and of.valid,
            verdicts=[one.verdict for one in of.expectations] if of else [],
            problems=of.problems if of else [self.why_none],
        )


def pooled(scenario: Scenario, outcomes: Sequence[Outcome]) -> Result:
    """One result of all valid runs; if none is valid, one of all runs, which is not valid. At least
    one run must have a result; the first of these gives seed, machine and noise floor."""
    ran = [(one.result, one.samples) for one in outcomes if one.result]
    kept = [(result, samples) for result, samples in ran if result.valid] or ran
    first = ran[0][0]
    runs = [samples for _, samples in kept]
    variants = [
        _variant(
            [one for result, _ in kept if (one := result.variant(name))],
            [sample for samples in runs for sample in samples if sample.variant == name],
        )
        for name in (one.name for one in first.variants)
    ]
    result = first.model_copy(
        update={
            "valid": kept[0][0].valid,
            "problems": list(dict.fromkeys(why for one, _ in kept for why in one.problems)),
            "load": loads_together([one.load for one, _ in kept]),
            "variants": variants,
            "repeats": len(outcomes),
            "runs": [one.in_brief() for one in outcomes],
        }
    )
    if result.noise_floor:
        phases = scenario.reported_phases()
        names = [one.name for one in variants]
        result.differences = differences(runs, names, phases, result.noise_floor)
    result.expectations = evaluated(scenario, result)
    result.predictions = predictions(scenario, result)
    return result


def loads_together(loads: Sequence[Load]) -> Load:
    """The sums of late and dropped sends and of probes; the worst lag and shares of any run."""

    def worst(of: Callable[[Load], float | None]) -> float | None:
        return max((one for load in loads if (one := of(load)) is not None), default=None)

    return Load(
        lag_ms=Lag(
            p50=worst(lambda one: one.lag_ms.p50),
            p99=worst(lambda one: one.lag_ms.p99),
            max=worst(lambda one: one.lag_ms.max),
        ),
        late=sum(one.late for one in loads),
        dropped=sum(one.dropped for one in loads),
        cpu_share=worst(lambda one: one.cpu_share),
        machine_share=worst(lambda one: one.machine_share),
        probes=dict(sum((Counter(one.probes) for one in loads), Counter())),
    )


def _variant(runs: Sequence[Variant], samples: Sequence[Sample]) -> Variant:
    first = runs[0]
    seconds = {
        name: sum(run.phases[name].seconds for run in runs if name in run.phases)
        for name in first.phases
    }
    figures = phase_figures(samples, seconds)
    newcomers = sorted(
        (one for run in runs for one in run.newcomers),
        key=lambda one: math.inf if one.seconds is None else one.seconds,
    )
    return first.model_copy(
        update={
            "phases": {name: PhaseFigures.model_validate(of) for name, of in figures.items()},
            "data": _data([run.data for run in runs if run.data], samples),
            "recovery_seconds": _middle(run.recovery_seconds for run in runs),
            "faults": [_proof(number, runs) for number in range(len(first.faults))],
            "ended": list(dict.fromkeys(name for run in runs for name in run.ended)),
            "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
            "lag": {
                name: _lag([run.lag[name] for run in runs if name in run.lag]) for name in first.lag
            },
            "newcomers": newcomers[(len(newcomers) - 1) // 2 :][:1],
            "reached_in": [one for run in runs for one in run.reached_in],
            "asks": None if first.asks is None else _summed(run.asks or {} for run in runs),
            "dead_letters": first.dead_letters and _summed(run.dead_letters or {} for run in runs),
            "given_up": None if first.given_up is None else sum(run.given_up or 0 for run in runs),
        }
    )


def _data(found: Sequence[Data], samples: Sequence[Sample]) -> Data | None:
    if not found:
        return None
    counts = [name for name in Data.model_fields if name != "visible_ms"]
    sums = {
        name: None if None in (of := [getattr(one, name) for one in found]) else sum(of)
        for name in counts
    }
    yes = [one for one in samples if one.endpoint in WRITES and one.ok and not one.dropped]
    return Data.model_validate({**sums, "visible_ms": Visible(**visible_ms(yes))})


def _proof(number: int, runs: Sequence[Variant]) -> FaultProof:
    """The first run's evidence, and the number of runs in which the fault acted."""
    proofs = [run.faults[number] for run in runs if number < len(run.faults)]
    acted = sum(one.acted for one in proofs)
    evidence = proofs[0].evidence | {"acted_in_runs": acted} if len(runs) > 1 else {}
    return proofs[0].model_copy(
        update={"acted": acted == len(runs), "evidence": evidence or proofs[0].evidence}
    )


def _lag(found: Sequence[ConsumerLag]) -> ConsumerLag:
    others = [name for name in ConsumerLag.model_fields if name != "max"]
    middles = {name: _middle(getattr(one, name) for one in found) for name in others}
    return ConsumerLag(max=max(one.max for one in found), **middles)


def _middle(values: Iterable[float | None]) -> float | None:
    """The median; None (never) counts as longer than any time."""
    found = median([math.inf if value is None else value for value in values])
    return None if math.isinf(found) else found


def _summed(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Nested tables of counts, summed key by key."""
    total: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            if isinstance(value, dict):
                total[key] = _summed([total.get(key, {}), value])
            else:
                total[key] = total.get(key, 0) + value
    return total
