"""Says why a fault can't act on a target, before it is tried.

Such a fault would be noticed in the end, because it brings no evidence. But a sentence at once is
more useful to the author of a scenario.

An external service that is moved behind its sidecar gets all its traffic through the sidecar's
fault filter. A service that can't be moved from its port has only an HTTP adapter with a fault
filter, for the load; the other services call it directly.
"""

from lab.cluster.arrangements import ARRANGEMENTS, EVERY_HOP, Arrangement, Strangers, with_engine
from lab.domain.services import BUS, HOPS, MONOLITH, SERVICES
from lab.faults.kinds import CLIENT, Fault, NewVersion, Partition, Poison
from lab.support.text import did_you_mean

# ── External services


def out_of_reach_of_strangers(
    fault: Fault, arrangement: Arrangement, them: Strangers
) -> str | None:
    """Why the fault can't act on an external service, in a sentence; None if it can."""
    name, target, kind = arrangement.name, fault.target, fault.kind
    if target not in arrangement.targets:
        return f"{name} has no {target}."
    if target in them.services and arrangement.replaced and isinstance(fault, Poison | NewVersion):
        return f"{kind} needs a service that tells of itself as the lab's do, and {target} is not."
    if isinstance(fault, Poison | NewVersion):
        return f"{kind} speaks of the lab's own events, and in {name} nobody tells or hears those."
    if fault.acts_on == "process":
        return None
    by_others = fault.fate is not None or (isinstance(fault, Partition) and fault.from_ != CLIENT)
    if target in them.unmoved and (by_others or target not in them.asked):
        return f"{why_unmoved(target)} So {kind} can't act there."
    if fault.fate is not None and target == BUS:
        return f"{kind} acts on events that are heard, and {BUS} hears none. Take a service."
    if isinstance(fault, Partition) and fault.from_ not in (CLIENT, BUS) and not them.known:
        return (
            f"In {name} nobody says who asks, so {fault.from_} can't be told from others. Services "
            "that call each other by the names of [hosts] can."
        )
    return None


def why_unmoved(*targets: str) -> str:
    """Why few faults can act on services that are not moved from their own port."""
    one = len(targets) == 1
    who = targets[0] if one else f"{', '.join(targets[:-1])} and {targets[-1]}"
    return (
        f"{who} always {'listens' if one else 'listen'} on the port where the others look for "
        f"{'it' if one else 'them'}, so nothing of the lab's stands between: down and hang are "
        "possible, and what hits the load's own requests. With `port_env` "
        f"{'it' if one else 'they'} could be moved behind the lab's door."
    )


# ── All services

HEARD_BY: dict[str, tuple[str, ...]] = {
    "PostCreated": ("comments", "query"),
    "CommentCreated": ("moderation", "query"),
    "CommentModerated": ("comments",),
    "CommentUpdated": ("query",),
}
"""The consumers of each event, where services keep copies of each other's data."""

TELLS_NOTHING = ("query",)
"""Services that publish nothing; a second replica of any other would publish everything twice."""

ASKED_BY: dict[str, tuple[str, ...]] = {
    "posts": ("comments", "query"),
    "comments": ("query",),
    "moderation": ("comments",),
    "query": (),
}
"""The callers of each service, where services ask each other for data."""

CALLERS = (*SERVICES, BUS, CLIENT)
"""The callers that a partition can cut off: services, the bus, and callers without a name."""


def hearers(arrangement: Arrangement) -> tuple[str, ...]:
    """The lab's services that consume events in the arrangement."""
    if arrangement.ask_by is not None or arrangement.strangers is not None:
        return ()
    return tuple(name for name in SERVICES if any(name in who for who in HEARD_BY.values()))


def known_targets() -> tuple[str, ...]:
    """All targets of faults, in any arrangement or variant."""
    some = dict.fromkeys(target for one in ARRANGEMENTS.values() for target in one.targets)
    return (*some, *HOPS, EVERY_HOP)


