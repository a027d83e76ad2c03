"""A system of somebody else's as a stack of the lab: started, asked, broken and ended like its own.

Each service is kept by a keeper and stands behind a sidecar, which has the lab's door and a face
for the load. Its bus is behind one too; or the lab's log takes its place
(`lab/external/log_bus.py`), and then every service is told what its own bus would have told it.

The lab's own services on the course's bus, with one of somebody else's in the place of one.

The others notice nothing: the bus tells a crossing, which tells the service in its own words, and
what the service tells the bus at the address it knows goes the same way back.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, url
from lab.cluster.databases import Databases
from lab.cluster.errors import LabCannotRun
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS
from lab.external.arrangement import (
    ACTION_OF,
    LOG,
    OWN,
    arrangement_of,
    arrangement_with,
    part_of,
    the_one_for,
    why_not_whole,
)
from lab.external.programs import Parts, Place, a_bus_port, place_of, places, ports_of
from lab.external.target import Target

# ── A system of somebody else's as a stack of the lab: started, asked, broken and ended like its
# own.

QUIET_S = 0.3
_LOOK_AGAIN_S = 0.03


class ForeignStack(Stack):
    """A variant's processes, of a target that is whole."""

    def __init__(
        self,
        name: str,
        target: Target,
        supervisor: Supervisor,
        folder: Path,
        *,
        bus: str = OWN,
        token: str | None = None,
    ) -> None:
        """Raises LabCannotRun when it is not whole, or a port of its own is taken."""
        if missing := why_not_whole(target, bus):
            raise LabCannotRun("\n".join(missing))
        self._begin(name, arrangement_of(target, bus), supervisor, folder, token)
        self.target, self._bus = target, bus
        self._seen, self._seen_since_s = b"", 0.0
        try:
            by_service = places(target, self._held)
        except BaseException:
            self.__exit__()
            raise
        self.places = {part_of(target, one): place for one, place in by_service.items()}
        self.urls = {part: url(place.face) for part, place in self.places.items()}
        parts = Parts(name, target, folder, self.data, self.token, ports_of(by_service))
        self._sidecars = [
            parts.sidecar(part, self.places[part], self._ready(one))
            for one in target.services
            for part in (part_of(target, one),)
        ]
        self._services = [
            self._told_by_the_log(parts, self.places[part])
            if part == BUS and bus == LOG
            else parts.keeper(part, one, self.places[part])
            for one in target.services
            for part in (part_of(target, one),)
        ]
        self.programs = [*self._sidecars, *self._services]

    @property
    def asked_at(self) -> Mapping[str, str]:
        actions = self.target.actions
        asked = {
            "posts": actions.create_post,
            "comments": actions.create_comment,
            "query": actions.read_feed,
        }
        return {
            name: self.urls[part_of(self.target, action.service)] for name, action in asked.items()
        }

    @property
    def ids_are_ordered(self) -> bool:
        return False

    def place_of(self, service: str) -> Place:
        """The ports of a service, by its name in the target."""
        return self.places[part_of(self.target, service)]

    async def start(self) -> None:
        """The bus first, for some ask it what they have missed as soon as they stand."""
        of_the_bus = [one for one in self._services if one.name == self.program(BUS)]
        others = [one for one in self._services if one not in of_the_bus]
        await self.supervisor.start(*self._sidecars)
        await self.supervisor.start(*of_the_bus)
        await self.supervisor.start(*others)

    def pids(self) -> dict[str, int]:
        """Of each service all processes that it has started."""
        found: dict[str, int] = {}
        for program in self._services:
            if self.supervisor.alive(program.name):
                kept = self.supervisor.kept(program.name) if program.keeps else []
                for number, pid in enumerate(kept or [self.supervisor.pid(program.name)]):
                    found[f"{program.name}.{number}"] = pid
        return found

    def open_databases(self) -> Databases:
        """None: what they keep is their own affair."""
        return {}

    async def is_settled(self) -> bool:
        """Whether nothing is under way that can be seen, and the feed has stayed the same a while.

        There are no numbers to be compared. Where the log has taken the place of their bus there
        are, and then everybody must have taken everything.
        """
        await asyncio.sleep(_LOOK_AGAIN_S)
        states = [await self.state(part) for part in self.arrangement.targets]
        if any(state is None or state.get("busy") for state in states):
            return False
        if self._bus == LOG and not await self._all_are_told():
            return False
        feed = await self.call("GET", self.asked_at["query"], "/feed?limit=100")
        seen = hashlib.blake2b(feed.body).digest() if feed.ok else b""
        if not seen or seen != self._seen:
            self._seen, self._seen_since_s = seen, perf_counter()
            return False
        return perf_counter() - self._seen_since_s >= QUIET_S

    async def told(self) -> dict[str, Any]:
        """What the log says of itself, where it has taken the place of their bus."""
        answer = await self.call("GET", url(self.places[BUS].behind), "/_lab/state")
        return answer.data if answer.ok else {}

    async def _all_are_told(self) -> bool:
        told = await self.told()
        return bool(told) and all(one == told["head"] for one in told["subscribers"].values())

    def _ready(self, service: str) -> str | None:
        if self._bus == LOG and part_of(self.target, service) == BUS:
            return "/health"
        return self.target.services[service].ready

    def _told_by_the_log(self, parts: Parts, place: Place) -> Program:
        subscribers = [
            f"{url(each.public)}{self.target.events}"
            for part, each in self.places.items()
            if part != BUS
        ]
        return parts.bridge(place, subscribers)


# ── The lab's own services on the course's bus, with one of somebody else's in the place of one.


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
