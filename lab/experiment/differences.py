"""Differences between variants, with their uncertainty, and the noise floor of the machine.

The latencies of each variant are compared with those of the first variant. A difference is reported
only if the whole confidence interval of the ratio lies beyond the noise floor: so it is neither due
to the chance of single requests nor as small as the difference of two equal variants on this
machine. The intervals hold at 95 % for all lines
of a table *together*: each line uses the confidence 1 - 0.05 / lines (Bonferroni). With 95 % for
each line, a table of twenty lines would on average show one difference that does not exist.

"No difference shown" does not mean that there is none. It means that this run cannot show one.

The noise floor comes from the scenario `calm`, which runs the chain against itself, under one
schedule and at the same time. The two copies differ for reasons outside the arrangement: memory
layout, the cores of the processes, the order in which requests are served. More requests do not
remove this, so a confidence interval does not include it. Each valid run of `calm` saves its figure
by machine in the user's state folder, or in the folder that the environment variable LAB_STATE
names. The newest twenty make the floor. If the file cannot be written, the figure is not saved.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from platformdirs import user_state_path
from pydantic import BaseModel, ValidationError

from lab.experiment.lateness import BoundedSample, at_both_ends
from lab.experiment.statistics import (
    Estimate,
    Series,
    median,
    ratio_of_few,
    ratio_of_runs,
    ratios_of_requests,
)
from lab.load.metrics import percentile
from lab.load.plan import WARM_UP
from lab.load.samples import WRITES, Sample
from lab.results.result import Difference, DifferenceVerdict, NoiseFloor
from lab.support.files import write_private

# ── Differences

SIGNIFICANCE = 0.05
MIN_ANSWERS = 20
"""Good answers that each variant needs in a phase; with fewer, the median itself is a guess."""
MIN_FEW_ANSWERS = 6
MIN_RUNS_TO_PAIR = 5

PhaseEndpoint = tuple[str, str]
"""A phase and an endpoint."""
ComparedFigure = Literal["latency", "visible"]
Interval = Callable[[float], tuple[float, float] | None]
"""From a confidence to the interval of a ratio; None if there are too few answers for it."""


@dataclass(frozen=True)
class _Comparison:
    figure: ComparedFigure
    cell: PhaseEndpoint
    variant: str
    ratio: float
    interval: Interval


def compare_medians(
    runs: Sequence[Sequence[BoundedSample]],
    variants: Sequence[str],
    phases: Sequence[str],
    floor: NoiseFloor,
) -> list[Difference]:
    """Compare each further variant with the first, by endpoint and phase: the latency, and the time
    until a write was visible. `runs`: the samples of each run; all runs are of one scenario.

    Where the load was late, the interval spans those at both ends of the latencies.

    With fewer than MIN_ANSWERS good answers of one of the two, the interval comes from the order
    statistics of both. It is wide, but 312 ms against 3 ms needs no more than a dozen answers.
    """
    measured = _compare_samples(
        [[one.sample for one in run] for run in runs], variants, phases, floor
    )
    at_ends = [
        {_key(one): one for one in _compare_samples(extreme, variants, phases, floor)}
        for extreme in at_both_ends(runs, variants[0])
    ]
    return [_at_all_ends(one, [of.get(_key(one)) for of in at_ends], floor) for one in measured]


def _compare_samples(
    runs: Sequence[Sequence[Sample]],
    variants: Sequence[str],
    phases: Sequence[str],
    floor: NoiseFloor,
) -> list[Difference]:
    comparisons = [
        comparison
        for figure in get_args(ComparedFigure)
        for comparison in _comparisons(figure, runs, variants, phases)
    ]
    confidence = 1 - SIGNIFICANCE / max(1, len(comparisons))
    found = (_judge(one, variants[0], confidence, floor) for one in comparisons)
    return [difference for difference in found if difference is not None]


def _key(one: Difference) -> tuple[str, ...]:
    return one.figure, one.phase, one.endpoint, one.variant


def _at_all_ends(
    measured: Difference, at_ends: Sequence[Difference | None], floor: NoiseFloor
) -> Difference:
    """The difference with an interval that holds at both ends of all latencies."""
    known = [one for one in at_ends if one is not None]
    low = min([measured.low, *(one.low for one in known)])
    high = max([measured.high, *(one.high for one in known)])
    verdict = _verdict(low, high, floor) if len(known) == len(at_ends) else _UNKNOWN
    reason = ""
    if verdict != measured.verdict:
        reason = "Requests were sent late, and that alone may have made this difference."
    return measured.model_copy(
        update={"low": low, "high": high, "verdict": verdict, "reason": reason}
    )


def _comparisons(
    figure: ComparedFigure,
    runs: Sequence[Sequence[Sample]],
    variants: Sequence[str],
    phases: Sequence[str],
) -> Iterator[_Comparison]:
    runs_by_cell = [_values_by_cell(run, variants, figure) for run in runs]
    cells = dict.fromkeys(
        (phase, endpoint)
        for endpoint in sorted({endpoint for run in runs_by_cell for _, endpoint in run})
        for phase in phases
    )
    for cell in cells:
        cell_runs = [run[cell] for run in runs_by_cell if cell in run]
        estimates = dict(_estimates(cell_runs, variants))
        for name in variants[1:]:
            if estimate := estimates.get(name):
                yield _Comparison(figure, cell, name, estimate.ratio, estimate.interval)
                continue
            first, other = (
                [value for run in cell_runs for value in run[one] if value is not None]
                for one in (variants[0], name)
            )
            if min(len(first), len(other)) >= MIN_FEW_ANSWERS:
                yield _Comparison(
                    figure,
                    cell,
                    name,
                    median(other) / median(first),
                    partial(ratio_of_few, first, other),
                )


def _estimates(
    runs: Sequence[Mapping[str, Sequence[float | None]]], variants: Sequence[str]
) -> Iterator[tuple[str, Estimate]]:
    enough = [
        name
        for name in variants
        if sum(value is not None for run in runs for value in run[name]) >= MIN_ANSWERS
    ]
    if len(enough) < 2 or enough[0] != variants[0]:
        return
    others = enough[1:]
    if len(runs) < MIN_RUNS_TO_PAIR:
        series: list[Series] = [[run[name] for name in enough] for run in runs]
        yield from zip(others, ratios_of_requests(series), strict=True)
        return
    for name in others:
        medians = [[_median(run[variant]) for variant in (variants[0], name)] for run in runs]
        ratios = [other / first for first, other in medians if first and other]
        if len(ratios) >= MIN_RUNS_TO_PAIR:
            yield name, ratio_of_runs(ratios)


def _median(values: Sequence[float | None]) -> float | None:
    good = [value for value in values if value is not None]
    return median(good) if good else None


def _values_by_cell(
    samples: Sequence[Sample], variants: Sequence[str], figure: ComparedFigure
) -> dict[PhaseEndpoint, dict[str, list[float | None]]]:
    """By phase and endpoint, for each variant: the milliseconds in the order of the schedule.

    All variants follow one schedule, some with a small delay, so the n-th request of a kind is the
    same in all (or a neighbour of it). It belongs to the phase in which the first variant sent it.
    None: no good answer, a write that was never visible, or a request that this variant sent in
    another phase.
    """
    sent: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.intended_s):
        if figure == "latency" or sample.endpoint in WRITES:
            sent[sample.variant, sample.endpoint].append(sample)
    cells: dict[PhaseEndpoint, dict[str, list[float | None]]] = {}
    for endpoint in dict.fromkeys(endpoint for _, endpoint in sent):
        for matching in zip(*(sent[name, endpoint] for name in variants), strict=False):
            phase = matching[0].phase
            if phase == WARM_UP:
                continue
            cell = cells.setdefault((phase, endpoint), {name: [] for name in variants})
            for name, sample in zip(variants, matching, strict=True):
                value = sample.latency_ms if figure == "latency" else sample.visible_ms
                counts = sample.ok and sample.phase == phase
                cell[name].append((value or None) if counts else None)
    return cells


def _judge(
    comparison: _Comparison, against: str, confidence: float, floor: NoiseFloor
) -> Difference | None:
    """The difference with its verdict: it is one if the whole interval lies beyond the floor."""
    interval = comparison.interval(confidence)
    if interval is None:
        return None
    low, high = interval
    phase, endpoint = comparison.cell
    return Difference(
        variant=comparison.variant,
        against=against,
        phase=phase,
        endpoint=endpoint,
        figure=comparison.figure,
        ratio=comparison.ratio,
        low=low,
        high=high,
        verdict=_verdict(low, high, floor),
    )


_UNKNOWN: DifferenceVerdict = "no difference shown"


def _verdict(low: float, high: float, floor: NoiseFloor) -> DifferenceVerdict:
    if low > 1 + floor.share:
        return "slower"
    return "faster" if high < 1 / (1 + floor.share) else _UNKNOWN


# ── Noise floor

CONTROL_SCENARIO = "calm"
TWINS = ("sync-chain", "sync-chain-again")
MAX_SAVED = 20
FLOOR_PERCENT = 95
MIN_TWIN_ANSWERS = 50
"""Good answers needed in all phases together; with fewer, the medians also differ by chance."""


class _NoiseRecord(BaseModel):
    share: float
    started: str


def median_gap(samples: Sequence[Sample]) -> float | None:
    """The relative gap between the medians of the twins in one run of `calm` (0.07: 7 %).

    The largest over all endpoints. Each median is over all phases, because `calm` has no fault.
    None if a twin is missing or has too few answers.
    """
    shares = []
    for endpoint in {sample.endpoint for sample in samples}:
        answers = [
            [
                sample.latency_ms
                for sample in samples
                if (sample.variant, sample.endpoint, sample.ok) == (twin, endpoint, True)
                and sample.phase != WARM_UP
                and sample.latency_ms
            ]
            for twin in TWINS
        ]
        if min(map(len, answers)) >= MIN_TWIN_ANSWERS:
            first, second = map(median, answers)
            shares.append(max(first, second) / min(first, second) - 1)
    return max(shares, default=None)


def fingerprint(machine: Mapping[str, Any]) -> str:
    """The identity of a machine, made of the hardware and system in a run's `environment`."""
    system = str(machine.get("system", "")).partition(" ")[0]
    parts = (machine.get("processor"), machine.get("cores"), system, machine.get("machine"))
    return ", ".join(str(part) for part in parts)