def makes_no_sense(fault: Fault) -> str | None:
    """Why the fault can't act in any arrangement, in a sentence; None if it can in some."""
    if isinstance(fault, Poison) and fault.type not in HEARD_BY:
        return f"There is no event {fault.type!r}. {did_you_mean(fault.type, HEARD_BY)}"
    if isinstance(fault, Partition) and fault.from_ not in CALLERS:
        return f"There is no caller {fault.from_!r}. {did_you_mean(fault.from_, CALLERS)}"
    if isinstance(fault, Partition) and fault.from_ == fault.target:
        return f"{fault.target} is not its own caller. Known: {', '.join(CALLERS)}."
    most = {"depth": len(HOPS)}
    reasons = [out_of_reach(fault, with_engine(one, most)) for one in ARRANGEMENTS.values()]
    return None if None in reasons else reasons[list(ARRANGEMENTS).index("async-bus")]


def out_of_reach(fault: Fault, arrangement: Arrangement) -> str | None:
    """Why the fault can't act on its target there, in a sentence; None if it can."""
    if arrangement.strangers is not None:
        return out_of_reach_of_strangers(fault, arrangement, arrangement.strangers)
    if arrangement.replaced is not None and fault.target in arrangement.replaced.services:
        return out_of_reach_of_strangers(fault, arrangement, arrangement.replaced)
    name, target, hear = arrangement.name, fault.target, hearers(arrangement)
    if target in HOPS and isinstance(fault, Partition | Poison):
        return f"{fault.kind} is not for hops. Take one of the four services, or {BUS}."
    if hear:
        hear += tuple(name for name in arrangement.services if name in HOPS) + arrangement.guests
    if target in HOPS and target not in arrangement.targets:
        return f"This {name} has no {target}; with depth = {target[-1]} it has."
    if target not in arrangement.targets:
        return f"{name} has no {target}."
    if target.startswith(BUS) and fault.acts_on != "bus" and not arrangement.bus_is_ours:
        return (
            f"{BUS} is a NATS cluster that the lab has not started, so the lab will not break "
            f"it ({fault.kind}). Break a service, or take a bus of the lab's own: --bus nats."
        )
    if target.startswith(BUS) and fault.acts_on == "door" and not arrangement.bus_has_door:
        return (
            f"{fault.kind} acts at a door, and nats-server, a program of others, has none of ours: "
            "services speak to it directly. Take down or hang, or break a service."
        )
    if isinstance(fault, NewVersion):
        return _no_new_version(target, arrangement)
    if isinstance(fault, Poison):
        them = HEARD_BY.get(fault.type, ())
        if not hear:
            return f"Nobody hears events in {name}, so poison would hurt nobody."
        if target in arrangement.guests:
            return f"Nobody here can say what {target} hears. Take {BUS}: then all are told."
        if target not in (BUS, *them):
            return (
                f"{target} doesn't hear {fault.type}, which is heard by {' and '.join(them)}. "
                f"Take one of them as the target, or {BUS}."
            )
    elif fault.fate is not None:
        if not hear:
            return f"{fault.kind} acts on events that are heard, and nobody hears any in {name}."
        if target not in hear:
            return (
                f"{fault.kind} acts on events that are heard, and {target} hears none. "
                f"Take one of {', '.join(hear)}."
            )
    elif isinstance(fault, Partition) and fault.from_ != CLIENT:
        if MONOLITH in arrangement.programs:
            return f"In the {name} services call each other within a process: nothing can be cut."
        if fault.from_ == BUS and target not in hear:
            return f"No events go from {BUS} to {target} in {name}."
        asked_by = ASKED_BY.get(target, ()) if arrangement.ask_by else ()
        if BUS not in (fault.from_, target) and fault.from_ not in asked_by:
            return f"In {name}, {fault.from_} never calls {target}: there is nothing to cut."
    return None


def _no_new_version(target: str, arrangement: Arrangement) -> str | None:
    if MONOLITH in arrangement.programs:
        return f"In the {arrangement.name} all is deployed together: nobody reads an older version."
    if target != "posts":
        return f"{target} has no other version. Take posts: what it says of posts has four."
    return None
