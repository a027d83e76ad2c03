"""Blogs on an engine as the only variants of a scenario (`lab run … --at FILE`)."""

from collections.abc import Sequence

from lab.cluster.attached import Attachment
from lab.faults.kinds import Fault
from lab.scenarios.scenario import Scenario
from lab.scenarios.spec import VariantSpec
from lab.scenarios.switches import expand_targets, why_method_inapplicable


class AttachedVariant(VariantSpec):
    """A variant that runs already, described by its file."""

    attachment: Attachment

    def why_impossible(self, fault: Fault) -> str | None:
        return self.attachment.why_impossible(fault)


def with_attached(scenario: Scenario, attachments: Sequence[Attachment]) -> Scenario:
    """The scenario with the attached blogs in place of their twins, and without other variants.

    Of several blogs, one whose arrangement the scenario does not have is left out. Raises
    ValueError when no variant is arranged as a blog, or a method can't act on it.
    """
    arrangements = {spec.arrangement for spec in scenario.variants.values()}
    used = [one for one in attachments if one.arrangement in arrangements] or attachments[:1]
    specs: dict[str, VariantSpec] = {}
    for attachment in used:
        name, spec = _attached_variant(scenario, attachment)
        if name in specs:
            raise ValueError(f"Two blogs of {attachment.name} are the variant {name}. Keep one.")
        specs[name] = spec
    return scenario.model_copy(update={"variants": scenario.variants | specs}).only([*specs])


def _attached_variant(scenario: Scenario, attachment: Attachment) -> tuple[str, AttachedVariant]:
    where = f"{scenario.name} can't be run at {attachment.name}:"
    if scenario.history or scenario.newcomer or scenario.reach_in:
        raise ValueError(
            f"{where} it starts processes beside the blog's, which is left to the engine."
        )
    twins = {name: spec for name, spec in scenario.variants.items() if _fits(spec, attachment)}
    if not twins:
        switches = ", ".join(f"{key} = {value}" for key, value in attachment.options.items())
        raise ValueError(
            f"{where} none of its variants is {attachment.arrangement} with "
            f"{switches or 'no switches'}. It has {', '.join(scenario.variants)}. The file says in "
            "[options] with which switches the services were started."
        )
    name, twin = next(iter(twins.items()))
    options = attachment.options | ({"bus": attachment.bus} if attachment.bus else {})
    spec = AttachedVariant.model_validate(
        twin.model_dump(exclude={"options"}) | {"options": options, "attachment": attachment}
    )
    for method in scenario.method:
        intended = method.variants is None or name in method.variants
        if intended and (why := why_method_inapplicable(expand_targets(method)[0], spec)):
            raise ValueError(f"{where} {why}")
    return name, spec


def _fits(spec: VariantSpec, attachment: Attachment) -> bool:
    options = {key: value for key, value in spec.options.items() if key != "bus"}
    return (
        spec.arrangement == attachment.arrangement
        and options == attachment.options
        and spec.options.get("bus") != "course"
    )
