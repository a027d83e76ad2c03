"""Stacks with external services: a whole external system, or one service among the lab's own.

`ExternalStack`: a wrapper process runs each service, behind a sidecar with the fault filter and the
HTTP adapter for the load. The system's bus has a sidecar, too. Or the lab's log replaces that bus
(`lab/external/log_bus.py`) and delivers to each service what the bus would have delivered.

`MixedStack`: the lab's own services on the course's bus, with one of them replaced. The other
services need no change: the bus delivers to an event translator, which forwards each event in the
external service's field names. Events that this service publishes return by the same way.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.cluster.arrangements import ARRANGEMENTS, url
from lab.cluster.databases import Databases
from lab.cluster.errors import LabCannotRun, NotReady, StartFailed
from lab.cluster.program import Program
from lab.cluster.stack import Stack
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS, ENTRY_POINTS
from lab.external.arrangement import (
    LOG,
    OWN,
    arrangement_of,
    arrangement_replacing,
    lab_name,
    matching_service,
    why_incomplete,
)
from lab.external.programs import (
    ProgramFactory,
    ServicePorts,
    assign_bus_port,
    assign_ports,
    assign_service_ports,
    public_ports_of,
)
from lab.external.target import Target

# ── A whole external system

UNCHANGED_FOR_S = 0.3
_POLL_S = 0.03


class SeveralNotStarted(LabCannotRun):
    """More than one service did not start; `errors` has one error for each."""

    def __init__(self, errors: Sequence[StartFailed | NotReady]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, errors)))


class ExternalStack(Stack):
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
        if missing := why_incomplete(target, bus):
            raise LabCannotRun("\n".join(missing))
        self._initialize(name, arrangement_of(target, bus), supervisor, folder, token)
        self.target, self._bus = target, bus
        self._last_feed, self._unchanged_since_s = b"", 0.0
        try:
            by_service = assign_ports(target, self._exit_stack)
        except BaseException:
            self.__exit__()
            raise
        self.ports = {lab_name(target, name): ports for name, ports in by_service.items()}
        self.urls = {process: url(ports.adapter) for process, ports in self.ports.items()}
        factory = ProgramFactory(
            name, target, folder, self.data, self.token, public_ports_of(by_service)
        )
        self._sidecars, self._services = [], []
        for service in target.services:
            process = lab_name(target, service)
            ports = self.ports[process]
            self._sidecars.append(factory.sidecar(process, ports, self._readiness_path(service)))
            if process == BUS and bus == LOG:
                self._services.append(self._log_bus_program(factory, ports))
            else:
                self._services.append(factory.wrapper(process, service, ports))
        self.programs = [*self._sidecars, *self._services]

    @property
    def entry_urls(self) -> Mapping[str, str]:
        actions = self.target.actions
        by_role = {
            "posts": actions.create_post,
            "comments": actions.create_comment,
            "query": actions.read_feed,
        }
        return {
            role: self.urls[lab_name(self.target, action.service)]
            for role, action in by_role.items()
        }

    @property
    def ids_are_ordered(self) -> bool:
        return False

    def ports_of(self, service: str) -> ServicePorts:
        """The ports of a service, by its name in the target."""
        return self.ports[lab_name(self.target, service)]

    async def start(self) -> None:
        """Start the bus before the services: some request missed events as soon as they run.

        Raises StartFailed or NotReady for one service, SeveralNotStarted for more: a person who
        mends a target learns of every wrong port in one try.
        """
        bus_name = self.program_name(BUS)
        bus_programs = [program for program in self._services if program.name == bus_name]
        others = [program for program in self._services if program not in bus_programs]
        await self.supervisor.start(*self._sidecars)
        outcomes = [
            outcome
            for programs in (bus_programs, others)
            for outcome in await asyncio.gather(
                *map(self.supervisor.start, programs), return_exceptions=True
            )
        ]
        errors = [each for each in outcomes if isinstance(each, StartFailed | NotReady)]
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and outcome not in errors:
                raise outcome
        if len(errors) > 1:
            raise SeveralNotStarted(errors)
        if errors:
            raise errors[0]

    def pids(self) -> dict[str, int]:
        """The pids of each service: of all processes that its wrapper has started."""
        found: dict[str, int] = {}
        for program in self._services:
            if self.supervisor.alive(program.name):
                kept = self.supervisor.descendant_pids(program.name) if program.owns_tree else []
                for number, pid in enumerate(kept or [self.supervisor.pid(program.name)]):
                    found[f"{program.name}.{number}"] = pid
        return found

    def open_databases(self) -> Databases:
        """Empty: the lab can't read the databases of external services."""
        return {}

    async def is_settled(self) -> bool:
        """Whether no sidecar has a request under way, and the feed is unchanged for
        UNCHANGED_FOR_S.

        External events have no numbers to compare. With the lab's log as the bus they have, and
        then the offset of each subscriber must also be at the end of the log.
        """
        await asyncio.sleep(_POLL_S)
        states = [await self.state(process) for process in self.arrangement.targets]
        if any(state is None or state.get("busy") for state in states):
            return False
        if self._bus == LOG and not await self._log_is_delivered():
            return False
        feed = await self.call("GET", self.entry_urls["query"], "/feed?limit=100")
        digest = hashlib.blake2b(feed.body).digest() if feed.ok else b""
        if not digest or digest != self._last_feed:
            self._last_feed, self._unchanged_since_s = digest, perf_counter()
            return False
        return perf_counter() - self._unchanged_since_s >= UNCHANGED_FOR_S

    async def log_bus_state(self) -> dict[str, Any]:
        """The state of the log bus; {} if it does not respond. Only if the log replaces the bus."""
        answer = await self.call("GET", url(self.ports[BUS].listen), "/_lab/state")
        return answer.data if answer.ok else {}

    async def _log_is_delivered(self) -> bool:
        state = await self.log_bus_state()
        return bool(state) and all(
            offset == state["head"] for offset in state["subscribers"].values()
        )

    def _readiness_path(self, service: str) -> str | None:
        if self._bus == LOG and lab_name(self.target, service) == BUS:
            return "/health"
        return self.target.services[service].ready

    def _log_bus_program(self, factory: ProgramFactory, ports: ServicePorts) -> Program:
        subscribers = [
            f"{url(each.public)}{self.target.events}"
            for process, each in self.ports.items()
            if process != BUS
        ]
        return factory.log_bus(ports, subscribers)