def state_file() -> Path:
    """The path of the file with the noise figures of this user's machines."""
    if override := os.environ.get("LAB_STATE"):
        return Path(override) / "noise.json"
    folder = user_state_path("sync-async-lab", appauthor=False)
    if not folder.is_absolute():
        raise RuntimeError(f"{folder}: this user has no home")
    return folder / "noise.json"


def load_noise_floor(machine: Mapping[str, Any]) -> NoiseFloor:
    """The 95th percentile of the figures saved for this machine; the assumed floor if none are."""
    records = _load_records().get(fingerprint(machine), [])
    share = percentile([record.share for record in records], FLOOR_PERCENT)
    if share is None:
        return NoiseFloor()
    return NoiseFloor(
        share=share, runs=len(records), newest=max(record.started for record in records)
    )


def save_noise(machine: Mapping[str, Any], share: float, started: str) -> None:
    """Save the figure of one run of `calm`; keep only the newest twenty of a machine."""
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        path = state_file()
        saved = _load_records()
        records = saved.setdefault(fingerprint(machine), [])
        records.append(_NoiseRecord(share=round(share, 4), started=started))
        records[:] = records[-MAX_SAVED:]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {
            name: [record.model_dump() for record in records] for name, records in saved.items()
        }
        write_private(path, json.dumps(document, indent=2) + "\n")


def _load_records() -> dict[str, list[_NoiseRecord]]:
    """All saved figures, by machine; empty if the file is missing or not valid."""
    try:
        document = json.loads(state_file().read_text(encoding="utf-8"))
        return {
            str(name): [_NoiseRecord.model_validate(record) for record in records]
            for name, records in document.items()
        }
    except (OSError, RuntimeError, ValueError, ValidationError, AttributeError, TypeError):
        return {}
