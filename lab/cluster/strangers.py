"""Which fault can reach services that are not the lab's: those behind a sidecar, and its face.

A service that is found behind its sidecar has everything that comes through the lab's door. One
that can't be moved from its port has only a face there, for the load: the others come past it.
"""

from lab.cluster.topology import Arrangement, Strangers
from lab.domain.directory import BUS
from lab.faults.kinds import CLIENT, Fault, NewVersion, Partition, Poison


def out_of_reach_of_strangers(
    fault: Fault, arrangement: Arrangement, them: Strangers
) -> str | None:
    """Why the fault can't act on its target there, in a sentence; None if it can."""
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
    """Why little can be done to those that stand on their own port."""
    one = len(targets) == 1
    who = targets[0] if one else f"{', '.join(targets[:-1])} and {targets[-1]}"
    return (
        f"{who} always {'listens' if one else 'listen'} on the port where the others look for "
        f"{'it' if one else 'them'}, so nothing of the lab's stands between: down and hang are "
        "possible, and what hits the load's own requests. With `port_env` "
        f"{'it' if one else 'they'} could be moved behind the lab's door."
    )
