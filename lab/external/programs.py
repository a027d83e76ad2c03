"""Ports and programs of an external system: for each service a wrapper process and a sidecar.

    the load ──► adapter (any port) ──┐
                                      ├──► fault filter ──► behind (any port): the service
    other services ──► public port ───┘

Other services call a service on its public port, which their code may contain (`localhost:4005`).
So the sidecar listens there, and the service gets another port. A service that can't listen on
another port keeps its public port, and its callers bypass the sidecar; except if they use a host
name, because that leads to the sidecar.
"""

import json
import random
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import psutil

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.cluster.forkserver_client import original_environment
from lab.cluster.ports import HOST, reserve
from lab.cluster.process_tree import descendants
from lab.cluster.program import Program
from lab.domain.services import BUS
from lab.external.arrangement import LOG_BUS, WRAPPER
from lab.external.target import ANY_PORT, COURSE_PORTS, Target, service_path
from lab.external.wrapper import ENVIRONMENT
from lab.support.files import write_private
from lab.support.ports import find_port_owner

# ── Ports

_PORT_RANGE = range(20_000, 32_000)
_RECENT_PORTS: deque[int] = deque(maxlen=1_000)
"""Ports assigned recently: a port looks free until its service listens."""


@dataclass(frozen=True)
class ServicePorts:
    """The ports of one service: of its adapter, for its callers, and where it listens; and the
    port of its sidecar to which it sends its own requests by host name, None if it has none."""

    adapter: int
    public: int
    listen: int
    proxy: int | None = None

    @property
    def behind_sidecar(self) -> bool:
        """Whether callers reach the service through its sidecar."""
        return self.public != self.listen


def assign_ports(target: Target, reservations: ExitStack) -> dict[str, ServicePorts]:
    """The ports of each service, by its name in the target. `reservations` keeps the
    sidecars' ports reserved.

    Raises LabCannotRun when a fixed port is taken.
    """
    return {name: assign_service_ports(target, name, reservations) for name in target.services}


def assign_movable_ports(reservations: ExitStack, public: int = ANY_PORT) -> ServicePorts:
    """Ports for a service that can listen on any port. Raises PortTaken."""
    if public:
        _check_ipv6_loopback(public)
    adapter = reservations.enter_context(reserve())
    sidecar = reservations.enter_context(reserve(public))
    return ServicePorts(adapter.port, sidecar.port, find_free_port(), sidecar.port)


def public_ports_of(assigned: Mapping[str, ServicePorts]) -> dict[str, int]:
    """The public port of each service."""
    return {name: ports.public for name, ports in assigned.items()}


def assign_service_ports(target: Target, name: str, reservations: ExitStack) -> ServicePorts:
    """The ports of one service. Raises LabCannotRun when a fixed port is taken."""
    public = target.public_port(name)
    try:
        if target.services[name].movable:
            return assign_movable_ports(reservations, public)
        _check_ipv6_loopback(public)
        with reserve(public):
            pass  # it is free now; the service will listen on it
        adapter = reservations.enter_context(reserve()).port
        if not target.hosts:
            return ServicePorts(adapter, public, public)
        proxy = reservations.enter_context(reserve()).port
        if target.can_have_sidecar(name):  # called by name, so the sidecar may have any port
            return ServicePorts(adapter, proxy, public, proxy)
        return ServicePorts(adapter, public, public, proxy)
    except PortTaken as error:
        raise _port_taken_error(f"{name} of {target.name}", error) from None


def assign_bus_port(target: Target, service: str, reservations: ExitStack) -> int:
    """The port on which one service expects the lab's bus: any free one if the target configures
    the address, otherwise the course's. Raises LabCannotRun when that is taken."""
    configurable = (
        BUS in target.services[service].referenced_services() or BUS in target.hosts.values()
    )
    public = ANY_PORT if configurable else COURSE_PORTS[BUS]
    try:
        if public:
            _check_ipv6_loopback(public)
        return reservations.enter_context(reserve(public)).port
    except PortTaken as error:
        raise _port_taken_error(f"the event bus, for {service} of {target.name},", error) from None


def _port_taken_error(user: str, error: PortTaken) -> LabCannotRun:
    return LabCannotRun(
        f"{user} is looked for on port {error.port}, and that is taken by "
        f"{error.owner or 'a program that the system does not name to us'}. End that program. "
        "`lab doctor` lists what an earlier run left behind."
    )


def _check_ipv6_loopback(port: int) -> None:
    """Raise PortTaken if a program listens on ::1: `localhost` may mean that address, too."""
    if socket.has_ipv6:
        with closing(socket.socket(socket.AF_INET6, socket.SOCK_STREAM)) as client:
            client.settimeout(1.0)
            if client.connect_ex(("::1", port)) == 0:
                raise PortTaken(port, find_port_owner(port))


def find_free_port() -> int:
    """A free port for a service. Raises LabCannotRun.

    It can't stay reserved, because the service does not share it. So it is outside the range for
    outgoing connections: one of these could take the port while the service restarts.
    """
    for port in random.sample(_PORT_RANGE, 200):
        if port in _RECENT_PORTS:
            continue
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            _RECENT_PORTS.append(port)
            return port
    raise LabCannotRun(f"No port from {_PORT_RANGE[0]} to {_PORT_RANGE[-1]} is free.")


# ── Services on a wrong port


