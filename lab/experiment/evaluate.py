"""Turns samples and fault evidence into figures, and figures into verdicts and predictions.

Nothing here reads or writes files. Only `reassign_interrupted` changes its argument.

A fault on every hop is one method with one injection for each hop. Each hop has its own fault
filter and its own random numbers, so a rare fault need not act on every hop. It counts as having
acted if it acted on at least one hop and was removed from all of them.

A request that is under way when a fault begins counts in the phase of the fault. Counted in the
phase before, it would make a healthy service look faulty.

Where the load was late, a figure has two ends (`uncertainty.py`). A verdict is given only if it is
the same at both; otherwise it is "not measured", with the reason. So a late load makes a run less
certain, but not invalid, unless nothing at all can be judged.

A prediction is compared with the measurement, but never makes a run fail. If it is off, either the
theory leaves out something that mattered, or the machine was busy.
"""

from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any

from lab.cluster.bus_engines import redact_options
from lab.cluster.injector import Injection
from lab.cluster.program import Exit
from lab.load.metrics import phase_figures, recovery_seconds
from lab.load.samples import WRITES, Sample
from lab.results.expressions import evaluate, evaluate_figure, figure_bounds
from lab.results.result import (
    CheckerCounts,
    Expectation,
    FaultEvidence,
    PhaseResult,
    Prediction,
    RunResult,
    VariantResult,
)
from lab.results.timeline import Timeline
from lab.scenarios.external import external_notes
from lab.scenarios.overrides import existing_bus_notes
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import PredictionSpec

# ── Fault evidence

_SUMMED_COUNTS = ("visitors", "acted")


def merge_evidence(injections: Sequence[Injection], in_sequence: bool) -> list[FaultEvidence]:
    """The evidence of each fault; the injections of one method on every hop are merged."""
    groups: dict[object, list[Injection]] = {}
    for injection in injections:
        groups.setdefault(
            (injection.group, injection.fault.kind) if injection.group else injection.name, []
        ).append(injection)
    return [_merged_evidence(group, in_sequence) for group in groups.values()]


def _merged_evidence(injections: Sequence[Injection], in_sequence: bool) -> FaultEvidence:
    first = injections[0]
    kind, target = first.fault.kind, first.group or first.fault.target
    in_filter = first.fault.acts_on == "door"
    evidence: dict[str, Any] = dict(first.evidence)
    if first.group:
        each_evidence = [injection.evidence for injection in injections]
        sums = {
            name: sum(counts.get(name, 0) for counts in each_evidence)
            for name in _SUMMED_COUNTS
            if in_filter
        }
        evidence = {"targets": len(injections), **sums}
    removed = all(injection.removed for injection in injections)
    return FaultEvidence(
        kind=kind,
        target=target,
        acted=removed and (any if in_filter else all)(injection.acted for injection in injections),
        phase=f"{target} {kind}" if in_sequence else "during",
        evidence=evidence | {"settings": first.fault.settings(), "healed": removed},
    )


# ── Figures and verdicts

MAX_LATE_SHARE = 0.5
"""A run that expects nothing is not valid if more of its requests were late."""


