"""Says why a fault can't act on a target, before it is tried.

Such a fault would be noticed in the end, because it brings no evidence. But a sentence at once is
more useful to the author of a scenario.

An external service that is moved behind its sidecar gets all its traffic through the sidecar's
fault filter. A service that can't be moved from its port has only an HTTP adapter with a fault
filter, for the load; the other services call it directly.
"""

from lab.cluster.arrangements import (
    ARRANGEMENTS,
    EVERY_HOP,
    Arrangement,
    ExternalServices,
    with_engine,
)
from lab.domain.services import BUS, CALLERS_OF, EVENT_CONSUMERS, HOPS, MONOLITH, SERVICES
from lab.faults.kinds import CLIENT, Fault, NewVersionFault, PartitionFault, PoisonFault
from lab.support.text import did_you_mean

# ── External services


def why_inapplicable_to_external(
    fault: Fault, arrangement: Arrangement, external: ExternalServices
) -> str | None:
    """Why the fault can't act on an external service, in a sentence; None if it can."""
    name, target, kind = arrangement.name, fault.target, fault.kind
    if target not in arrangement.targets:
        return f"{name} has no {target}."
    if target in external.services and arrangement.replaced:
        if isinstance(fault, PoisonFault):
            consumers = EVENT_CONSUMERS.get(fault.type, ())
            others = [name for name in consumers if name not in external.services]
            return (
                f"{kind} is an event that the lab's own services can't handle, and {target} is "
                f"not one of them. Take {' or '.join((*others, BUS))}."
            )
        if isinstance(fault, NewVersionFault):
            return f"{kind} needs a service that publishes the lab's events, and {target} does not."
    if isinstance(fault, PoisonFault | NewVersionFault):
        return f"{kind} concerns the lab's own events, and no service in {name} uses them."
    if fault.acts_on == "process":
        return None
    affects_other_callers = fault.event_effect is not None or (
        isinstance(fault, PartitionFault) and fault.from_ != CLIENT
    )
    if target in external.without_sidecar and (
        affects_other_callers or target not in external.entry_points
    ):
        return f"{no_sidecar_note(target)} So {kind} can't act there."
    if fault.event_effect is not None and target == BUS:
        return f"{kind} acts on consumed events, and {BUS} consumes none. Take a service."
    if (
        isinstance(fault, PartitionFault)
        and fault.from_ not in (CLIENT, BUS)
        and not external.by_name
    ):
        return (
            f"In {name} requests do not name their caller, so those of {fault.from_} can't be "
            "separated. They can if the services call each other by the names of [hosts]."
        )
    return None


def no_sidecar_note(*targets: str) -> str:
    """Why few faults can act on services that are not moved from their own port."""
    single = len(targets) == 1
    names = targets[0] if single else f"{', '.join(targets[:-1])} and {targets[-1]}"
    return (
        f"{names} always {'listens' if single else 'listen'} on the port that the other services "
        "call, so their requests pass no fault filter of the lab: only down, hang, and faults of "
        f"the load's own requests are possible. With `port_env`, the lab can move "
        f"{'it' if single else 'them'} behind a fault filter."
    )


# ── All services

CALLERS = (*SERVICES, BUS, CLIENT)
"""The callers that a partition can cut off: services, the bus, and callers without a name."""


def consumers_of(arrangement: Arrangement) -> tuple[str, ...]:
    """The lab's services that consume events in the arrangement."""
    if arrangement.ask_by is not None or arrangement.external is not None:
        return ()
    return tuple(
        name
        for name in SERVICES
        if any(name in consumers for consumers in EVENT_CONSUMERS.values())
    )


def known_targets() -> tuple[str, ...]:
    """All targets of faults, in any arrangement or variant."""
    targets = dict.fromkeys(
        target for arrangement in ARRANGEMENTS.values() for target in arrangement.targets
    )
    return (*targets, *HOPS, EVERY_HOP)


