"""The dose of a fault: how often it hit each variant.

A service of the chain meets a fault with each request. A consumer meets it once for each delivery,
which brings all events that have arrived meanwhile. So the same fault is another dose, and the
report says so next to the figures.
"""

from collections.abc import Iterator

from lab.faults.kinds import KINDS
from lab.results.result import FaultEvidence, RunResult, VariantResult


def doses(result: RunResult) -> Iterator[str]:
    """A sentence for each fault that hit deliveries in one variant and not in another."""
    by_fault: dict[tuple[str, str, str], list[tuple[VariantResult, FaultEvidence]]] = {}
    for variant in result.variants:
        for fault in variant.faults:
            kind = KINDS.get(fault.kind)
            hits_requests = kind is not None and kind.acts_on == "door" and not kind.event_effect
            if hits_requests and fault.evidence.get("acted"):
                key = (fault.target, fault.kind, fault.phase or "")
                by_fault.setdefault(key, []).append((variant, fault))
    for (target, kind_name, _), hit in by_fault.items():
        consumes = {bool(variant.consumed.get(target)) for variant, _ in hit}
        if consumes == {True, False}:
            times = ", ".join(_times(variant, fault) for variant, fault in hit)
            yield f"Dose of the fault on `{target}` ({kind_name}): {times}."


def _times(variant: VariantResult, fault: FaultEvidence) -> str:
    acted, visitors = fault.evidence["acted"], fault.evidence.get("visitors")
    hits = f"{acted} of {visitors}" if visitors and visitors != acted else str(acted)
    unit = "requests"
    if variant.consumed.get(fault.target):
        per_event = (fault.evidence.get("settings") or {}).get("per_event")
        unit = "requests and events" if per_event else "requests and deliveries of events"
    return f"{hits} {unit} in {variant.name}"