def variant_result(
    scenario: Scenario,
    name: str,
    samples: Sequence[Sample],
    data: CheckerCounts | None,
    injections: Sequence[Injection],
    exits: Sequence[Exit] = (),
    alarms: Sequence[str] = (),
    extra_keys: Mapping[str, Any] = MappingProxyType({}),
) -> VariantResult:
    """One variant's part of the result. `data`: None when its stored data could not be read.
    `exits`: the programs, of any variant, that exited unexpectedly. `alarms`: impossible states
    that its services reported. `extra_keys`: further keys of the result."""
    timeline = scenario.timeline()
    reported = scenario.reported_phases()
    seconds = {phase.name: phase.seconds for phase in timeline.phases if phase.name in reported}
    figures = phase_figures(samples, seconds)
    recovery = None
    if disturbance := timeline.disturbance(name):
        recovery = recovery_seconds(samples, disturbance[1], figures["before"]["endpoints"])
    spec = scenario.variants[name]
    faults = merge_evidence(injections, scenario.in_sequence)
    last_lines = {death.name: death.last_lines[-1:] for death in exits}
    ended = [target for target in spec.may_end if f"{name}.{target}" in last_lines]
    return VariantResult(
        name=name,
        arrangement=spec.arrangement,
        options=redact_options(spec.options) | spec.loop_options,
        phases={phase: PhaseResult.model_validate(of_phase) for phase, of_phase in figures.items()},
        data=data,
        recovery_seconds=recovery,
        faults=faults,
        ended=ended,
        notes=[
            *(
                " ".join((f"{target} ended by itself.", *last_lines[f"{name}.{target}"]))
                for target in ended
            ),
            *existing_bus_notes(scenario, name),
            *external_notes(scenario, name),
            *(
                f"{fault.target} {fault.kind} affected no request here, because hardly any came: "
                "services that hold a copy of the data do not call the others."
                for fault in faults
                if not spec.is_own and _affected_nothing(fault)
            ),
            *(f"ALARM of {alarm}" for alarm in alarms),
        ],
        **extra_keys,
    )


def validity_problems(scenario: Scenario, result: RunResult, exits: Sequence[Exit]) -> list[str]:
    """The reasons why a run is not valid, one sentence each; empty when it is valid."""
    problems = []
    for variant in result.variants:
        for proof in variant.faults:
            is_own = scenario.variants[variant.name].is_own
            if not proof.acted and (is_own or not _affected_nothing(proof)):
                seen = ", ".join(f"{name} {value}" for name, value in proof.evidence.items())
                problems.append(
                    f"{proof.kind} on {proof.target} of {variant.name} is not proved to have acted "
                    f"and to have gone ({seen}). Give it more time, or more traffic."
                )
        problems += [
            f"{variant.name}: the new {newcomer.service} did not catch up; it had consumed "
            f"{newcomer.events} events when its time was over. Give it a shorter history."
            for newcomer in variant.newcomers
            if newcomer.seconds is None
        ]
        if variant.data and not variant.data.acknowledged and _has_writes(scenario):
            problems.append(f"{variant.name}: not one write was acknowledged; nothing is proved.")
    if _nothing_can_be_judged(scenario, result):
        of_all = f"{result.load.late} of {requests_sent(result)} requests"
        problems.append(
            f"Nothing can be judged: the load sent {of_all} more than 10 ms late and "
            f"{result.load.dropped} not at all, so that it measured itself. Is something else busy "
            "on this machine? Or lower --rate."
        )
    for steady in scenario.steady_state:
        for variant in result.variants:
            outcome = evaluate(steady, result, steady_in=variant.name)
            if outcome.holds is not True and not outcome.uncertain:
                detail = (
                    "but nothing of the kind was due in that time. Raise --rate, or the seconds"
                )
                if outcome.measured is not None:
                    detail = f"measured {outcome.measured:.4g}"
                problems.append(
                    f"{variant.name} was not well before anything was broken: wanted {steady}, "
                    f"{detail}."
                )
    allowed = {
        f"{variant.name}.{target}" for variant in result.variants for target in variant.ended
    }
    problems += [
        f"{death.name} exited unexpectedly (status {death.status}): "
        f"{' | '.join(death.last_lines[-3:])}"
        for death in exits
        if death.name not in allowed
    ]
    return problems


def requests_sent(result: RunResult) -> int:
    """The number of requests that were sent in all reported phases."""
    return sum(
        endpoint.sent
        for variant in result.variants
        for phase in variant.phases.values()
        for endpoint in phase.endpoints.values()
    )


def _nothing_can_be_judged(scenario: Scenario, result: RunResult) -> bool:
    """Whether the load was so late that no expectation has a verdict."""
    if not scenario.expect:
        wanted = requests_sent(result) + result.load.dropped
        return result.load.late + result.load.dropped > MAX_LATE_SHARE * wanted
    outcomes = [evaluate(expect.that, result) for expect in scenario.expect]
    uncertain = any(outcome.uncertain for outcome in outcomes)
    return uncertain and all(outcome.holds is None for outcome in outcomes)


