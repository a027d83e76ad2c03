"""The model against the real lab: scenarios that run really and simulated, over the same seeds.

Each real run gives the parameters of its own simulation, from the time before its first fault: so
a slow machine is in the parameters, and what the model adds (faults, queues, policies, copies) is
what is tested. What a run did not measure comes from the other runs of its scenario, then from all
runs, at its own pace. Samples of all seeds are pooled before figures are computed.

Latencies count from the moment that a request was sent: what the load generator was behind is no
part of the blog. `again` is the error of the real lab against itself: the runs with even numbers
against those with odd ones. No model can be held to less.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any, Self

from lab.cluster.errors import LabCannotRun
from lab.experiment import runner
from lab.load.metrics import LATE_AFTER_MS, percentile
from lab.load.samples import WRITES, Sample, read_samples
from lab.results.result import ResultError, RunResult, VariantResult
from lab.results.run_folder import drop_databases
from lab.scenarios.scenario import Scenario
from lab.simulation.fleet.calibration import Measured, measure
from lab.simulation.fleet.fleets import BLOG
from lab.simulation.fleet.model import simulate, why_not_covered
from lab.simulation.fleet.outcome import to_result
from lab.simulation.fleet.parameters import BadParameters, Parameters, shipped_parameters

VALIDATION = Path(__file__).with_name("validation.json")
"""What the validation found that comes with the lab."""

BOUNDS = {
    "success": 0.05,
    "p50": 0.25,
    "p99": 0.50,
    "visible_p50": 0.30,
    "lag": 0.50,
    "recovery": 0.50,
}
"""The largest error with which a figure is still extrapolated: success in shares (5 points), the
recovery in seconds, the others relative to the real figure."""
GOALS = {"p50": 0.10, "success": 0.02, "visible_p50": 0.15}
"""The median error over all figures that the model should reach."""
FEWEST = 20
"""Requests of which a figure is compared; a p99 needs a hundred."""
LEAST_LAG = 10
LATE_SHARE = 0.05
"""With more requests than this sent late, the real run measured a busy machine and not the blog."""
BUSY = (
    "The machine was busy: in each of {seeds} real runs, more than "
    f"{LATE_SHARE:.0%} of the requests were sent late, or the result was not valid."
)

DRAWS = 5
"""Simulations of each real run. Together they have the figures that the model expects; the chance
of a single one is no error of the model."""

Run = tuple[RunResult, Sequence[Sample]]


@dataclass(frozen=True)
class Figure:
    """A figure, really and simulated. `phase` and `endpoint`: "" for one of a whole run; `endpoint`
    of a lag: the consumer. `n`: the real requests (or runs) behind it. `again`: the error of the
    real lab against itself, None with one run."""

    scenario: str
    variant: str
    phase: str
    endpoint: str
    name: str
    real: float
    simulated: float
    n: int
    again: float | None = None

    @property
    def error(self) -> float:
        """As `BOUNDS` has it."""
        return _error(self.name, self.real, self.simulated)

    @property
    def refused(self) -> bool:
        return not self.error <= BOUNDS[self.name]

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.variant, self.phase, self.endpoint, self.name


@dataclass(frozen=True)
class Validation:
    """What was compared. `refused`: by scenario, (variant, phase, endpoint, figure); `left_out`:
    why a scenario has no figures; `load`: the load average of the machine, lowest and highest."""

    machine: str
    measured: str
    seeds: tuple[int, ...]
    load: tuple[float, float]
    scenarios: tuple[str, ...]
    summary: Mapping[str, Mapping[str, float]]
    refused: Mapping[str, Sequence[tuple[str, str, str, str]]]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        raw: dict[str, Any] = json.loads(text)
        raw["refused"] = {
            name: [tuple(key) for key in keys] for name, keys in raw["refused"].items()
        }
        for key in ("seeds", "load", "scenarios"):
            raw[key] = tuple(raw[key])
        return cls(**raw)


def shipped_validation() -> Validation:
    return Validation.from_json(VALIDATION.read_text("utf-8"))


# ── One scenario


@dataclass(frozen=True)
class RealRun:
    """A real run, its samples, and the times that it measured before its first fault."""

    result: RunResult
    samples: Sequence[Sample]
    measured: Measured


def read_run(folder: Path) -> RealRun | None:
    """A saved run; None if it measured a busy machine, or has no valid result."""
    result = RunResult.load_file(folder / "result.json")
    samples = read_samples(folder / "samples.csv")
    late = sum(sample.lag_ms > LATE_AFTER_MS for sample in samples)
    if not result.valid or late > LATE_SHARE * len(samples):
        return None
    return RealRun(result, samples, measure(folder))


def compare_scenario(scenario: Scenario, real: Sequence[RealRun], base: Parameters) -> list[Figure]:
    """The figures of real runs of a scenario, each with that of its simulation. `base`: for times
    that no run of it measured before its fault."""
    together = Measured()
    for run in real:
        together += run.measured
    pooled = together.parameters(base, own_faults=False)
    simulated = []
    for run in real:
        try:
            parameters = run.measured.parameters(pooled, own_faults=False)
        except BadParameters:  # too little happened in this one
            parameters = pooled
        simulated += [
            to_result(simulate(scenario, parameters, run.result.seed, BLOG, draw))
            for draw in range(DRAWS)
        ]
    return list(compare_runs(scenario.name, [(run.result, run.samples) for run in real], simulated))


def compare_runs(name: str, real: Sequence[Run], simulated: Sequence[Run]) -> Iterator[Figure]:
    """All figures that both have, of enough requests."""
    found, model = _figures(real), _figures(simulated)
    odd, even = _figures(real[::2]), _figures(real[1::2])
    for key, (value, count) in found.items():
        if key not in model:
            continue
        again = _error(key[-1], odd[key][0], even[key][0]) if key in odd and key in even else None
        yield Figure(name, *key, value, model[key][0], count, again)


def _error(name: str, real: float, other: float) -> float:
    gap = abs(other - real)
    if name in ("success", "recovery"):
        return gap
    return gap / max(real, LEAST_LAG if name == "lag" else 1e-9)


def _figures(runs: Sequence[Run]) -> dict[tuple[str, str, str, str], tuple[float, int]]:
    """By (variant, phase, endpoint, figure): the value, and how many requests it is of."""
    found: dict[tuple[str, str, str, str], tuple[float, int]] = {}
    cells: dict[tuple[str, str, str], list[Sample]] = defaultdict(list)
    for result, samples in runs:
        phases = {variant.name: set(variant.phases) for variant in result.variants}
        for sample in samples:
            if sample.phase in phases[sample.variant] and not sample.dropped:
                cells[sample.variant, sample.phase, sample.endpoint].append(sample)
    for place, own in cells.items():
        judged = [sample for sample in own if sample.error != "interrupted"]
        good = [sample for sample in judged if sample.ok]
        if len(judged) >= FEWEST:
            found[*place, "success"] = len(good) / len(judged), len(judged)
        _add_times(found, place, "", [_since_sent(s, s.latency_ms) for s in good])
        if place[2] in WRITES:
            _add_times(found, place, "visible_", [_since_sent(s, s.visible_ms) for s in good])
    for variant in {one.name: one for result, _ in runs for one in result.variants}:
        own_results = [one for result, _ in runs for one in result.variants if one.name == variant]
        _add_lag_and_recovery(found, variant, own_results)
    return found


def _since_sent(sample: Sample, since_due_ms: float | None) -> float | None:
    return None if since_due_ms is None else since_due_ms - sample.lag_ms


def _add_times(
    found: dict[tuple[str, str, str, str], tuple[float, int]],
    place: tuple[str, str, str],
    prefix: str,
    times_ms: Sequence[float | None],
) -> None:
    known = [ms for ms in times_ms if ms is not None]
    for percent, fewest in ((50, FEWEST), (99, 5 * FEWEST)):
        name = f"{prefix}p{percent}"
        value = percentile(known, percent)
        if name in BOUNDS and value is not None and len(known) >= fewest:
            found[*place, name] = value, len(known)


def _add_lag_and_recovery(
    found: dict[tuple[str, str, str, str], tuple[float, int]],
    variant: str,
    results: Sequence[VariantResult],
) -> None:
    recovery = [one.recovery_seconds for one in results if one.recovery_seconds is not None]
    if recovery:
        found[variant, "", "", "recovery"] = fmean(recovery), len(recovery)
    for consumer in {name for one in results for name in one.lag}:
        most = [one.lag[consumer].max for one in results if consumer in one.lag]
        found[variant, "", consumer, "lag"] = fmean(most), len(most)


# ── All of them


def summarize(figures: Sequence[Figure]) -> dict[str, dict[str, float]]:
    """By figure: how many there are, their median and worst error, the worst of those that are not
    refused, how many are refused, and the median error of the real lab against itself."""
    found = {}
    for name in BOUNDS:
        own = [figure for figure in figures if figure.name == name]
        if not own:
            continue
        again = [figure.again for figure in own if figure.again is not None]
        found[name] = {
            "figures": float(len(own)),
            "median": median(figure.error for figure in own),
            "worst": max(figure.error for figure in own),
            "worst_kept": max((f.error for f in own if not f.refused), default=0.0),
            "refused": float(sum(figure.refused for figure in own)),
        }
        if again:
            found[name]["again"] = median(again)
    return found


def to_validation(
    figures: Sequence[Figure],
    parameters: Parameters,
    seeds: Sequence[int],
    load: tuple[float, float],
    left_out: Mapping[str, str],
) -> Validation:
    names = tuple(dict.fromkeys(figure.scenario for figure in figures))
    return Validation(
        machine=parameters.machine,
        measured=parameters.measured,
        seeds=tuple(seeds),
        load=load,
        scenarios=names,
        summary=summarize(figures),
        refused={
            name: sorted(f.key for f in figures if f.scenario == name and f.refused)
            for name in names
        },
        left_out=dict(left_out),
    )


# ── Real runs


@dataclass
class Comparison:
    """What a validation found. `left_out`: by scenario, why it has no figures; `parameters`: the
    times of all its runs, before their first faults."""

    figures: list[Figure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)
    seeds: tuple[int, ...] = ()
    parameters: Parameters | None = None

    def to_validation(self) -> Validation:
        return to_validation(
            self.figures,
            self.parameters or shipped_parameters(),
            self.seeds,
            (min(self.load, default=0.0), max(self.load, default=0.0)),
            self.left_out,
        )


async def validate(
    scenarios: Sequence[Scenario],
    seeds: Sequence[int],
    folder: Path,
    quick: bool = False,
    progress: Callable[[str], None] = lambda doing: None,
    kept: bool = False,
) -> Comparison:
    """Run each scenario really with each seed, into `folder`, and simulate it with the times of
    these runs. Scenarios that the model does not cover are left out, and say why. `kept`: take the
    runs that are in `folder`, instead of new ones."""
    found = Comparison(seeds=tuple(seeds))
    real: dict[str, list[RealRun]] = {}
    for scenario in scenarios:
        name = scenario.name
        if reason := why_not_covered(scenario):
            found.left_out[name] = reason
            continue
        real[name] = []
        for seed in seeds:
            own = folder / f"{name}-{seed}"
            try:
                if not kept:
                    progress(f"{name}: a real run with seed {seed}")
                    found.load.append(os.getloadavg()[0])
                    run = await _run_really(scenario, own, seed, quick)
                else:
                    run = read_run(own)
            except (LabCannotRun, ResultError) as error:
                found.left_out[name] = str(error)
                continue
            real[name] += [run] if run else []
        if not real[name]:
            found.left_out.setdefault(name, BUSY.format(seeds=len(seeds)))
        else:
            found.left_out.pop(name, None)
    together = Measured()
    for runs in real.values():
        for run in runs:
            together += run.measured
    if together.runs:
        found.parameters = together.parameters()
        base = together.parameters(own_faults=False)
        for scenario in scenarios:
            if runs := real.get(scenario.name, []):
                progress(f"{scenario.name}: simulated with the times of its runs")
                found.figures += compare_scenario(scenario, runs, base)
    return found


async def _run_really(scenario: Scenario, folder: Path, seed: int, quick: bool) -> RealRun | None:
    """A real run; a second one, if the machine was busy during the first one."""
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        await runner.Run(scenario, folder, seed, quick)()
        drop_databases(folder)
        if run := read_run(folder):
            return run
    return None


# ── What is refused


def refuse(result: RunResult, validation: Validation) -> list[str]:
    """Take the figures out of a simulated result for which the model missed the real lab by more
    than `BOUNDS`; returns their names, as `naive.during.read_feed.p50`.

    A scenario that was never validated keeps its figures; `validation.scenarios` says which were.
    """
    refused = []
    variants = {variant.name: variant for variant in result.variants}
    missed = validation.refused.get(result.scenario, ())
    for variant, phase, endpoint, name in sorted(missed, key=lambda key: key[-1] == "success"):
        own = variants.get(variant)
        if own is None or not _remove(own, phase, endpoint, name):
            continue
        refused.append(".".join(part for part in (variant, phase, endpoint, name) if part))
    return refused


def _remove(variant: VariantResult, phase: str, endpoint: str, name: str) -> bool:
    if name == "recovery":
        variant.recovery_seconds, variant.recovery = None, None
        return True
    if name == "lag":
        return variant.lag.pop(endpoint, None) is not None
    figures = variant.phases[phase].endpoints.get(endpoint) if phase in variant.phases else None
    if figures is None:
        return False
    if name == "success":
        # Latencies are those of what succeeded: they would be of other requests.
        del variant.phases[phase].endpoints[endpoint]
    elif name == "visible_p50":
        if figures.visible_ms is None:
            return False
        figures.visible_ms = figures.visible_ms.model_copy(update={"p50": None})
    else:
        figures.latency_ms = figures.latency_ms.model_copy(update={name: None})
    return True
