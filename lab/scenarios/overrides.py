"""Overrides of a scenario: another bus (`lab run … --bus`), external services, another rate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from lab.cluster.bus_engines import is_existing, without_login
from lab.external.arrangement import BUSES
from lab.external.target import Target, read_target
from lab.results.expressions import is_about, is_figure_of
from lab.scenarios.external import with_replaced, with_target
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import Method, VariantSpec
from lab.scenarios.switches import each_target, variant_problems, why_not

# ── Another bus


def on_bus(scenario: Scenario, bus: str, only: Sequence[str] | None = None) -> Scenario:
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
        if _has_such_a_bus(spec)
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
    lost = [one for one in scenario.method if not changed.applies_to(one)]
    if lost and (not scenario.in_sequence or len(lost) == len(scenario.method)):
        reasons = (_why(lost[0], spec) for spec in variants.values())
        why = next((one for one in reasons if one), "")
        raise ValueError(f"{scenario.name} can't be run on {without_login(bus)}: {why}")
    method = tuple(one for one in scenario.method if one not in lost)
    changed = changed.model_copy(update={"method": method})
    about = tuple(changed.variants), changed.reported_phases()
    expect = tuple(one for one in changed.expect if is_about(one.that, *about))
    predict = tuple(one for one in changed.predict if is_figure_of(one.both, *about))
    return changed.model_copy(update={"expect": expect, "predict": predict})


def _has_such_a_bus(spec: VariantSpec) -> bool:
    of = spec.made_of
    if of is None or of.strangers is not None:
        return False
    return of.has_bus and spec.options.get("bus") != "course"


def on_existing(scenario: Scenario, name: str) -> list[str]:
    """Notes on a variant whose bus the lab has not started, one sentence each; else empty."""
    spec = scenario.variants[name]
    bus = spec.options.get("bus")
    if not is_existing(bus):
        return []
    spared = [
        f"{one.phase_name} was not done here. {_why(one, spec)}"
        for one in scenario.method
        if (one.variants is None or name in one.variants) and _why(one, spec)
    ]
    return [
        f"The bus is a stream on {without_login(bus)}, a cluster that the lab has not started: how "
        "safe an acknowledged event is there is that cluster's promise, not the lab's. (A "
        "nats-server syncs to disk every two minutes, unless it is told sync_interval: always.)",
        *spared,
    ]


def _why(method: Method, spec: VariantSpec) -> str | None:
    return why_not(each_target(method)[0], spec)


# ── All overrides


def prepared(
    scenario: Scenario,
    *,
    bus: str | None = None,
    only: Sequence[str] | None = None,
    rate: float | None = None,
    quick: bool = False,
    target: Target | None = None,
    replaced: tuple[str, Target] | None = None,
) -> Scenario:
    """The same experiment with these changes. Raises ValueError for a change that is not possible.

    `target`: an external system, as one more variant; `bus` is then the bus of this variant alone.
    `replaced`: a service of the lab, and the target whose service replaces it in one more variant.
    """
    if replaced:
        scenario = with_replaced(scenario, *replaced)
    if target:
        scenario = with_target(scenario, target, {"bus": bus} if bus else {})
    if bus and not (target and bus in BUSES):
        scenario = on_bus(scenario, bus, only)
    if only:
        scenario = scenario.only(only)
    if rate:
        scenario = scenario.at_rate(rate)
    return scenario.quick() if quick else scenario


class Theirs(TypedDict, total=False):
    """The arguments of `prepared` for external services."""

    target: Target
    replaced: tuple[str, Target]


def theirs(whole: str | Path | None, one: Mapping[str, str | Path]) -> Theirs:
    """Read the target files. `whole`: a whole external system; `one`: by name of a lab service
    (at most one), the target that replaces it. Raises TargetError, ValueError."""
    if len(one) > 1:
        raise ValueError(f"replace = {dict(one)}: one service of somebody else's at a time.")
    told = Theirs()
    if whole:
        told["target"] = read_target(Path(whole))
    for part, file in one.items():
        told["replaced"] = part, read_target(Path(file))
    return told
