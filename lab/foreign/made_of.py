"""What a target is as an arrangement of the lab: its parts, and what can be reached of each."""

from lab.cluster.topology import Arrangement, Strangers
from lab.domain.directory import BUS
from lab.foreign.target import Target

KEEPER = "lab.foreign.keeper"
BRIDGE = "lab.foreign.bridge"
OWN, LOG = "own", "log"
BUSES = (OWN, LOG)
"""What a foreign system may be told by: its own bus, or the lab's log in its place."""


def arrangement_of(target: Target, bus: str = OWN) -> Arrangement:
    """Parts are called as in the target, its bus as the lab's."""
    of = {part_of(target, name): name for name in target.services}
    unmoved = [part for part, name in of.items() if not target.services[name].movable]
    asked = dict.fromkeys(part_of(target, action.service) for _, action in target.actions)
    programs = dict.fromkeys(of, KEEPER)
    if bus == LOG:
        programs[BUS] = BRIDGE
        unmoved = [part for part in unmoved if part != BUS]
    them = Strangers(
        tuple(part for part in of if part != BUS),
        asked=tuple(asked),
        unmoved=tuple(unmoved),
        known=bool(target.hosts),
    )
    return Arrangement(target.name, programs, strangers=them)


def part_of(target: Target, service: str) -> str:
    """What a service is called here."""
    return BUS if service == target.its_bus else service


def why_not_whole(target: Target, bus: str = OWN) -> list[str]:
    """Why it can't stand as a variant of its own, told by that bus: a sentence each."""
    missing = list(target.not_whole())
    if bus not in BUSES:
        missing.append(
            f"bus: saw {bus!r}. {target.name} has a bus of its own; what the lab can put in its "
            'place, speaking as it does, is the log: bus = "log".'
        )
    if bus == LOG and target.its_bus is None:
        missing.append(f"bus: {target.name} has no event bus whose place the log could take.")
    return missing
