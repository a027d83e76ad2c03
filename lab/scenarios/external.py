"""An external system as one more variant of a scenario (`lab run … --with mine.toml`).

Its writes are judged by its feed alone, because the lab can read nothing else: a write is lost if
the feed does not have it at the end.
"""

import re
from collections.abc import Mapping
from typing import Any

from lab.cluster.arrangements import Arrangement
from lab.cluster.fault_rules import no_sidecar_note
from lab.external.arrangement import (
    OWN,
    arrangement_of,
    arrangement_replacing,
    matching_service,
    why_incomplete,
)
from lab.external.target import Target
from lab.results.result import EXTERNAL
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import expand_targets, why_method_inapplicable
from lab.support.text import did_you_mean

EXTERNAL_SWITCHES = ("bus",)


class ExternalVariant(VariantSpec):
    """A variant that is an external system, described by its target file."""

    is_own = False
    target: Target

    @property
    def base_arrangement(self) -> Arrangement:
        return arrangement_of(self.target, self.bus)

    @property
    def bus(self) -> str:
        return str(self.options.get("bus", OWN))


def with_external_variant(
    scenario: Scenario, target: Target, options: Mapping[str, Any] | None = None
) -> Scenario:
    """The scenario with the target as a further variant, named after its file.

    `options`: the switches of that variant. Raises ValueError if the name is taken, a switch is
    unknown, or the target is not complete.
    """
    name = variant_name(target)
    options = dict(options or {})
    if name in scenario.variants:
        raise ValueError(
            f"{scenario.name} has a variant {name!r} already. Give your file another name."
        )
    for switch in options:
        if switch not in EXTERNAL_SWITCHES:
            raise ValueError(
                f"{name}: {switch} is a switch of the lab's own services; external services "
                f"do not have it. {did_you_mean(switch, EXTERNAL_SWITCHES)}"
            )
    if problems := why_incomplete(target, str(options.get("bus", OWN))):
        raise ValueError("\n".join(problems))
    arrangement = arrangement_of(target, str(options.get("bus", OWN)))
    # If an external service exits by itself, this is a finding and does not make the run invalid.
    variant = ExternalVariant(
        arrangement=EXTERNAL, target=target, options=options, may_end=arrangement.targets
    )
    return scenario.model_copy(update={"variants": {**scenario.variants, name: variant}})


class MixedVariant(VariantSpec):
    """The lab's services on the course's bus, with a target's service in place of `service`."""

    is_own = False
    target: Target
    service: str

    @property
    def base_arrangement(self) -> Arrangement:
        return arrangement_replacing(self.service, self.target)


def with_replacement(scenario: Scenario, service: str, target: Target) -> Scenario:
    """The scenario with a further variant, in which a target's service replaces `service`.

    Raises ValueError if the lab has no such service or the target no matching one.
    """
    matching_service(service, target)
    name = f"{service}-by-{variant_name(target)}"
    variant = MixedVariant(
        arrangement="async-bus",
        target=target,
        service=service,
        options={"bus": "course"},
        may_end=(service,),
    )
    return scenario.model_copy(update={"variants": {**scenario.variants, name: variant}})


def variant_name(target: Target) -> str:
    """The name of a target's variant: its file's name in small letters, digits and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", target.name.lower()).strip("-")
    return name if re.match("[a-z]", name) else EXTERNAL


def external_notes(scenario: Scenario, name: str) -> list[str]:
    """Notes on a variant with external services, one sentence each: which services have no sidecar,
    and which faults were not injected. Empty for the lab's own variants."""
    spec = scenario.variants[name]
    if not isinstance(spec, ExternalVariant | MixedVariant):
        return []
    arrangement = spec.base_arrangement
    notes = [
        no_sidecar_note(service)
        for external in (arrangement.external, arrangement.replaced)
        if external
        for service in external.without_sidecar
    ]
    if isinstance(spec, MixedVariant):
        notes.append(
            f"{spec.service} is {spec.target.name}'s. Its requests and events have the course's "
            "field names beside the lab's (postId, post_id), and all is judged by the feed alone."
        )
    for method in scenario.method:
        included = method.variants is None or name in method.variants
        why = (
            why_method_inapplicable(expand_targets(method)[0], spec)
            if included
            else "It is for other variants."
        )
        if why:
            notes.append(f"{method.phase_name} was not done here. {why}")
    return notes
