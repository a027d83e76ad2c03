"""Whom a method means, and whether it can hurt them."""

from lab.cluster.hops import EVERY_HOP
from lab.cluster.reach import out_of_reach
from lab.cluster.topology import with_engine
from lab.domain.directory import HOPS
from lab.scenarios.spec import Method, VariantSpec
from lab.scenarios.switches import variant_problems


def each_target(method: Method) -> list[Method]:
    """The method itself, or one for each hop there may be; a variant without it is left alone."""
    targets = HOPS if method.target == EVERY_HOP else (method.target,)
    return [method.model_copy(update={"target": target}) for target in targets]


def why_not(method: Method, spec: VariantSpec) -> str | None:
    """Why a method can't act in that variant, in a sentence; None when it can."""
    arrangement = spec.made_of
    if arrangement is None:
        return None
    if arrangement.strangers is None and not any(variant_problems("", "variant", spec)):
        arrangement = with_engine(arrangement, spec.options)
    try:
        return out_of_reach(method.parsed(), arrangement)
    except ValueError:
        return None  # Said once, where the method is looked at by itself.
