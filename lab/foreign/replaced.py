"""The lab's own services on the course's bus, with one of somebody else's in the place of one.

The others notice nothing: the bus tells a crossing, which tells the service in its own words, and
what the service tells the bus at the address it knows goes the same way back.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.cluster.databases import Databases
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.cluster.topology import ARRANGEMENTS, url
from lab.domain.directory import BUS
from lab.foreign.made_of import ACTION_OF, arrangement_with, the_one_for
from lab.foreign.parts import Parts
from lab.foreign.placing import a_bus_port, place_of
from lab.foreign.target import Target


class ReplacedStack(Stack):
    """A variant's processes. `part`: the service of the lab's that a target's stands for."""

    def __init__(
        self,
        name: str,
        part: str,
        target: Target,
        supervisor: Supervisor,
        folder: Path,
        *,
        options: Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> None:
        """Raises ValueError when no service of the target can stand there, LabCannotRun."""
        service = the_one_for(part, target)
        own = ARRANGEMENTS["async-bus"]
        on_course = {**(options or {}), "bus": "course"}
        super().__init__(name, own, supervisor, folder, options=on_course, token=token)
        self.arrangement = arrangement_with(part, target)
        self.target, self.part = target, part
        try:
            place = place_of(target, service, self._held)
            bus = a_bus_port(target, service, self._held)
        except BaseException:
            self.__exit__()
            raise
        ports = {each: int(at.rpartition(":")[2]) for each, at in self.urls.items()}
        told_at = ports[part]
        found = {**ports, BUS: bus, part: place.public, service: place.public}
        parts = Parts(
            name, _asked_as(part, target), folder, self.data / "theirs", self.token, found
        )
        self._crossing = url(told_at)
        self.urls[part] = url(place.face)
        self.place = place
        self.programs = [
            *(one for one in self.programs if one.name != self.program(part)),
            parts.crossing(part, told_at, place, ports[BUS], bus),
            parts.sidecar(part, place, target.services[service].ready),
            parts.keeper(part, service, place),
        ]

    @property
    def ids_are_ordered(self) -> bool:
        return self.part != "posts"

    def open_databases(self) -> Databases:
        """What theirs keeps is its own affair."""
        return {
            part: files for part, files in super().open_databases().items() if part != self.part
        }

    async def is_settled(self) -> bool:
        """As with the lab's own; and nothing is on its way to theirs, or from it."""
        crossing = await self.call("GET", self._crossing, "/_lab/state")
        theirs = await self.state(self.part)
        if not crossing.ok or theirs is None or crossing.data["busy"] or theirs["busy"]:
            return False
        return await super().is_settled()


def _asked_as(part: str, target: Target) -> Target:
    """The target, in which the load's action is asked of it by the name it has here."""
    if part not in ACTION_OF:
        return target
    name = ACTION_OF[part]
    action = getattr(target.actions, name).model_copy(update={"service": part})
    return target.model_copy(update={"actions": target.actions.model_copy(update={name: action})})
