"""Turns samples and fault evidence into figures, and figures into verdicts and predictions.

Nothing here reads or writes files. Only `count_with_the_fault` changes its argument.

A fault on every hop is one method with one injection for each hop. Each hop has its own fault
filter and its own random numbers, so a rare fault need not act on every hop. It counts as having
acted if it acted on at least one hop and was removed from all of them.

A request that is under way when a fault begins counts in the phase of the fault. Counted in the
phase before, it would make a healthy service look faulty.

A prediction is compared with the measurement, but never makes a run fail. If it is off, either the
theory leaves out something that mattered, or the machine was busy.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from lab.cluster.bus_engines import shown
from lab.cluster.injector import Injection
from lab.cluster.program import Exit
from lab.load.metrics import phase_figures, recovery_seconds
from lab.load.samples import WRITES, Sample
from lab.results.expressions import evaluate, figure
from lab.results.result import (
    WARM_UP,
    Data,
    Expectation,
    FaultProof,
    Phase,
    PhaseFigures,
    Prediction,
    Result,
    Variant,
)
from lab.scenarios.external import notes_on
from lab.scenarios.late_joiners import surge_window
from lab.scenarios.overrides import on_existing
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import Predict

# ── Fault evidence

_ADDED_UP = ("visitors", "acted")


def proofs(injections: Sequence[Injection], in_sequence: bool) -> list[FaultProof]:
    """The evidence of each fault; the injections of one method on every hop are merged."""
    groups: dict[object, list[Injection]] = {}
    for one in injections:
        groups.setdefault((one.group, one.fault.kind) if one.group else one.name, []).append(one)
    return [_proof(group, in_sequence) for group in groups.values()]


def _proof(injections: Sequence[Injection], in_sequence: bool) -> FaultProof:
    first = injections[0]
    kind, target = first.fault.kind, first.group or first.fault.target
    at_doors = first.fault.acts_on == "door"
    evidence: dict[str, Any] = dict(first.evidence)
    if first.group:
        told = [one.evidence for one in injections]
        added = {name: sum(one.get(name, 0) for one in told) for name in _ADDED_UP if at_doors}
        evidence = {"targets": len(injections), **added}
    gone = all(one.gone for one in injections)
    return FaultProof(
        kind=kind,
        target=target,
        acted=gone and (any if at_doors else all)(one.acted for one in injections),
        phase=f"{target} {kind}" if in_sequence else "during",
        evidence=evidence | {"settings": first.fault.settings(), "healed": gone},
    )


# ── Figures and verdicts

LATE_SHARE = 0.01
LATE_AT_LEAST = 3
"""A run is not valid if more sends were late than this, and than LATE_SHARE of all."""


def variant_result(
    scenario: Scenario,
    name: str,
    samples: Sequence[Sample],
    data: Data | None,
    injections: Sequence[Injection],
    warm_up_s: float,
    deaths: Sequence[Exit] = (),
    alarms: Sequence[str] = (),
    seen: Mapping[str, Any] = MappingProxyType({}),
) -> Variant:
    """One variant's part of the result. `data`: None when its stored data could not be read.
    `deaths`: the programs, of any variant, that exited unexpectedly. `alarms`: impossible states
    that its services reported. `seen`: further keys of the result."""
    timeline = scenario.timeline()
    reported = scenario.reported_phases()
    seconds = {phase.name: phase.seconds for phase in timeline if phase.name in reported}
    figures = phase_figures(samples, seconds)
    ends_s = [
        warm_up_s + sum(one.seconds for one in timeline[:index]) + window.at_s + window.seconds
        for index, phase in enumerate(timeline)
        for window in phase.faults
        if name in window.variants
    ]
    if surge := surge_window(scenario.load, scenario.phases):
        ends_s.append(surge[1])
    recovery = None
    if ends_s:
        recovery = recovery_seconds(samples, max(ends_s), figures["before"]["endpoints"])
    spec = scenario.variants[name]
    faults = proofs(injections, scenario.in_sequence)
    last_words = {death.name: death.last_lines[-1:] for death in deaths}
    ended = [target for target in spec.may_end if f"{name}.{target}" in last_words]
    return Variant(
        name=name,
        arrangement=spec.arrangement,
        options=shown(spec.options) | spec.loop_as_set,
        phases={
            phase: PhaseFigures.model_validate(of_phase) for phase, of_phase in figures.items()
        },
        data=data,
        recovery_seconds=recovery,
        faults=faults,
        ended=ended,
        notes=[
            *(
                " ".join((f"{target} ended by itself.", *last_words[f"{name}.{target}"]))
                for target in ended
            ),
            *on_existing(scenario, name),
            *notes_on(scenario, name),
            *(
                f"{one.target} {one.kind} hit nobody here, for hardly anybody came by: where "
                "others ask, these may answer from a copy of their own."
                for one in faults
                if not spec.ours and _met_nobody(one)
            ),
            *(f"ALARM of {alarm}" for alarm in alarms),
        ],
        **seen,
    )


def health_of_the_run(scenario: Scenario, result: Result, deaths: Sequence[Exit]) -> list[str]:
    """The reasons why a run is not valid, one sentence each; empty when it is valid."""
    problems = []
    for variant in result.variants:
        for proof in variant.faults:
            ours = scenario.variants[variant.name].ours
            if not proof.acted and (ours or not _met_nobody(proof)):
                seen = ", ".join(f"{name} {value}" for name, value in proof.evidence.items())
                problems.append(
                    f"{proof.kind} on {proof.target} of {variant.name} is not proved to have acted "
                    f"and to have gone ({seen}). Give it more time, or more traffic."
                )
        problems += [
            f"{variant.name}: the new {one.service} did not catch up; it had heard {one.events} "
            "events when it was given up. Tell it a shorter history."
            for one in variant.newcomers
            if one.seconds is None
        ]
        if variant.data and not variant.data.acknowledged and _has_writes(scenario):
            problems.append(f"{variant.name}: not one write was acknowledged; nothing is proved.")
    sent = sum(
        endpoint.sent
        for variant in result.variants
        for phase in variant.phases.values()
        for endpoint in phase.endpoints.values()
    )
    if result.load.dropped:
        problems.append(
            f"The load could not send {result.load.dropped} requests at all. Lower --rate."
        )
    if sent and result.load.late > max(LATE_SHARE * sent, LATE_AT_LEAST):
        problems.append(
            f"The load sent {result.load.late} of {sent} requests more than 10 ms late, so it has "
            "measured itself. Is something else busy on this machine? Or lower --rate."
        )
    for steady in scenario.steady_state:
        for variant in result.variants:
            outcome = evaluate(steady, result, steady_in=variant.name)
            if outcome.holds is not True:
                told = "but nothing of the kind was due in that time. Raise --rate, or the seconds"
                if outcome.measured is not None:
                    told = f"measured {outcome.measured:.4g}"
                problems.append(
                    f"{variant.name} was not well before anything was broken: wanted {steady}, "
                    f"{told}."
                )
    allowed = {f"{of.name}.{target}" for of in result.variants for target in of.ended}
    problems += [
        f"{death.name} ended though nobody told it to (status {death.status}): "
        f"{' | '.join(death.last_lines[-3:])}"
        for death in deaths
        if death.name not in allowed
    ]
    return problems


def _met_nobody(proof: FaultProof) -> bool:
    """Whether a fault in a fault filter was removed without having affected any request."""
    told = proof.evidence
    return bool(told.get("healed")) and told.get("acted") == 0 and "visitors" in told


def evaluated(scenario: Scenario, result: Result) -> list[Expectation]:
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
                }
            )
        )
    return expectations


def _has_writes(scenario: Scenario) -> bool:
    """Whether the load includes writes; a run without an acknowledged one then proves nothing."""
    return any(weight > 0 for action, weight in scenario.load.mix.items() if action in WRITES)


# ── Requests that a fault interrupted


def count_with_the_fault(samples: Sequence[Sample], timeline: Sequence[Phase]) -> int:
    """Move each sample that was under way when a fault began from its phase without faults to the
    phase of that fault. Changes `phase` of the samples in place; returns how many it changed."""
    moved = 0
    begins_s = WARM_UP.seconds
    healthy = {phase.name for phase in timeline if not phase.faults}
    for phase in timeline:
        if phase.faults:
            first_s = begins_s + min(window.at_s for window in phase.faults)
            hurt = {name for window in phase.faults for name in window.variants}
            for sample in samples:
                if (
                    sample.variant in hurt
                    and sample.phase in healthy
                    and sample.intended_s < first_s < _over_s(sample)
                ):
                    sample.phase = phase.name
                    moved += 1
        begins_s += phase.seconds
    return moved


def _over_s(sample: Sample) -> float:
    """Seconds from the start of the run to the answer or failure; the intended send time if there
    was neither."""
    return sample.intended_s + (sample.latency_ms or 0.0) / 1_000


# ── Predictions


def predictions(scenario: Scenario, result: Result) -> list[Prediction]:
    """Each prediction of the scenario with its figures, in the file's order."""
    return [_beside(one, result) for one in scenario.predict]


def _beside(one: Predict, result: Result) -> Prediction:
    answer, predicted = "", None
    try:
        predicted = figure(one.predicted, result)
    except ValueError as error:
        answer = str(error)
    measured = figure(one.measured, result)
    deviation = None
    if predicted and measured is not None:
        deviation = (measured - predicted) / predicted
    return Prediction(
        says=one.says,
        predicted=predicted,
        measured=measured,
        deviation=deviation,
        within=one.within,
        agrees=None if deviation is None else abs(deviation) <= one.within,
        because=one.because,
        predicted_by=" ".join(one.predicted.split()),
        measured_as=" ".join(one.measured.split()),
        answer=answer,
    )
