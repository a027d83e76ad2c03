"""Is it a difference? Each variant's answers beside the first one's, with what may be chance.

A difference is claimed only if two things hold: the interval of the ratio excludes 1, so it is not
the luck of the requests; and the ratio lies beyond the noise floor, so it is more than what two
equal things differ by on this machine (`lab.scenarios.noise`). The intervals hold at 95 % for all
lines of a table *together* (each is taken at 1 - 0.05 / lines: Bonferroni), for who looks at twenty
lines at 95 % each finds a difference in one of them where there is none.

"No difference shown" does not mean that there is none: only that this run can't tell.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from lab.load.plan import WARM_UP
from lab.load.samples import Sample
from lab.scenarios.certainty import Difference, NoiseFloor, Shown
from lab.scenarios.statistics import (
    Estimate,
    Series,
    median,
    ratio_of_runs,
    ratios_of_requests,
)

DOUBT = 0.05
AT_LEAST = 20
"""Good answers that both need in a phase; of fewer the median itself is a guess."""
RUNS_TO_PAIR = 5

Cell = tuple[str, str]
"""A phase and an endpoint."""


def differences(
    runs: Sequence[Sequence[Sample]],
    variants: Sequence[str],
    phases: Sequence[str],
    floor: NoiseFloor,
) -> list[Difference]:
    """Each further variant against the first, by endpoint and phase, wherever both have AT_LEAST
    good answers. `runs`: the samples of each run; all are of the same scenario."""
    places = [_places(run, variants) for run in runs]
    cells = dict.fromkeys(
        (phase, endpoint)
        for endpoint in sorted({endpoint for run in places for _, endpoint in run})
        for phase in phases
    )
    found = [
        (variant, cell, estimate)
        for cell in cells
        for variant, estimate in _estimates([run[cell] for run in places if cell in run], variants)
    ]
    return [
        _judged(variant, variants[0], cell, estimate, 1 - DOUBT / len(found), floor)
        for variant, cell, estimate in found
    ]


def _estimates(
    runs: Sequence[Mapping[str, Sequence[float | None]]], variants: Sequence[str]
) -> Iterator[tuple[str, Estimate]]:
    enough = [
        name
        for name in variants
        if sum(one is not None for run in runs for one in run[name]) >= AT_LEAST
    ]
    if len(enough) < 2 or enough[0] != variants[0]:
        return
    others = enough[1:]
    if len(runs) < RUNS_TO_PAIR:
        series: list[Series] = [[run[name] for name in enough] for run in runs]
        yield from zip(others, ratios_of_requests(series), strict=True)
        return
    for name in others:
        medians = [[_median(run[one]) for one in (variants[0], name)] for run in runs]
        ratios = [other / first for first, other in medians if first and other]
        if len(ratios) >= RUNS_TO_PAIR:
            yield name, ratio_of_runs(ratios)


def _median(values: Sequence[float | None]) -> float | None:
    good = [one for one in values if one is not None]
    return median(good) if good else None


def _places(
    samples: Sequence[Sample], variants: Sequence[str]
) -> dict[Cell, dict[str, list[float | None]]]:
    """By phase and endpoint, for each variant: the latency at each place of the schedule.

    All variants have one schedule, some a little later than others, so the n-th request of a kind
    is the same in all (or its neighbour, where turns change). Its place is in the phase in which
    the first variant sent it; the few that another one sent in another phase are left out.
    """
    sent: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda one: one.intended_s):
        sent[sample.variant, sample.endpoint].append(sample)
    cells: dict[Cell, dict[str, list[float | None]]] = {}
    for endpoint in dict.fromkeys(endpoint for _, endpoint in sent):
        for same in zip(*(sent[name, endpoint] for name in variants), strict=False):
            phase = same[0].phase
            if phase == WARM_UP:
                continue
            cell = cells.setdefault((phase, endpoint), {name: [] for name in variants})
            for name, sample in zip(variants, same, strict=True):
                counts = sample.ok and sample.phase == phase
                cell[name].append((sample.latency_ms or None) if counts else None)
    return cells


def _judged(
    variant: str,
    against: str,
    cell: Cell,
    estimate: Estimate,
    confidence: float,
    floor: NoiseFloor,
) -> Difference:
    low, high = estimate.interval(confidence)
    verdict: Shown = "no difference shown"
    if not low <= 1 <= high and floor.is_passed_by(estimate.ratio):
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
