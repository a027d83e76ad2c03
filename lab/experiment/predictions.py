"""The predictions of a scenario, each with the interval in which the measurement should lie.

A prediction is compared with the measurement, but never makes a run fail. If the measurement lies
outside the interval, either the theory leaves out something that mattered, or the machine did
something else in that moment: a finding that wants a reason, or an oracle that wants mending.

The interval has three sources:

- *chance*: a share of sixty requests, a median of twenty waits, or a rate of few arrivals would
  be another one in the next run. Every figure of the prediction and of the measurement has its own
  interval at 95 % (order statistics, Wilson's score, Student's t, Poisson).
- *the machine*: a time that was measured in one phase is another one in the next, by as much as two
  equal variants differ here (the noise floor).
- *theory*: the share `within` that the scenario grants for what its formula leaves out.

They are independent, so their distances from the prediction are added as squares (the method of
variance estimates recovery: G. Y. Zou and A. Donner, *Construction of confidence limits about
effect measures*, Statistics in Medicine 27, 2008). It needs no formula for each oracle: every
figure is moved to both ends of its interval, one at a time.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import fmean, stdev

from lab.experiment.lag import SAMPLE_INTERVAL_S
from lab.experiment.shares import wilson_interval
from lab.experiment.statistics import Interval, median, quantile_interval, students_t
from lab.load.samples import Sample
from lab.results.expressions import Figure, figure_bounds
from lab.results.paths import lookup, phase_key, unproved_reason
from lab.results.result import Prediction, RunResult
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import PredictionSpec

CONFIDENCE = 0.95


def judge_predictions(
    scenario: Scenario, result: RunResult, samples: Sequence[Sample] = ()
) -> list[Prediction]:
    """Each prediction of the scenario with its figures, in the file's order. `samples`: of all its
    runs; without them, intervals do not contain the chance of latencies."""
    chance = _Chance(result, samples)
    return [_judge_prediction(prediction, result, chance) for prediction in scenario.predict]


def _judge_prediction(spec: PredictionSpec, result: RunResult, chance: "_Chance") -> Prediction:
    answer, reason, predicted, agrees = "", "", None, None
    deviation = low = high = None
    theory, measurement = Figure(spec.predicted), Figure(spec.measured)
    values = {path: lookup(path, result) for path in (*theory.paths, *measurement.paths)}
    try:
        predicted = theory.value(values)
    except ValueError as error:
        answer = str(error)
    measured = measurement.value(values)
    if predicted is not None and measured is not None and math.isfinite(measured):
        below, above = _distances(theory, measurement, values, chance)
        granted = spec.within * abs(predicted)
        low, high = predicted - math.hypot(below, granted), predicted + math.hypot(above, granted)
        low = max(low, 0.0) if predicted >= 0 else low  # no figure of a run is negative
        if spec.measured.strip().endswith(_SHARES) and measurement.paths == [spec.measured.strip()]:
            high = max(predicted, min(high, 1.0))
        deviation = (measured - predicted) / predicted if predicted else None
        unproved = dict.fromkeys(why for path in values if (why := unproved_reason(path, result)))
        if unproved:
            reason = " ".join(unproved)
        else:
            verdicts = _verdicts_at_both_ends(spec, result, low - predicted, high - predicted)
            agrees = verdicts.pop() if len(verdicts) == 1 else None
        if agrees is None and not reason:
            reason = "Requests were sent late: it may lie inside the interval or outside."
    elif predicted is not None and measured == math.inf:
        agrees = False
    return Prediction(
        says=spec.says,
        predicted=predicted,
        measured=measured,
        low=low,
        high=high,
        deviation=deviation,
        within=spec.within,
        agrees=agrees,
        because=spec.because,
        predicted_by=" ".join(spec.predicted.split()),
        measured_as=" ".join(spec.measured.split()),
        answer=answer,
        reason=reason,
    )


def _verdicts_at_both_ends(
    spec: PredictionSpec, result: RunResult, below: float, above: float
) -> set[bool | None]:
    """Whether the measurement lies inside, for all values that both figures may have where the load
    was late; several if that differs."""
    try:
        predicted = figure_bounds(spec.predicted, result)
    except ValueError:
        predicted = None
    measured = figure_bounds(spec.measured, result)
    if predicted is None or measured is None:
        return {None}
    if not all(map(math.isfinite, (*predicted, *measured))):
        return {None}
    off = [value - theory for theory, value in product(predicted, measured)]
    verdicts: set[bool | None] = {below <= one <= above for one in off}
    # On both sides of the interval: the measurement may lie anywhere between.
    return verdicts | ({None} if min(off) < below and above < max(off) else set())


def _distances(
    theory: Figure, measurement: Figure, values: Mapping[str, float | None], chance: "_Chance"
) -> Interval:
    """How far the measurement may lie below and above the prediction by chance."""
    of_theory, of_measurement = set(theory.paths), set(measurement.paths)

    def gap(changed: Mapping[str, float | None]) -> float | None:
        try:
            predicted, measured = theory.value(changed), measurement.value(changed)
        except ValueError:
            return math.inf
        return None if predicted is None or measured is None else measured - predicted

    expected = gap(values) or 0.0
    below: list[float] = []
    above: list[float] = []
    for path in of_theory | of_measurement:
        ends = chance.interval(path, is_input=path in of_theory)
        gaps = [gap({**values, path: end}) for end in ends] if ends else []
        moved = [expected - one for one in gaps if one is not None]
        above.append(max([0.0, *moved]))
        below.append(max([0.0, *(-one for one in moved)]))
    return math.hypot(*below), math.hypot(*above)


# ── The interval of one figure

_SHARES = (".success", ".stale", ".decided")
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class _Chance:
    """The interval of each figure by its path: what it might have been in another run."""

    def __init__(self, result: RunResult, samples: Sequence[Sample]) -> None:
        self._result, self._floor = result, result.noise_floor
        self._samples: dict[tuple[str, str, str], list[Sample]] = {}
        for sample in samples:
            key = (sample.variant, phase_key(sample.phase), sample.endpoint)
            self._samples.setdefault(key, []).append(sample)

    def interval(self, path: str, *, is_input: bool) -> Interval | None:
        """The interval of the figure at a path; None if chance does not move it.

        `is_input`: whether the prediction is made of it; the machine's noise then counts, too."""
        value = lookup(path, self._result)
        if value is None or math.isinf(value):
            return None
        name, section, *rest = path.split(".")
        if section == "lag":
            return self._of_lag(rest[-1], value, is_input)
        variant = self._result.variant(name)
        phase = variant and next(
            (one for key, one in variant.phases.items() if phase_key(key) == section), None
        )
        if not phase:
            return None
        endpoint, figure = rest[0], rest[1]
        counts = phase.endpoints[endpoint]
        if figure in ("success", "degraded", "stale", "decided"):
            total = counts.ok if figure in ("stale", "decided") else counts.sent
            hits = value if figure == "degraded" else value * total
            ends = wilson_interval(round(hits), total) if total else None
            return ends and ((ends[0] * total, ends[1] * total) if figure == "degraded" else ends)
        if figure == "retried":
            return None if is_input else _poisson_interval(value)
        if figure == "rate":
            if section not in ("before", "after"):
                return None  # what did arrive in the very time that the prediction is about
            low, high = _poisson_interval(counts.ok)
            return low / phase.seconds, high / phase.seconds
        return self._of_latencies((name, section, endpoint), figure, value, is_input)

    def _of_lag(self, figure: str, value: float, is_input: bool) -> Interval | None:
        """The lag is read every SAMPLE_INTERVAL_S seconds. The rate of one consumer says that of
        another one as surely as the machine is quiet."""
        if figure in ("outage_seconds", "drained_seconds"):
            return max(0.0, value - SAMPLE_INTERVAL_S), value + SAMPLE_INTERVAL_S
        if figure == "drain_rate" and is_input and self._floor:
            return value * (1 - self._floor.share), value * (1 + self._floor.share)
        return None

    def _of_latencies(
        self, cell: tuple[str, str, str], figure: str, value: float, is_input: bool
    ) -> Interval | None:
        own = self._samples.get(cell, [])
        if figure.startswith("visible_"):
            values = [one.visible_ms for one in own if one.ok and one.visible_ms is not None]
        elif figure == "failed_after_p50":
            values = [one.latency_ms for one in own if not one.ok and one.latency_ms is not None]
        elif figure in (*_QUANTILES, "mean", "max"):
            values = [one.latency_ms for one in own if one.ok and one.latency_ms is not None]
        else:
            return None
        name = figure.rpartition("_")[2]
        low = high = value
        if name in _QUANTILES and values:
            low, high = quantile_interval(values, _QUANTILES[name], CONFIDENCE)
        elif name == "max" and values:
            # A longer one would be one gap further; gaps are exponential, so at most 3 mean gaps.
            high = value + 6 * (value - median(values)) / len(values)
        elif name == "mean" and len(values) > 1:
            error = stdev(values) / math.sqrt(len(values))
            half = students_t(CONFIDENCE, len(values) - 1) * error
            low, high = fmean(values) - half, fmean(values) + half
        noise = value * self._floor.share if is_input and self._floor else 0.0
        below, above = math.hypot(value - low, noise), math.hypot(high - value, noise)
        return max(0.0, value - below), value + above


def _poisson_interval(count: float) -> Interval:
    """The interval of the mean of a Poisson count, from the square root of the count, which has the
    standard deviation ½ (F. J. Anscombe, Biometrika 35, 1948)."""
    root = math.sqrt(count + 3 / 8)
    return max(0.0, root - 0.98) ** 2, (root + 0.98) ** 2
