"""A fault on every hop: one method, as many doors, and one account of what happened at all of them.

Each hop has its own door and its own dice. That a rare fault hits somebody at every one of them is
too much to ask; that it did hit, and is gone everywhere, is not.
"""

from collections.abc import Sequence
from typing import Any

from lab.cluster.injector import Injection
from lab.scenarios.result import FaultProof

_ADDED_UP = ("visitors", "acted")


def proofs(injections: Sequence[Injection], in_sequence: bool) -> list[FaultProof]:
    """What each fault did; those that a scenario put on as one are told as one."""
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
