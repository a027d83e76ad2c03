"""A stack: one running arrangement, its addresses and processes, and whether it has settled."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from lab.cluster.arrangements import Arrangement, build_programs, url, with_engine
from lab.cluster.bus_engines import EXISTING, engine, is_existing, parse_cluster_url, probe_cluster
from lab.cluster.control_client import ControlClient
from lab.cluster.databases import Databases, open_databases
from lab.cluster.errors import LabCannotRun
from lab.cluster.ports import reserve
from lab.cluster.program import Program
from lab.cluster.supervisor import Supervisor
from lab.domain.services import BUS, ENTRY_POINTS
from lab.support.nats import NatsNotInstalled, find_server, require_client

_POLL_EVERY_S = 0.01


class Stack:
    """The processes of one variant.

    Their ports stay reserved until the stack is closed, also while a process is down.
    `attached`: it runs elsewhere and ran already; then `token_group` is the number in the tokens
    of a run's writes, because it may hold those of earlier runs.
    """

    attached: ClassVar[bool] = False
    token_group: int | None = None

    def __init__(
        self,
        name: str,
        arrangement: Arrangement,
        supervisor: Supervisor,
        folder: Path,
        *,
        options: Mapping[str, Any] | None = None,
        ports: Mapping[str, int] | None = None,
        token: str | None = None,
    ) -> None:
        """`ports`: fixed ports by process name; every other process gets a free port.

        Raises PortTaken, LabCannotRun.
        """
        options = options or {}
        if arrangement.has_bus and engine(options) in ("nats", EXISTING):
            _require_nats(options["bus"])
        arrangement = with_engine(arrangement, options)
        self._initialize(name, arrangement, supervisor, folder, token)
        fixed_ports = ports or {}
        try:
            reserved = {
                process: self._exit_stack.enter_context(reserve(fixed_ports.get(process, 0)))
                for process in arrangement.processes
            }
        except BaseException:
            self._exit_stack.close()
            raise
        port_numbers = {process: reservation.port for process, reservation in reserved.items()}
        self.urls = {
            target: url(port_numbers[arrangement.process_of(target)])
            for target in arrangement.targets
        }
        self.programs: list[Program] = build_programs(
            name,
            arrangement,
            options,
            port_numbers,
            folder,
            self.token,
            stream=f"lab-{name}-{secrets.token_hex(4)}",
        )

    def _initialize(
        self,
        name: str,
        arrangement: Arrangement,
        supervisor: Supervisor,
        folder: Path,
        token: str | None,
    ) -> None:
        self.name = name
        self.arrangement = arrangement
        self.supervisor = supervisor
        self.data = folder / "data" / name
        self.token = token or secrets.token_urlsafe(24)
        self._exit_stack = ExitStack()
        self._replicas: list[str] = []
        self.history_length = 0  # number of events that were published before the load
        self.call = ControlClient(self.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.call.close()
        self._exit_stack.close()

    @property
    def entry_urls(self) -> Mapping[str, str]:
        """The URLs that the load calls, by the name of the service that responds."""
        return {name: self.urls[name] for name in ENTRY_POINTS}

    @property
    def load_urls(self) -> Mapping[str, str]:
        """`entry_urls` as the machine of the load sees them; names are resolved there."""
        return self.entry_urls

    @property
    def ids_are_ordered(self) -> bool:
        """Whether a post that was written later has a greater id."""
        return True

    async def start(self) -> None:
        """Start all programs; return when each is ready. Raises StartFailed, NotReady."""
        await self.supervisor.start(*self.programs)

    def reserve_replica(self, service: str) -> tuple[str, int]:
        """Reserve a port for another replica of a service; return the replica's name and port."""
        replica = f"{service}-{2 + len(self._replicas)}"
        port = self._exit_stack.enter_context(reserve()).port
        modules = {**self.arrangement.programs, replica: self.arrangement.programs[service]}
        self.arrangement = replace(self.arrangement, programs=modules)
        self.urls[replica] = url(port)
        self._replicas.append(replica)
        return replica, port

    def add_guest(self, guest: str, module: str) -> int:
        """Add a user's service, so that requests and faults can reach it; return its port.

        The caller adds the program of the service to `programs`.
        """
        port = self._exit_stack.enter_context(reserve()).port
        self.arrangement = replace(
            self.arrangement,
            programs={**self.arrangement.programs, guest: module},
            guests=(*self.arrangement.guests, guest),
        )
        self.urls[guest] = url(port)
        return port

    def remove_guest(self, guest: str) -> None:
        """Remove a user's service whose program has ended."""
        programs = {part: of for part, of in self.arrangement.programs.items() if part != guest}
        guests = tuple(name for name in self.arrangement.guests if name != guest)
        name = self.program_name(guest)
        self.programs = [program for program in self.programs if program.name != name]
        self.arrangement = replace(self.arrangement, programs=programs, guests=guests)
        del self.urls[guest]

    def program_name(self, target: str) -> str:
        """The supervisor's name of the program in which a target runs."""
        return f"{self.name}.{self.arrangement.process_of(target)}"

    async def state(self, target: str) -> dict[str, Any] | None:
        """The state that a program reports (its offset, its unpublished events, …); None on
        failure."""
        answer = await self.call("GET", self.urls[target], "/_lab/state")
        return answer.data if answer.ok else None

    async def alerts(self) -> list[str]:
        """The alerts of the services, each after the service's name: `query: The log is not …`.

        Empty where there is no bus.
        """
        states = {
            name: await self.state(name)
            for name in self.arrangement.services
            if self.arrangement.has_bus
        }
        return [
            f"{name}: {sentence}"
            for name, state in states.items()
            for sentence in (state or {}).get("alarms", ())
        ]

    def open_databases(self) -> Databases:
        """The databases that each process has open now. Raises psutil.AccessDenied."""
        none: Databases = {part: [] for part in self.arrangement.processes}
        return none | open_databases(self.pids(), self.data)

    def pids(self) -> dict[str, int]:
        """The process ids of the processes that run now, by process name."""
        return {
            part: self.supervisor.pid(self.program_name(part))
            for part in self.arrangement.processes
            if self.supervisor.alive(self.program_name(part))
        }

    async def is_settled(self) -> bool:
        """Whether no event is under way: all outboxes are empty, all consumers at the bus's head.

        A consumer that is stuck at an event never reaches the head; it counts as settled. Without a
        bus, a stack has settled when no service is handling a request.

        The course's bus has no sequence numbers, but reports how many deliveries are under way. Its
        state is read before and after the services: if both are equal and no delivery is under way,
        no event was published or delivered in between.
        """
        if not self.arrangement.has_bus:
            states = [await self.state(name) for name in self.arrangement.services]
            return not any(state and state.get("under_way") for state in states)
        before = await self.state(BUS)
        services = [
            await self.state(name) for name in (*self.arrangement.services, *self._replicas)
        ]
        bus = await self.state(BUS)  # read last: its head includes all that services published
        if bus is None or any(service is None for service in services):
            return False
        if bus["head"] is None and (bus != before or bus.get("busy")):
            return False
        return all(
            not service.get("untold")
            and (service.get("stuck") or service.get("offset") in (None, bus["head"]))
            for service in services
            if service is not None
        )

    async def settle(self, within_s: float) -> bool:
        """Wait until everything has settled; False if that takes longer than `within_s` seconds.

        False at once when a program has ended: without the bus, for example, nothing settles.
        """
        try:
            async with asyncio.timeout(within_s):
                # Twice: a service may publish another event when it applies the last one.
                settled_polls = 0
                while settled_polls < 2:
                    if not all(self.supervisor.alive(program.name) for program in self.programs):
                        return False
                    settled_polls = settled_polls + 1 if await self.is_settled() else 0
                    if not settled_polls:
                        await asyncio.sleep(_POLL_EVERY_S)
        except TimeoutError:
            return False
        return True


def _require_nats(bus: str) -> None:
    try:
        require_client()
        if is_existing(bus):
            probe_cluster(parse_cluster_url(bus))
        else:
            find_server()
    except NatsNotInstalled as error:
        raise LabCannotRun(str(error)) from None


async def start_all(stacks: Sequence[Stack]) -> None:
    """Start the stacks in parallel. If one of them fails, stop waiting for the others."""
    starting = [asyncio.create_task(stack.start()) for stack in stacks]
    try:
        await asyncio.gather(*starting)
    finally:
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
