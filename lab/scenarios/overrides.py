"""Overrides of a scenario: another bus (`lab run … --bus`), external services, another rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from lab.cluster.attached import Attachment
from lab.cluster.bus_engines import is_existing, redact_login
from lab.external.arrangement import BUSES
from lab.external.target import Target, read_target
from lab.scenarios.attached import with_attached
from lab.scenarios.external import with_external_variant, with_replacement
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import MethodSpec, VariantSpec
from lab.scenarios.switches import (
    SWITCHES,
    expand_targets,
    variant_problems,
    why_method_inapplicable,
)
from lab.support.text import did_you_mean

# ── Another bus


def with_bus(scenario: Scenario, bus: str, only: Sequence[str] | None = None) -> Scenario:
    """The scenario with another bus: an engine's name, or the URL of a NATS cluster.

    It replaces the bus of each variant that has one, except the course's bus: a variant with that
    bus is about that bus. Methods of a sequence that cannot act with the new bus are left out, with
    the expectations and predictions that need them. `only`: the variants that are going to run;
    None for all. Raises ValueError when no bus would change, a switch does not fit the new bus, or
    a method that cannot be left out cannot act.
    """
    variants = {
        name: spec.model_copy(update={"options": {**spec.options, "bus": bus}})
        for name, spec in scenario.variants.items()
        if _has_replaceable_bus(spec)
    }
    if not any(name in variants for name in only or scenario.variants):
        raise ValueError(
            f"--bus would change nothing in {scenario.name}: no variant that is to run has a bus "
            "that could be another one."
        )
    for name, spec in variants.items():
        if problems := list(variant_problems(name, name, spec)):
            raise ValueError("\n".join(problems))
    changed = scenario.model_copy(update={"variants": {**scenario.variants, **variants}})
    inapplicable = [method for method in scenario.method if not changed.affected_variants(method)]
    if inapplicable and (not scenario.in_sequence or len(inapplicable) == len(scenario.method)):
        reasons = (_why_inapplicable(inapplicable[0], spec) for spec in variants.values())
        why = next((reason for reason in reasons if reason), "")
        raise ValueError(f"{scenario.name} can't be run on {redact_login(bus)}: {why}")
    method = tuple(method for method in scenario.method if method not in inapplicable)
    return changed.model_copy(update={"method": method}).without_missing_figures()


def _has_replaceable_bus(spec: VariantSpec) -> bool:
    arrangement = spec.base_arrangement
    if arrangement is None or arrangement.external is not None:
        return False
    return arrangement.has_bus and spec.options.get("bus") != "course"


def existing_bus_notes(scenario: Scenario, name: str) -> list[str]:
    """Notes on a variant whose bus the lab has not started, one sentence each; else empty."""
    spec = scenario.variants[name]
    bus = spec.options.get("bus")
    if not is_existing(bus):
        return []
    skipped = [
        f"{method.phase_name} was not done here. {_why_inapplicable(method, spec)}"
        for method in scenario.method
        if (method.variants is None or name in method.variants) and _why_inapplicable(method, spec)
    ]
    return [
        f"The bus is a stream on {redact_login(bus)}, a cluster that the lab has not started: how "
        "safe an acknowledged event is there is that cluster's promise, not the lab's. (A "
        "nats-server syncs to disk every two minutes, unless it has sync_interval: always.)",
        *skipped,
    ]


def _why_inapplicable(method: MethodSpec, spec: VariantSpec) -> str | None:
    return why_method_inapplicable(expand_targets(method)[0], spec)


# ── Switches


def with_settings(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """The scenario with these switches in each variant that has them, in place of its values.

    Raises ValueError for a switch that no variant has, or a value that a variant can't have.
    """
    switches = {
        name: SWITCHES.get(spec.arrangement, {}) if spec.is_own else {}
        for name, spec in scenario.variants.items()
    }
    known = dict.fromkeys(switch for names in switches.values() for switch in names)
    for switch in settings:
        if switch not in known:
            raise ValueError(
                f"--set: no variant of {scenario.name} has a switch {switch!r}. "
                f"{did_you_mean(switch, known)}"
            )
    variants = {
        name: spec.model_copy(
            update={
                "options": spec.options
                | {switch: value for switch, value in settings.items() if switch in switches[name]}
            }
        )
        for name, spec in scenario.variants.items()
    }
    for name, spec in variants.items():
        if problems := list(variant_problems(name, name, spec)):
            raise ValueError("\n".join(problems))
    changed = scenario.model_copy(update={"variants": variants})
    return changed.without_missing_figures()


# ── All overrides


def apply_overrides(
    scenario: Scenario,
    *,
    bus: str | None = None,
    only: Sequence[str] | None = None,
    rate: float | None = None,
    quick: bool = False,
    target: Target | None = None,
    replaced: tuple[str, Target] | None = None,
    settings: Mapping[str, Any] | None = None,
    at: Sequence[Attachment] = (),
) -> Scenario:
    """The same experiment with these changes. Raises ValueError for a change that is not possible.

    `target`: an external system, as one more variant; `bus` is then the bus of this variant alone.
    `replaced`: a service of the lab, and the target whose service replaces it in one more variant.
    `settings`: switches, for each variant that has them; `bus` among them is the same as `bus`.
    `at`: blogs that run already, in place of the variants of their arrangements.
    """
    switches = dict(settings or {})
    bus = bus or switches.pop("bus", None)
    if replaced:
        scenario = with_replacement(scenario, *replaced)
    if target:
        scenario = with_external_variant(scenario, target, {"bus": bus} if bus else {})
    if bus and not (target and bus in BUSES):
        scenario = with_bus(scenario, bus, only)
    if switches:
        scenario = with_settings(scenario, switches)
    if only:
        scenario = scenario.only(only)
    if at:
        scenario = with_attached(scenario, at)
    if rate:
        scenario = scenario.at_rate(rate)
    return scenario.quick() if quick else scenario


class ExternalTargets(TypedDict, total=False):
    """The arguments of `apply_overrides` for external services."""

    target: Target
    replaced: tuple[str, Target]


def load_targets(
    whole_system: str | Path | None, replacements: Mapping[str, str | Path]
) -> ExternalTargets:
    """Read the target files. `whole_system`: of a whole external system; `replacements`: by name
    of a lab service (at most one), of its replacement. Raises TargetError, ValueError."""
    if len(replacements) > 1:
        raise ValueError(f"replace = {dict(replacements)}: only one external service at a time.")
    targets = ExternalTargets()
    if whole_system:
        targets["target"] = read_target(Path(whole_system))
    for service, file in replacements.items():
        targets["replaced"] = service, read_target(Path(file))
    return targets
