"""The arrangement of a target: its processes, and which of them are behind a sidecar."""

from dataclasses import replace

from lab.cluster.arrangements import ARRANGEMENTS, Arrangement, Strangers
from lab.cluster.bus_engines import COURSE
from lab.domain.services import BUS, SERVICES
from lab.external.target import Target
from lab.support.text import did_you_mean

KEEPER = "lab.external.wrapper"
BRIDGE = "lab.external.log_bus"
OWN, LOG = "own", "log"
BUSES = (OWN, LOG)
"""Which bus an external system runs with: its own, or the lab's log in its place."""


def arrangement_of(target: Target, bus: str = OWN) -> Arrangement:
    """The arrangement of a complete target. Its bus has the lab's name, the others keep theirs."""
    of = {part_of(target, name): name for name in target.services}
    unmoved = [part for part, name in of.items() if not target.stands_behind(name)]
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


def arrangement_with(part: str, target: Target) -> Arrangement:
    """The lab's services on the course's bus, with an external service in place of `part`."""
    own = ARRANGEMENTS["async-bus"]
    service = the_one_for(part, target)
    them = Strangers(
        (part,),
        asked=(part,) if part in ACTION_OF else (),
        unmoved=() if target.stands_behind(service) else (part,),
        known=bool(target.hosts),
    )
    programs = {**own.programs, **COURSE, part: KEEPER}
    return replace(own, programs=programs, replaced=them)


ACTION_OF = {"posts": "create_post", "comments": "create_comment", "query": "read_feed"}
"""The load's action that each service handles."""


def the_one_for(part: str, target: Target) -> str:
    """The service of a target that replaces `part`. Raises ValueError if the choice is unclear."""
    if part not in SERVICES:
        raise ValueError(f"There is no service {part!r} to replace. {did_you_mean(part, SERVICES)}")
    if part in target.services:
        return part
    if len(target.services) == 1:
        return next(iter(target.services))
    raise ValueError(
        f"{target.name} has no {part}, and several that it could be: {', '.join(target.services)}. "
        f"Call the one that is meant {part}."
    )


def part_of(target: Target, service: str) -> str:
    """The lab's name for a service of a target: only that of its bus differs."""
    return BUS if service == target.its_bus else service


def why_not_whole(target: Target, bus: str = OWN) -> list[str]:
    """Why a target can't run as a variant with this bus, a sentence per reason; [] if it can."""
    missing = list(target.not_whole())
    if bus not in BUSES:
        missing.append(
            f"bus: saw {bus!r}. {target.name} has a bus of its own; what the lab can put in its "
            'place, speaking as it does, is the log: bus = "log".'
        )
    if bus == LOG and target.its_bus is None:
        missing.append(f"bus: {target.name} has no event bus whose place the log could take.")
    return missing