def _affected_nothing(proof: FaultEvidence) -> bool:
    """Whether a fault in a fault filter was removed without having affected any request."""
    evidence = proof.evidence
    return bool(evidence.get("healed")) and evidence.get("acted") == 0 and "visitors" in evidence


def judge_expectations(scenario: Scenario, result: RunResult) -> list[Expectation]:
    """Each expectation with its verdict. `measured`: the left value of the deciding comparison."""
    expectations = []
    for expect in scenario.expect:
        outcome = evaluate(expect.that, result)
        verdict = {True: "holds", False: "fails", None: "not measured"}[outcome.holds]
        expectations.append(
            Expectation.model_validate(
                {
                    "says": expect.says,
                    "claim": expect.claim,
                    "that": expect.that,
                    "verdict": verdict,
                    "expected": outcome.expected,
                    "measured": outcome.measured,
                    "values": outcome.values,
                    "reason": outcome.reason,
                }
            )
        )
    return expectations


def _has_writes(scenario: Scenario) -> bool:
    """Whether the load includes writes; a run without an acknowledged one then proves nothing."""
    return any(weight > 0 for action, weight in scenario.load.mix.items() if action in WRITES)


# ── Requests that a fault interrupted


def reassign_interrupted(samples: Sequence[Sample], timeline: Timeline) -> int:
    """Move each sample that was under way when a fault began from its phase without faults to the
    phase of that fault. Changes `phase` of the samples in place; returns how many it changed."""
    moved = 0
    healthy = {phase.name for phase in timeline.phases if not phase.faults}
    for phase in timeline.phases:
        if not phase.faults:
            continue
        first_s = min(window.from_s for window in phase.faults)
        affected = {name for window in phase.faults for name in window.variants}
        for sample in samples:
            if (
                sample.variant in affected
                and sample.phase in healthy
                and sample.intended_s < first_s < _end_s(sample)
            ):
                sample.phase = phase.name
                moved += 1
    return moved


def _end_s(sample: Sample) -> float:
    """Seconds from the start of the run to the answer or failure; the intended send time if there
    was neither."""
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000


# ── Predictions


def judge_predictions(scenario: Scenario, result: RunResult) -> list[Prediction]:
    """Each prediction of the scenario with its figures, in the file's order."""
    return [_judge_prediction(prediction, result) for prediction in scenario.predict]


def _judge_prediction(spec: PredictionSpec, result: RunResult) -> Prediction:
    answer, predicted = "", None
    try:
        predicted = evaluate_figure(spec.predicted, result)
    except ValueError as error:
        answer = str(error)
    measured = evaluate_figure(spec.measured, result)
    deviation = agrees = None
    reason = ""
    if predicted and measured is not None:
        deviation = (measured - predicted) / predicted
        deviations = _deviation_bounds(spec, result)
        verdicts = {abs(end) <= spec.within for end in deviations}
        # On both sides of the right value: it may be anything between.
        if len(verdicts) == 1 and not deviations[0] < -spec.within <= spec.within < deviations[1]:
            agrees = verdicts.pop()
        else:
            low, high = (f"{end:+.0%}" if abs(end) < inf else "any" for end in deviations)
            reason = f"Requests were sent late: it may be off by {low} to {high}."
    return Prediction(
        says=spec.says,
        predicted=predicted,
        measured=measured,
        deviation=deviation,
        within=spec.within,
        agrees=agrees,
        because=spec.because,
        predicted_by=" ".join(spec.predicted.split()),
        measured_as=" ".join(spec.measured.split()),
        answer=answer,
        reason=reason,
    )


def _deviation_bounds(spec: PredictionSpec, result: RunResult) -> tuple[float, float]:
    """The smallest and the largest deviation for all values that the figures may have."""
    try:
        predicted = figure_bounds(spec.predicted, result)
    except ValueError:
        return -inf, inf
    measured = figure_bounds(spec.measured, result)
    if predicted is None or measured is None or predicted[0] <= 0 <= predicted[1]:
        return -inf, inf
    deviations = [(value - theory) / theory for theory in predicted for value in measured]
    return min(deviations), max(deviations)
