"""A scenario as somebody wants it run: on another bus, with their own services, at another rate.

The same experiment on another bus (`lab run … --bus`), and what to tell of a strange one.
"""

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

# ── The same experiment on another bus (`lab run … --bus`), and what to tell of a strange one.


def on_bus(scenario: Scenario, bus: str, only: Sequence[str] | None = None) -> Scenario:
    """Each variant that has a bus gets this one: an engine's name, or the URL of a NATS cluster.

    The course's bus stays: a variant that has it is about it. Of a sequence of methods, those that
    can't act on such a bus are left out, with what is expected of them. Raises ValueError, in a
    sentence, when nothing would change, or when nothing would be left to do. `only`: the variants
    that are going to run; all of them, unless told.
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
    """What is to be noted of a variant whose bus the lab has not started: a sentence each."""
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


# ── A scenario as somebody wants it run: on another bus, with their own services, at another rate.


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
    """The same experiment, changed as told. Raises ValueError, in a sentence, where it can't be.

    `target`: somebody's own services, to run beside the others; `bus` is then that of theirs, and
    of the lab's own variants where it would change anything. `replaced`: a service of the lab's,
    and the target whose service takes its place in one more variant.
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
    """What `prepared` is told of somebody's own services."""

    target: Target
    replaced: tuple[str, Target]


def theirs(whole: str | Path | None, one: Mapping[str, str | Path]) -> Theirs:
    """From the files of targets: a whole system, and one service in the place of the lab's that it
    is named after. Raises TargetError, ValueError."""
    if len(one) > 1:
        raise ValueError(f"replace = {dict(one)}: one service of somebody else's at a time.")
    told = Theirs()
    if whole:
        told["target"] = read_target(Path(whole))
    for part, file in one.items():
        told["replaced"] = part, read_target(Path(file))
    return told