def why_fault_impossible(fault: Fault) -> str | None:
    """Why the fault can't act in any arrangement, in a sentence; None if it can in some."""
    if isinstance(fault, PoisonFault) and fault.type not in EVENT_CONSUMERS:
        return f"There is no event {fault.type!r}. {did_you_mean(fault.type, EVENT_CONSUMERS)}"
    if isinstance(fault, PartitionFault) and fault.from_ not in CALLERS:
        return f"There is no caller {fault.from_!r}. {did_you_mean(fault.from_, CALLERS)}"
    if isinstance(fault, PartitionFault) and fault.from_ == fault.target:
        return f"{fault.target} is not its own caller. Known: {', '.join(CALLERS)}."
    max_options = {"depth": len(HOPS)}
    reasons = [
        why_fault_inapplicable(fault, with_engine(arrangement, max_options))
        for arrangement in ARRANGEMENTS.values()
    ]
    return None if None in reasons else reasons[list(ARRANGEMENTS).index("async-bus")]


def why_fault_inapplicable(fault: Fault, arrangement: Arrangement) -> str | None:
    """Why the fault can't act on its target there, in a sentence; None if it can."""
    if arrangement.external is not None:
        return why_inapplicable_to_external(fault, arrangement, arrangement.external)
    if arrangement.replaced is not None and fault.target in arrangement.replaced.services:
        return why_inapplicable_to_external(fault, arrangement, arrangement.replaced)
    name, target, consumers = arrangement.name, fault.target, consumers_of(arrangement)
    if target in HOPS and isinstance(fault, PartitionFault | PoisonFault):
        return f"{fault.kind} is not for hops. Take one of the four services, or {BUS}."
    if consumers:
        consumers += (
            tuple(name for name in arrangement.services if name in HOPS) + arrangement.guests
        )
    if target in HOPS and target not in arrangement.targets:
        return f"This {name} has no {target}; with depth = {target[-1]} it has."
    if target not in arrangement.targets:
        return f"{name} has no {target}."
    if target.startswith(BUS) and fault.acts_on != "bus" and not arrangement.lab_started_bus:
        return (
            f"{BUS} is a NATS cluster that the lab has not started, so the lab will not break "
            f"it ({fault.kind}). Break a service, or take a bus of the lab's own: --bus nats."
        )
    if target.startswith(BUS) and fault.acts_on == "door" and not arrangement.bus_has_fault_filter:
        return (
            f"{fault.kind} acts in a fault filter of the lab, and nats-server has none: services "
            "connect to it directly. Take down or hang, or break a service."
        )
    if isinstance(fault, NewVersionFault):
        return _why_no_new_version(target, arrangement)
    if isinstance(fault, PoisonFault):
        event_consumers = EVENT_CONSUMERS.get(fault.type, ())
        if not consumers:
            return f"No service consumes events in {name}, so poison would have no effect."
        if target in arrangement.guests:
            return f"The lab does not know what {target} consumes. Take {BUS}: it delivers to all."
        if target not in (BUS, *event_consumers):
            replaced = arrangement.replaced.services if arrangement.replaced else ()
            own = [consumer for consumer in event_consumers if consumer not in replaced]
            return (
                f"{target} does not consume {fault.type}; {' and '.join(event_consumers)} do. "
                f"Take {' or '.join((*own, BUS))}."
            )
    elif fault.event_effect is not None:
        if not consumers:
            return f"{fault.kind} acts on consumed events, and no service in {name} consumes any."
        if target not in consumers:
            return (
                f"{fault.kind} acts on consumed events, and {target} consumes none. "
                f"Take one of {', '.join(consumers)}."
            )
    elif isinstance(fault, PartitionFault) and fault.from_ != CLIENT:
        if MONOLITH in arrangement.programs:
            return f"In the {name} services call each other within a process: nothing can be cut."
        if fault.from_ == BUS and target not in consumers:
            return f"No events go from {BUS} to {target} in {name}."
        callers = CALLERS_OF.get(target, ()) if arrangement.ask_by else ()
        if BUS not in (fault.from_, target) and fault.from_ not in callers:
            return f"In {name}, {fault.from_} never calls {target}: there is nothing to cut."
    return None


def _why_no_new_version(target: str, arrangement: Arrangement) -> str | None:
    if MONOLITH in arrangement.programs:
        return f"In the {arrangement.name} all is deployed together, so no reader is older."
    if target != "posts":
        return f"{target} has no other version. Take posts: its posts have four."
    return None
