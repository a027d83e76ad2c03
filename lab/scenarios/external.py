"""An external system as one more variant of a scenario (`lab run … --with mine.toml`).

Its writes are judged by its feed alone, because the lab can read nothing else: a write is lost if
the feed does not have it at the end.
"""

import re
from collections.abc import Mapping
from typing import Any

from lab.cluster.arrangements import Arrangement
from lab.cluster.fault_rules import why_unmoved
from lab.external.arrangement import (
    OWN,
    arrangement_of,
    arrangement_with,
    the_one_for,
    why_not_whole,
)
from lab.external.target import Target
from lab.results.result import FOREIGN
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import each_target, why_not
from lab.support.text import did_you_mean

SWITCHES = ("bus",)


class ForeignVariant(VariantSpec):
    """A variant that is an external system, described by its target file."""

    ours = False
    target: Target

    @property
    def made_of(self) -> Arrangement:
        return arrangement_of(self.target, self.its_bus)

    @property
    def its_bus(self) -> str:
        return str(self.options.get("bus", OWN))


def with_target(
    scenario: Scenario, target: Target, options: Mapping[str, Any] | None = None
) -> Scenario:
    """The scenario with the target as a further variant, named after its file.

    `options`: the switches of that variant. Raises ValueError if the name is taken, a switch is
    unknown, or the target is not complete.
    """
    name = name_of(target)
    options = dict(options or {})
    if name in scenario.variants:
        raise ValueError(
            f"{scenario.name} has a variant {name!r} already. Call your file otherwise."
        )
    for switch in options:
        if switch not in SWITCHES:
            raise ValueError(
                f"{name}: {switch} is a switch of the lab's own services, and means nothing to "
                f"those of somebody else. {did_you_mean(switch, SWITCHES)}"
            )
    if problems := why_not_whole(target, str(options.get("bus", OWN))):
        raise ValueError("\n".join(problems))
    its = arrangement_of(target, str(options.get("bus", OWN)))
    # If an external service exits by itself, this is a finding and does not make the run invalid.
    variant = ForeignVariant(
        arrangement=FOREIGN, target=target, options=options, may_end=its.targets
    )
    return scenario.model_copy(update={"variants": {**scenario.variants, name: variant}})


class ReplacingVariant(VariantSpec):
    """The lab's services on the course's bus, with a target's service in place of `part`."""

    ours = False
    target: Target
    part: str

    @property
    def made_of(self) -> Arrangement:
        return arrangement_with(self.part, self.target)


def with_replaced(scenario: Scenario, part: str, target: Target) -> Scenario:
    """The scenario with a further variant, in which a target's service replaces the lab's `part`.

    Raises ValueError if the lab has no such service or the target no matching one.
    """
    the_one_for(part, target)
    name = f"{part}-by-{name_of(target)}"
    variant = ReplacingVariant(
        arrangement="async-bus",
        target=target,
        part=part,
        options={"bus": "course"},
        may_end=(part,),
    )
    return scenario.model_copy(update={"variants": {**scenario.variants, name: variant}})


def name_of(target: Target) -> str:
    """The name of a target's variant: its file's name in small letters, digits and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", target.name.lower()).strip("-")
    return name if re.match("[a-z]", name) else FOREIGN


def notes_on(scenario: Scenario, name: str) -> list[str]:
    """Notes on a variant with external services, one sentence each: which services have no sidecar,
    and which faults were not injected. Empty for the lab's own variants."""
    spec = scenario.variants[name]
    if not isinstance(spec, ForeignVariant | ReplacingVariant):
        return []
    of = spec.made_of
    told = [
        why_unmoved(part) for them in (of.strangers, of.replaced) if them for part in them.unmoved
    ]
    if isinstance(spec, ReplacingVariant):
        told.append(
            f"{spec.part} is {spec.target.name}'s. What it is told and tells has the names of the "
            "course beside the lab's (postId, post_id), and all is judged by the feed alone."
        )
    for method in scenario.method:
        meant = method.variants is None or name in method.variants
        why = why_not(each_target(method)[0], spec) if meant else "It is for other variants."
        if why:
            told.append(f"{method.phase_name} was not done here. {why}")
    return told
