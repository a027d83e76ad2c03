"""What all connections to a sidecar's raw port share: whither, through which door, and a count."""

import asyncio
import re
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from lab.domain.directory import BUS
from lab.domain.errors import DependencyFailed, Invalid, Unreachable
from lab.faults.kinds import CLIENT
from lab.foreign.gate import Delivery, Gate
from lab.foreign.gathering import gather
from lab.foreign.incoming import Incoming
from lab.foreign.question import Origin
from lab.foreign.upstream import Pool
from lab.web import CALLER_HEADER, printable

LOOK_EVERY_S = 1.0
DELIVERED_WITHIN_S = 10.0
_HERE = ("127.0.0.1", "localhost", "[::1]")
_ABSOLUTE = re.compile(rb"http://(?:[^/?#@]*@)?([^/?#]+)([^#]*)", re.IGNORECASE)


@dataclass(slots=True)
class Counts:
    """`events`: deliveries that came in; `left`: callers who went before they had an answer."""

    visitors: int = 0
    passed: int = 0
    failed: int = 0
    left: int = 0
    events: int = 0
    under_way: int = 0
    last_failure: str = ""


class Watched(Protocol):
    """A connection, as far as the passage is concerned."""

    def look(self, now_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class Passage:
    """`hosts`: what names mean that mean nothing on this machine, as `name:port` or `name`.
    `events_path`: where events are delivered; None: they are requests like any other."""

    name: str
    service: Origin
    gate: Gate
    pool: Pool
    hosts: Mapping[str, Origin] = field(default_factory=dict)
    events_path: str | None = "/events"
    counts: Counts = field(default_factory=Counts)
    callers: set[Watched] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.signature = f"{CALLER_HEADER}: {self.name}\r\n".encode()
        self._events_path = (self.events_path or "").encode()
        self._tasks: set[asyncio.Task[None]] = set()
        self.gate.on_late = lambda: self.later(self.gate.arrivals())

    @property
    def delivering(self) -> bool:
        """Whether events are under way that no caller waits for."""
        return bool(self._tasks) or self.gate.keeps_waiting

    def way(self, request: Incoming, tunnel: Origin | None) -> tuple[Origin, bool]:
        """Where a request goes, and whether it is one that the service itself asks of another.

        Of a proxy's request only the path goes on. Raises Unreachable, Invalid.
        """
        if request.method == b"CONNECT":
            return self._origin(request.target.decode("latin-1")), True
        if request.target.startswith((b"/", b"*")):
            return (tunnel, True) if tunnel else (self.service, False)
        found = _ABSOLUTE.fullmatch(request.target)
        if found is None:
            target = printable(request.target.decode("latin-1"))
            raise Invalid(f"{target!r} is neither a path nor a URL that begins with http://.")
        path = found[2] if found[2].startswith(b"/") else b"/" + found[2]
        request.target = path
        return self._origin(found[1].decode("latin-1")), True

    def _origin(self, authority: str) -> Origin:
        host, colon, port = authority.lower().rpartition(":")
        if not (colon and port.isdecimal()):
            host, port = authority.lower(), "80"
        if int(port) > 65535:
            raise Invalid(f"There is no port {port[:20]}.")
        known = self.hosts.get(f"{host}:{port}") or self.hosts.get(host)
        if known is not None:
            return known
        if host in _HERE:
            return Origin("127.0.0.1", int(port))
        shown = printable(authority)
        raise Unreachable(
            f"{self.name} asks {shown!r}, and nobody is called so here. If it is one of the "
            f'services, add `"{shown}" = "its-name"` to [hosts]; nothing is passed on to other '
            "machines."
        )

    def is_event(self, request: Incoming) -> bool:
        """Whether it is an event that is brought."""
        if request.method != b"POST" or not self._events_path:
            return False
        return request.target.partition(b"?")[0] == self._events_path

    def caller_of(self, request: Incoming) -> str:
        """Who sent it, where nobody says so: events come from the bus."""
        return BUS if self.name != BUS and self.is_event(request) else CLIENT

    def note(self, failure: DependencyFailed) -> None:
        """Remember that the service failed."""
        self.counts.failed += 1
        self.counts.last_failure = failure.detail

    async def deliver(self, delivery: Delivery) -> None:
        """Bring an event whose sender has been answered already, or is answered by another."""
        try:
            await gather(self.pool, delivery.origin, delivery.request, DELIVERED_WITHIN_S)
        except DependencyFailed as failure:
            self.note(failure)

    def later(self, deliveries: Iterable[Delivery]) -> None:
        """Bring events one after the other, while nobody waits for that."""
        if waiting := list(deliveries):
            self._in_background(self._deliver_all(waiting))

    async def _deliver_all(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            await self.deliver(delivery)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def look_around(self) -> None:
        """For ever: close connections on which nothing comes any more."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for caller in list(self.callers):
                caller.look(monotonic())

    def close(self) -> None:
        """Tear down what is still open."""
        for task in self._tasks:
            task.cancel()
        for caller in list(self.callers):
            caller.close()
