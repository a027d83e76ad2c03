"""The arrangement of a target: its processes, and which of them are behind a sidecar."""

from dataclasses import replace

from lab.cluster.arrangements import ARRANGEMENTS, Arrangement, ExternalServices
from lab.cluster.bus_engines import COURSE
from lab.domain.services import BUS, ENTRY_POINTS, SERVICES
from lab.external.target import Target
from lab.support.text import did_you_mean

WRAPPER = "lab.external.wrapper"
LOG_BUS = "lab.external.log_bus"
OWN, LOG = "own", "log"
BUSES = (OWN, LOG)
"""Which bus an external system runs with: its own, or the lab's log in its place."""


def arrangement_of(target: Target, bus: str = OWN) -> Arrangement:
    """The arrangement of a complete target. Its bus has the lab's name, the others keep theirs."""
    service_by_name = {lab_name(target, name): name for name in target.services}
    without_sidecar = [
        process
        for process, service in service_by_name.items()
        if not target.can_have_sidecar(service)
    ]
    entry_points = dict.fromkeys(lab_name(target, action.service) for _, action in target.actions)
    programs = dict.fromkeys(service_by_name, WRAPPER)
    if bus == LOG:
        programs[BUS] = LOG_BUS
        without_sidecar = [process for process in without_sidecar if process != BUS]
    external = ExternalServices(
        tuple(process for process in service_by_name if process != BUS),
        entry_points=tuple(entry_points),
        without_sidecar=tuple(without_sidecar),
        by_name=bool(target.hosts),
    )
    return Arrangement(target.name, programs, external=external)


def arrangement_replacing(replaced: str, target: Target) -> Arrangement:
    """The lab's services on the course's bus, with an external service in place of `replaced`."""
    own = ARRANGEMENTS["async-bus"]
    service = matching_service(replaced, target)
    external = ExternalServices(
        (replaced,),
        entry_points=(replaced,) if replaced in ENTRY_POINTS else (),
        without_sidecar=() if target.can_have_sidecar(service) else (replaced,),
        by_name=bool(target.hosts),
    )
    programs = {**own.programs, **COURSE, replaced: WRAPPER}
    return replace(own, programs=programs, replaced=external)


def matching_service(replaced: str, target: Target) -> str:
    """The service of a target that takes the place of `replaced`.

    Raises ValueError if the choice is unclear.
    """
    if replaced not in SERVICES:
        raise ValueError(
            f"There is no service {replaced!r} to replace. {did_you_mean(replaced, SERVICES)}"
        )
    if replaced in target.services:
        return replaced
    if len(target.services) == 1:
        return next(iter(target.services))
    raise ValueError(
        f"{target.name} has no service {replaced}, and several could replace it: "
        f"{', '.join(target.services)}. Rename the right one to {replaced}."
    )


def lab_name(target: Target, service: str) -> str:
    """The lab's name for a service of a target: only that of its bus differs."""
    return BUS if service == target.bus_name else service


def why_incomplete(target: Target, bus: str = OWN) -> list[str]:
    """Why a target can't run as a variant with this bus, a sentence per reason; [] if it can."""
    reasons = list(target.missing_services())
    if bus not in BUSES:
        reasons.append(
            f"bus: saw {bus!r}. {target.name} has a bus of its own; what the lab can put in its "
            'place, speaking as it does, is the log: bus = "log".'
        )
    if bus == LOG and target.bus_name is None:
        reasons.append(f"bus: {target.name} has no event bus whose place the log could take.")
    return reasons
