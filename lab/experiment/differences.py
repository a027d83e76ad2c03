"""Differences between variants, with their uncertainty, and the noise floor of the machine.

The latencies of each variant are compared with those of the first variant. A difference is
reported only if the whole confidence interval of the factor lies beyond the noise floor: so it is
neither due to the chance of single requests nor as small as the difference of two equal variants on
this machine. The intervals hold at 95 % for all lines of a table *together*: each line uses the
confidence 1 - 0.05 / lines (Bonferroni). With 95 % for each line, a table of twenty lines would on
average show one difference that does not exist.

Requests of one moment are compared with requests of the same moment (`statistics.blocks_in_time`),
not the n-th with the n-th: where one variant sends fewer (a closed loop, or the follow-ups of posts
that failed), the n-th of the one is not the n-th of the other.

The latencies are those of good answers. Where requests failed, a difference is reported only if the
verdict is the same with every failure counted as longer than any answer: a variant that gives up on
its slow requests is not faster. `visible` counts a write that readers never saw in the same way.

"No difference shown" does not mean that there is none. It means that this run cannot show one.
`python -m tests.bench simulated` counts how often a difference is reported that does not exist.

The noise floor comes from the scenario `calm`, which runs the chain against itself, under one
schedule and at the same time. The two copies differ for reasons outside the arrangement: memory
layout, the cores of the processes, the order in which requests are served. More requests do not
remove this, so a confidence interval does not include it. Each valid run of `calm` saves its figure
by machine in the user's state folder, or in the folder that the environment variable LAB_STATE
names. The newest twenty make the floor (`floor_share`). If the file cannot be written, the figure
is not saved.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from platformdirs import user_state_path
from pydantic import BaseModel, ValidationError

from lab.experiment.lateness import BoundedSample, at_both_ends
from lab.experiment.statistics import (
    Interval,
    Timed,
    blocks_in_time,
    factor_interval,
    factor_of_few,
    median,
)
from lab.load.metrics import percentile
from lab.load.plan import WARM_UP
from lab.load.samples import WRITES, Sample
from lab.results.result import ASSUMED_NOISE, Difference, DifferenceVerdict, NoiseFloor
from lab.support.files import write_private

# ── Differences

SIGNIFICANCE = 0.05
MIN_ANSWERS = 20
"""Answers that each variant needs in a phase for blocks of time."""
MIN_FEW_ANSWERS = 6

PhaseEndpoint = tuple[str, str]
"""A phase and an endpoint."""
ComparedFigure = Literal["latency", "visible"]


@dataclass(frozen=True)
class _Comparison:
    """What is compared in one line. `runs`: for each run, the first variant's latencies and the
    other's; infinite where there was no good answer, or where a write was never seen."""

    figure: ComparedFigure
    cell: PhaseEndpoint
    variant: str
    runs: Sequence[tuple[Timed, Timed]]

    def values(self, which: int) -> list[float]:
        """The latencies of good answers of the first variant (0), or of the other (1)."""
        return [ms for run in self.runs for _, ms in run[which] if ms < math.inf]

    def interval(self, confidence: float, *, with_failures: bool) -> Interval | None:
        """The interval of the factor; None if there are too few answers for one."""
        blocks = [
            block
            for run in self.runs
            for block in blocks_in_time(
                *([one for one in own if with_failures or one[1] < math.inf] for own in run)
            )
        ]
        first, other = ([ms for block in blocks for ms in block[which]] for which in (0, 1))
        if min(len(first), len(other)) >= MIN_ANSWERS:
            return factor_interval(blocks, confidence)
        if min(len(first), len(other)) >= MIN_FEW_ANSWERS:
            # Neighbours in time have something in common, and here no blocks allow for it: half of
            # the permitted error is left for that (`python -m tests.bench simulated`).
            return factor_of_few(first, other, (1 + confidence) / 2)
        return None


