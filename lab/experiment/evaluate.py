"""Turns samples and fault evidence into figures, and figures into verdicts and predictions.

Nothing here reads or writes files.

A fault on every hop is one method with one injection for each hop. Each hop has its own fault
filter and its own random numbers, so a rare fault need not act on every hop. It counts as having
acted if it acted on at least one hop and was removed from all of them.

Where the load was late, a figure has two ends (`uncertainty.py`). A verdict is given only if it is
the same at both; otherwise it is "not measured", with the reason. So a late load makes a run less
certain, but not invalid, unless nothing at all can be judged.
"""

from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any

from lab.cluster.bus_engines import redact_options
from lab.cluster.injector import Injection
from lab.cluster.program import Exit
from lab.experiment.fault_proof import doubts, ended_late, merged_moments, moments_of
from lab.experiment.recovery import Recoveries, recoveries, slowest, usual_figures
from lab.experiment.request_phases import disturbances, phase_seconds
from lab.load.metrics import phase_figures
from lab.load.samples import WRITES, Sample
from lab.results.expressions import evaluate
from lab.results.paths import phase_key
from lab.results.result import (
    CheckerCounts,
    Expectation,
    FaultEvidence,
    PhaseResult,
    RunResult,
    VariantResult,
)
from lab.results.timeline import Timeline
from lab.scenarios.external import external_notes
from lab.scenarios.overrides import existing_bus_notes
from lab.scenarios.scenario import Scenario

# ── Fault evidence

_SUMMED_COUNTS = ("visitors", "acted")


def merge_evidence(
    injections: Sequence[Injection], in_sequence: bool, start_at: float = 0.0
) -> list[FaultEvidence]:
    """The evidence of each fault; the injections of one method on every hop are merged. `start_at`:
    the value of `perf_counter` at the start of the run."""
    groups: dict[object, list[Injection]] = {}
    for injection in injections:
        groups.setdefault(
            (injection.group, injection.fault.kind) if injection.group else injection.name, []
        ).append(injection)
    return [_merged_evidence(group, in_sequence, start_at) for group in groups.values()]


def _merged_evidence(
    injections: Sequence[Injection], in_sequence: bool, start_at: float
) -> FaultEvidence:
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
    each_moments = [found for one in injections if (found := moments_of(one, start_at)) is not None]
    moments = merged_moments(each_moments) if each_moments else None
    return FaultEvidence(
        kind=kind,
        target=target,
        acted=removed and (any if in_filter else all)(injection.acted for injection in injections),
        phase=f"{target} {kind}" if in_sequence else "during",
        evidence=evidence | {"settings": first.fault.settings(), "healed": removed},
        from_s=moments and moments.on_s,
        until_s=moments and moments.off_s,
        gone_s=moments and moments.gone_s,
        doubts=doubts(first.fault, moments, [one.evidence for one in injections]),
        ended_late=ended_late(first.fault, moments),
    )


# ── Figures and verdicts

MAX_NAMED = 2
MAX_LATE_SHARE = 0.5
"""A run that expects nothing is not valid if more of its requests were late."""


def variant_result(
    scenario: Scenario,
    name: str,
    samples: Sequence[Sample],
    data: CheckerCounts | None,
    faults: Sequence[FaultEvidence],
    exits: Sequence[Exit] = (),
    alarms: Sequence[str] = (),
    extra_keys: Mapping[str, Any] = MappingProxyType({}),
) -> VariantResult:
    """One variant's part of the result. `data`: None when its stored data could not be read.
    `faults`: the evidence of its faults (`merge_evidence`).
    `exits`: the programs, of any variant, that exited unexpectedly. `alarms`: impossible states
    that its services reported. `extra_keys`: further keys of the result."""
    timeline = scenario.timeline()
    reported = scenario.reported_phases()
    lengths = phase_seconds(timeline, name, faults)
    seconds = {phase: length for phase, length in lengths.items() if phase in reported}
    figures = phase_figures(samples, seconds)
    found: Recoveries | None = None
    if (gone_s := gone_after(timeline, name, faults)) is not None:
        before = [sample for sample in samples if sample.phase == "before"]
        usual = usual_figures(before, broken_from(timeline, name))
        found = recoveries(samples, gone_s, usual)
    spec = scenario.variants[name]
    last_lines = {death.name: death.last_lines[-1:] for death in exits}
    ended = [target for target in spec.may_end if f"{name}.{target}" in last_lines]
    return VariantResult(
        name=name,
        arrangement=spec.arrangement,
        options=redact_options(spec.options) | spec.loop_options,
        phases={phase: PhaseResult.model_validate(of_phase) for phase, of_phase in figures.items()},
        data=data,
        recovery_seconds=slowest(found) if found else None,
        recovery=found,
        faults=list(faults),
        unproved=unproved_figures(faults),
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


def broken_from(timeline: Timeline, variant: str) -> float:
    """When the first fault or surge of a variant begins, in seconds; infinite if it has neither."""
    disturbance = timeline.disturbance(variant)
    return inf if disturbance is None else disturbance[0]


def gone_after(
    timeline: Timeline, variant: str, faults: Sequence[FaultEvidence] = ()
) -> float | None:
    """When the last fault or surge of a variant was known to be gone, in seconds from the start of
    the run; None if it has neither."""
    disturbance = timeline.disturbance(variant)
    if disturbance is None:
        return None
    gone = [one.gone_s for one in disturbances(timeline, variant, faults)]
    return max([disturbance[1], *gone])


_OF_THE_WHOLE_RUN = (
    *("after", "data", "lag", "asks", "recovery", "recovery_seconds"),
    *("ended", "stuck", "dead_letters"),
)


def unproved_figures(faults: Sequence[FaultEvidence]) -> dict[str, str]:
    """The figures that depend on a fault which did not act as declared: those of its phase, and
    those of the whole run; where it only ended late, those of `after`. By the beginning of their
    paths, with the reason."""
    unproved: dict[str, str] = {}
    for fault in faults:
        paths: tuple[str, ...] = ()
        if fault.acted and fault.doubts:
            paths = (phase_key(fault.phase or "during"), *_OF_THE_WHOLE_RUN)
        elif fault.acted and fault.ended_late:
            paths = ("after",)
        reasons = "; ".join([*fault.doubts, *filter(None, [fault.ended_late])])
        says = f"The fault on `{fault.target}` ({fault.kind}) did not act as declared: {reasons}."
        unproved |= {path: says for path in paths if path not in unproved}
    return unproved


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
    if _nothing_can_be_judged(scenario, result) and (unproved := unproved_reasons(result)):
        more = f" And {len(unproved) - MAX_NAMED} more." if len(unproved) > MAX_NAMED else ""
        problems.append(
            f"Nothing can be judged. {' '.join(unproved[:MAX_NAMED])}{more} Is something else busy "
            "on this machine?"
        )
    elif _nothing_can_be_judged(scenario, result):
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


def unproved_reasons(result: RunResult) -> list[str]:
    """Why figures are not measured: a sentence for each fault that did not act as declared, or did
    not meet a steady state."""
    return [
        f"{variant.name}: {why}"
        for variant in result.variants
        for why in dict.fromkeys(variant.unproved.values())
    ]


def requests_sent(result: RunResult) -> int:
    """The number of requests that were sent in all reported phases."""
    return sum(
        endpoint.sent
        for variant in result.variants
        for phase in variant.phases.values()
        for endpoint in phase.endpoints.values()
    )


def _nothing_can_be_judged(scenario: Scenario, result: RunResult) -> bool:
    """Whether a late load, or a fault that is not proved, leaves no expectation with a verdict."""
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