def listening_ports_note(wrapper_pid: int, port: int) -> str | None:
    """Where the processes below a wrapper listen instead of `port`, in a sentence for an error.

    None if they do listen there, or if there are no processes.
    """
    listening: set[tuple[str, int]] = set()
    processes = descendants(wrapper_pid)
    for process in processes:
        with suppress(psutil.Error):
            listening |= {
                (connection.laddr.ip, connection.laddr.port)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            }
    if not processes or any(number == port and _is_local(host) for host, number in listening):
        return None
    if not listening:
        return "It has not begun to listen anywhere"
    others = [
        f"{number}" if _is_local(host) else f"{number} of {host}" for host, number in listening
    ]
    ports = " and ".join(sorted(set(others)))
    return (
        f"It listens on port {ports} instead. Say so with `port`, or tell it by `port_env` in "
        "which variable it is given the port"
    )


def _is_local(host: str) -> bool:
    address = ip_address(host)
    return address.is_loopback or address.is_unspecified


# ── Programs

SIDECAR = "lab.external.sidecar"
TRANSLATOR = "lab.external.translator"
PRELOAD = (WRAPPER, SIDECAR, LOG_BUS, TRANSLATOR)
"""Modules that the fork server imports once for external systems."""


@dataclass(frozen=True)
class ProgramFactory:
    """Defines the programs of one variant.

    `public_ports`: the public port of each service, by its name in the target. `data`: the folder
    that contains each service's data folder.
    """

    variant: str
    target: Target
    folder: Path
    data: Path
    token: str
    public_ports: Mapping[str, int]

    def wrapper(self, process: str, service: str, ports: ServicePorts) -> Program:
        """The wrapper that starts the service; ready when the service's sidecar says so."""
        spec, log = self.target.services[service], self._path(process, "log")
        data_folder = self.data / service
        data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command, env = spec.command_and_env(ports.listen, self.public_ports, data_folder.absolute())
        cwd = str(self.target.working_folder(service))
        proxy_env = self.target.proxy_environment(ports.proxy)
        own_environment = {"PATH": service_path(command[0]), "PYTHONUNBUFFERED": "1"}
        if sys.prefix != sys.base_prefix:
            own_environment["VIRTUAL_ENV"] = None
        variables = original_environment() | own_environment | proxy_env | env
        return Program(
            f"{self.variant}.{process}",
            WRAPPER,
            ("--cwd", cwd, "--log", str(log), "--", *command),
            log,
            # Not in the arguments, which every user of the machine can read.
            env={ENVIRONMENT: json.dumps(variables)},
            health=f"http://127.0.0.1:{ports.adapter}/health",
            owns_tree=True,
            ready_within_s=self.target.ready_within_s,
            diagnose=partial(listening_ports_note, port=ports.listen),
        )

    def sidecar(self, process: str, ports: ServicePorts, ready: str | None) -> Program:
        """The sidecar. The lab doesn't wait for it: its `/health` is that of the service."""
        argv = [
            f"--name={process}",
            f"--arrangement={self.variant}",
            "--reuse-port",
            f"--service-port={ports.listen}",
            f"--port={ports.adapter}",
            f"--mapping={self._write_mapping()}",
            f"--events={self.target.events}",
            f"--spans={self._path(process, 'spans.ndjson')}",
        ]
        if ports.proxy is not None:
            argv += ["--raw-port", str(ports.proxy)]
        if ready:
            argv += ["--ready", ready]
        for host, port in self.target.host_ports(self.public_ports).items():
            argv += ["--host", f"{host}={port}"]
        return Program(
            f"{self.variant}.{process}.sidecar",
            SIDECAR,
            tuple(argv),
            self._path(process, "sidecar.log"),
            env={"LAB_TOKEN": self.token},
        )

    def translator(
        self,
        process: str,
        receiver_port: int,
        ports: ServicePorts,
        bus_port: int,
        service_bus_port: int,
    ) -> Program:
        """The event translator between a service and the lab's own bus.

        `receiver_port` receives the bus's events; at `service_bus_port` the service expects its
        bus.
        """
        event = self.target.events
        return Program(
            f"{self.variant}.{process}.crossing",
            TRANSLATOR,
            (
                f"--name={process}",
                f"--port={receiver_port}",
                "--reuse-port",
                f"--service=http://127.0.0.1:{ports.public}{event}",
                f"--events={event}",
                f"--bus=http://127.0.0.1:{bus_port}/events",
                f"--bus-port={service_bus_port}",
                f"--mapping={self._write_mapping()}",
            ),
            self._path(process, "crossing.log"),
            env={"LAB_TOKEN": self.token},
            health=f"http://127.0.0.1:{receiver_port}/health",
        )

    def log_bus(self, ports: ServicePorts, subscribers: Sequence[str]) -> Program:
        """The lab's log in place of the target's bus. `subscribers`: URLs that receive events."""
        argv = ["--port", str(ports.listen), "--data", str(self.data / "log")]
        for subscriber in subscribers:
            argv += ["--subscriber", subscriber]
        return Program(
            f"{self.variant}.{BUS}",
            LOG_BUS,
            (*argv, "--events", self.target.events),
            self._path(BUS, "log"),
            env={"LAB_TOKEN": self.token},
            health=f"http://127.0.0.1:{ports.adapter}/health",
        )

    def _write_mapping(self) -> Path:
        """The file with the mapping; written once, readable for its owner only."""
        mapping = self.folder / f"{self.variant}.mapping.json"
        if not mapping.exists():
            write_private(mapping, self.target.actions.model_dump_json())
        return mapping

    def _path(self, process: str, kind: str) -> Path:
        return self.folder / f"{self.variant}.{process}.{kind}"