def compare_medians(
    runs: Sequence[Sequence[BoundedSample]],
    variants: Sequence[str],
    phases: Sequence[str],
    floor: NoiseFloor,
) -> list[Difference]:
    """Compare each further variant with the first, by endpoint and phase: the latency, and the time
    until a write was visible. `runs`: the samples of each run; all runs are of one scenario.

    Where the load was late, the interval spans those at both ends of the latencies.

    With fewer than MIN_ANSWERS requests of one of the two, the interval comes from the exact
    distribution of the rank sum. It is wide, but 312 ms against 3 ms needs no more than six
    answers of each.
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
    if not at_ends:
        return measured
    known = [one for one in at_ends if one is not None]
    low = min([measured.low, *(one.low for one in known)])
    high = max([measured.high, *(one.high for one in known)])
    verdicts = {measured.verdict, *(one.verdict for one in known), _verdict(low, high, floor)}
    update: dict[str, object] = {"low": low, "high": high}
    if len(known) < len(at_ends) or len(verdicts) > 1:
        update["verdict"] = _UNKNOWN
        if measured.verdict != _UNKNOWN:
            update["reason"] = (
                "Requests were sent late, and that alone may have made this difference."
            )
    return measured.model_copy(update=update)


def _comparisons(
    figure: ComparedFigure,
    runs: Sequence[Sequence[Sample]],
    variants: Sequence[str],
    phases: Sequence[str],
) -> Iterator[_Comparison]:
    """All lines for which both variants have enough good answers."""
    of_runs = [_latencies_by_cell(run, figure) for run in runs]
    endpoints = sorted({endpoint for run in of_runs for _, _, endpoint in run})
    for endpoint in endpoints:
        for phase in phases:
            for name in variants[1:]:
                pairs = [
                    (
                        run.get((variants[0], phase, endpoint), []),
                        run.get((name, phase, endpoint), []),
                    )
                    for run in of_runs
                ]
                comparison = _Comparison(figure, (phase, endpoint), name, pairs)
                if min(len(comparison.values(0)), len(comparison.values(1))) >= MIN_FEW_ANSWERS:
                    yield comparison


def _latencies_by_cell(
    samples: Sequence[Sample], figure: ComparedFigure
) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """By variant, phase and endpoint: when each request was due, and its milliseconds."""
    cells: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for sample in samples:
        not_counted = sample.phase == WARM_UP or sample.dropped or sample.error == "interrupted"
        if not_counted or (figure == "visible" and sample.endpoint not in WRITES):
            continue
        ms = sample.latency_ms if figure == "latency" else sample.visible_ms
        cell = cells.setdefault((sample.variant, sample.phase, sample.endpoint), [])
        cell.append((sample.intended_s, ms if sample.ok and ms else math.inf))
    return cells


def _judge(
    comparison: _Comparison, against: str, confidence: float, floor: NoiseFloor
) -> Difference | None:
    """The difference with its verdict: it is one if the whole interval lies beyond the floor."""
    interval = comparison.interval(confidence, with_failures=False)
    if interval is None or not 0 < interval[0] <= interval[1] < math.inf:
        return None
    first, other = comparison.values(0), comparison.values(1)
    ratio = median(other) / median(first)
    low, high = min(interval[0], ratio), max(interval[1], ratio)
    verdict, reason = _verdict(low, high, floor), ""
    if verdict != _UNKNOWN and any(
        ms == math.inf for run in comparison.runs for own in run for _, ms in own
    ):
        of_all = comparison.interval(confidence, with_failures=True) or (0.0, math.inf)
        if _verdict(*of_all, floor) != verdict:
            verdict, reason = _UNKNOWN, _failures_matter(comparison)
    phase, endpoint = comparison.cell
    return Difference(
        variant=comparison.variant,
        against=against,
        phase=phase,
        endpoint=endpoint,
        figure=comparison.figure,
        ratio=ratio,
        low=low,
        high=high,
        verdict=verdict,
        reason=reason,
    )


def _failures_matter(comparison: _Comparison) -> str:
    """Why the good answers alone show a difference that all requests together do not."""
    word = "succeeded" if comparison.figure == "latency" else "were seen by readers"
    shares = [
        f"{len(comparison.values(which))} of {sum(len(run[which]) for run in comparison.runs)}"
        for which in (1, 0)
    ]
    return (
        f"Only {shares[0]} requests {word}, against {shares[1]}: with the others counted as the "
        "slowest, no difference is shown."
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
    """The floor from the figures saved for this machine; the assumed one if none are."""
    records = _load_records().get(fingerprint(machine), [])
    if not records:
        return NoiseFloor()
    return NoiseFloor(
        share=floor_share([record.share for record in records]),
        runs=len(records),
        newest=max(record.started for record in records),
    )


def floor_share(gaps: Sequence[float]) -> float:
    """The floor from the gaps between equal variants, one of each run: their 95th percentile, times
    a factor for the number of runs.

    A few runs do not tell how large the gap can be: the equal variants of one run may be near each
    other by chance. So the floor is an upper bound, as the upper end of a standard deviation's
    interval is: √(n / χ²) times as much, with the 5 % quantile of χ² (by E. B. Wilson and M. M.
    Hilferty, *The distribution of chi-square*, PNAS 17, 1931). That is 1.6 times as much for ten
    runs, and 1.4 times for twenty. The assumed floor is enough unless a larger gap was measured.
    """
    measured = percentile(gaps, FLOOR_PERCENT) or 0.0
    scale = 2 / (9 * len(gaps))
    root = max(_SMALL, 1 - scale - _Z_95 * math.sqrt(scale))
    return min(measured / math.pow(root, 1.5), max(measured, ASSUMED_NOISE))


_Z_95 = 1.645
_SMALL = 1e-9


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
