"""Differences between variants, with their uncertainty, and the noise floor of the machine.

The latencies of each variant are compared with those of the first variant. A difference is reported
only if two conditions hold: the confidence interval of the ratio excludes 1, so that it is not due
to the chance of single requests; and the ratio lies beyond the noise floor, so that it is larger
than the difference of two equal variants on this machine. The intervals hold at 95 % for all lines
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_state_path
from pydantic import BaseModel, ValidationError

from lab.experiment.statistics import Estimate, Series, median, ratio_of_runs, ratios_of_requests
from lab.load.metrics import percentile
from lab.load.plan import WARM_UP
from lab.load.samples import Sample
from lab.results.result import Difference, DifferenceVerdict, NoiseFloor
from lab.support.files import write_private

# ── Differences

SIGNIFICANCE = 0.05
MIN_ANSWERS = 20
"""Good answers that each variant needs in a phase; with fewer, the median itself is a guess."""
MIN_RUNS_TO_PAIR = 5

PhaseEndpoint = tuple[str, str]
"""A phase and an endpoint."""


def compare_latencies(
    runs: Sequence[Sequence[Sample]],
    variants: Sequence[str],
    phases: Sequence[str],
    floor: NoiseFloor,
) -> list[Difference]:
    """Compare each further variant with the first, by endpoint and phase, where both have at least
    AT_LEAST good answers. `runs`: the samples of each run; all runs are of the same scenario."""
    runs_by_cell = [_latencies_by_cell(run, variants) for run in runs]
    cells = dict.fromkeys(
        (phase, endpoint)
        for endpoint in sorted({endpoint for run in runs_by_cell for _, endpoint in run})
        for phase in phases
    )
    estimates = [
        (variant, cell, estimate)
        for cell in cells
        for variant, estimate in _estimates(
            [run[cell] for run in runs_by_cell if cell in run], variants
        )
    ]
    return [
        _judge(variant, variants[0], cell, estimate, 1 - SIGNIFICANCE / len(estimates), floor)
        for variant, cell, estimate in estimates
    ]


def _estimates(
    runs: Sequence[Mapping[str, Sequence[float | None]]], variants: Sequence[str]
) -> Iterator[tuple[str, Estimate]]:
    enough = [
        name
        for name in variants
        if sum(latency is not None for run in runs for latency in run[name]) >= MIN_ANSWERS
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


def _latencies_by_cell(
    samples: Sequence[Sample], variants: Sequence[str]
) -> dict[PhaseEndpoint, dict[str, list[float | None]]]:
    """By phase and endpoint, for each variant: the latencies (ms) in the order of the schedule.

    All variants follow one schedule, some with a small delay, so the n-th request of a kind is the
    same in all (or a neighbour of it). It belongs to the phase in which the first variant sent it.
    None: no good answer, or a request that this variant sent in another phase.
    """
    sent: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.intended_s):
        sent[sample.variant, sample.endpoint].append(sample)
    cells: dict[PhaseEndpoint, dict[str, list[float | None]]] = {}
    for endpoint in dict.fromkeys(endpoint for _, endpoint in sent):
        for matching in zip(*(sent[name, endpoint] for name in variants), strict=False):
            phase = matching[0].phase
            if phase == WARM_UP:
                continue
            cell = cells.setdefault((phase, endpoint), {name: [] for name in variants})
            for name, sample in zip(variants, matching, strict=True):
                counts = sample.ok and sample.phase == phase
                cell[name].append((sample.latency_ms or None) if counts else None)
    return cells


def _judge(
    variant: str,
    against: str,
    cell: PhaseEndpoint,
    estimate: Estimate,
    confidence: float,
    floor: NoiseFloor,
) -> Difference:
    low, high = estimate.interval(confidence)
    verdict: DifferenceVerdict = "no difference shown"
    if not low <= 1 <= high and floor.is_exceeded_by(estimate.ratio):
        verdict = "slower" if estimate.ratio > 1 else "faster"
    return Difference(
        variant=variant,
        against=against,
        phase=cell[0],
        endpoint=cell[1],
        ratio=estimate.ratio,
        low=low,
        high=high,
        verdict=verdict,
    )


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