# ── One external service among the lab's own


class MixedStack(Stack):
    """The processes of a variant. `replaced`: the lab's service that is replaced."""

    def __init__(
        self,
        name: str,
        replaced: str,
        target: Target,
        supervisor: Supervisor,
        folder: Path,
        *,
        options: Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> None:
        """Raises ValueError if no service of the target fits, LabCannotRun if a port is taken."""
        service = matching_service(replaced, target)
        own = ARRANGEMENTS["async-bus"]
        course_options = {**(options or {}), "bus": "course"}
        super().__init__(name, own, supervisor, folder, options=course_options, token=token)
        self.arrangement = arrangement_replacing(replaced, target)
        self.target, self.replaced = target, replaced
        try:
            service_ports = assign_service_ports(target, service, self._exit_stack)
            bus_port = assign_bus_port(target, service, self._exit_stack)
        except BaseException:
            self.__exit__()
            raise
        ports = {each: int(entry_url.rpartition(":")[2]) for each, entry_url in self.urls.items()}
        receiver_port = ports[replaced]
        public_ports = {
            **ports,
            BUS: bus_port,
            replaced: service_ports.public,
            service: service_ports.public,
        }
        factory = ProgramFactory(
            name,
            _with_action_on(replaced, target),
            folder,
            self.data / "theirs",
            self.token,
            public_ports,
        )
        self._translator_url = url(receiver_port)
        self.urls[replaced] = url(service_ports.adapter)
        self.service_ports = service_ports
        self.programs = [
            *(each for each in self.programs if each.name != self.program_name(replaced)),
            factory.translator(replaced, receiver_port, service_ports, ports[BUS], bus_port),
            factory.sidecar(replaced, service_ports, target.services[service].ready),
            factory.wrapper(replaced, service, service_ports),
        ]

    @property
    def ids_are_ordered(self) -> bool:
        return self.replaced != "posts"

    def open_databases(self) -> Databases:
        """The databases of the lab's own services; the lab can't read the external one."""
        return {
            service: files
            for service, files in super().open_databases().items()
            if service != self.replaced
        }

    async def is_settled(self) -> bool:
        """As for the lab's own stack; also, no request to or from the external service is open."""
        translator = await self.call("GET", self._translator_url, "/_lab/state")
        sidecar = await self.state(self.replaced)
        if not translator.ok or sidecar is None or translator.data["busy"] or sidecar["busy"]:
            return False
        return await super().is_settled()


def _with_action_on(replaced: str, target: Target) -> Target:
    """The target with the load's action for `replaced` assigned to that service."""
    if replaced not in ENTRY_POINTS:
        return target
    name = ENTRY_POINTS[replaced]
    action = getattr(target.actions, name).model_copy(update={"service": replaced})
    return target.model_copy(update={"actions": target.actions.model_copy(update={name: action})})
