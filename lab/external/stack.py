"""Stacks with external services: a whole external system, or one service among the lab's own.

`ForeignStack`: a wrapper process runs each service, behind a sidecar with the fault filter and the
HTTP adapter for the load. The system's bus has a sidecar, too. Or the lab's log replaces that bus
(`lab/external/log_bus.py`) and delivers to each service what the bus would have delivered.

`ReplacedStack`: the lab's own services on the course's bus, with one of them replaced. The other
services need no change: the bus delivers to an event translator, which forwards each event in the
external service's field names. Events that this service publishes return by the same way.
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

# ── A whole external system

QUIET_S = 0.3
_LOOK_AGAIN_S = 0.03


class ForeignStack(Stack):
    """The processes of a variant that runs a complete target."""

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
        """Raises LabCannotRun when the target is incomplete, or one of its fixed ports is taken."""
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
        """Start the bus before the services: some request missed events as soon as they run."""
        of_the_bus = [one for one in self._services if one.name == self.program(BUS)]
        others = [one for one in self._services if one not in of_the_bus]
        await self.supervisor.start(*self._sidecars)
        await self.supervisor.start(*of_the_bus)
        await self.supervisor.start(*others)

    def pids(self) -> dict[str, int]:
        """The pids of each service: of all processes that its wrapper has started."""
        found: dict[str, int] = {}
        for program in self._services:
            if self.supervisor.alive(program.name):
                kept = self.supervisor.kept(program.name) if program.keeps else []
                for number, pid in enumerate(kept or [self.supervisor.pid(program.name)]):
                    found[f"{program.name}.{number}"] = pid
        return found

    def open_databases(self) -> Databases:
        """Empty: the lab can't read the databases of external services."""
        return {}

    async def is_settled(self) -> bool:
        """Whether no sidecar has a request under way, and the feed is unchanged for QUIET_S.

        External events have no numbers to compare. With the lab's log as the bus they have, and
        then the offset of each subscriber must also be at the end of the log.
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
        """The state of the log bus; {} if it does not respond. Only if the log replaces the bus."""
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


# ── One external service among the lab's own


class ReplacedStack(Stack):
    """The processes of a variant. `part`: the lab's service that is replaced."""

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
        """Raises ValueError if no service of the target fits, LabCannotRun if a port is taken."""
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
        """The databases of the lab's own services; the lab can't read the external one."""
        return {
            part: files for part, files in super().open_databases().items() if part != self.part
        }

    async def is_settled(self) -> bool:
        """As for the lab's own stack; also, no request to or from the external service is open."""
        crossing = await self.call("GET", self._crossing, "/_lab/state")
        theirs = await self.state(self.part)
        if not crossing.ok or theirs is None or crossing.data["busy"] or theirs["busy"]:
            return False
        return await super().is_settled()


def _asked_as(part: str, target: Target) -> Target:
    """The target with the load's action for `part` assigned to the service `part`."""
    if part not in ACTION_OF:
        return target
    name = ACTION_OF[part]
    action = getattr(target.actions, name).model_copy(update={"service": part})
    return target.model_copy(update={"actions": target.actions.model_copy(update={name: action})})
