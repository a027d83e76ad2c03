"""The raw port of a sidecar: forwards requests to the external service, and its responses back.

    caller ──► Caller (a connection, one request after the other) ──► fault filter ──► the service

A request of up to 64 KiB is sent in one piece when it is complete; a larger one is forwarded while
it arrives. Responses are forwarded while they arrive. Memory stays bounded: while one side accepts
no data, the sidecar does not read from the other side.

The raw port is also the proxy for requests that the service itself sends (`HTTP_PROXY`). So host
names that don't resolve on this machine lead to the right service, and the sidecar can add the name
of the caller. These requests do not pass the fault filter of their sender.
"""

import asyncio
import re
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from lab.domain import headers
from lab.domain.errors import DependencyFailed, Invalid, ServiceError, TooSlow, Unreachable
from lab.domain.services import BUS
from lab.external.fault_filter import Delivery, Gate
from lab.external.proxy.client import Pool, gather
from lab.external.proxy.pending import Head, Origin, Question
from lab.external.proxy.requests import Incoming, Reader
from lab.external.proxy.sockets import acknowledge, end_hard
from lab.faults.kinds import CLIENT, Visit
from lab.service.fault_api import refused_by_fault
from lab.service.http import printable

# ── Shared by all connections

LOOK_EVERY_S = 1.0
DELIVERED_WITHIN_S = 10.0
_HERE = ("127.0.0.1", "localhost", "[::1]")
_ABSOLUTE = re.compile(rb"http://(?:[^/?#@]*@)?([^/?#]+)([^#]*)", re.IGNORECASE)


@dataclass(slots=True)
class Counts:
    """`visitors`: all requests; `events`: deliveries of events; `left`: callers that disconnected
    before they had the whole response."""

    visitors: int = 0
    passed: int = 0
    failed: int = 0
    left: int = 0
    events: int = 0
    under_way: int = 0
    last_failure: str = ""


class Watched(Protocol):
    """A caller's connection, as the Passage uses it."""

    def look(self, now_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class Passage:
    """What all connections to one raw port share.

    `hosts`: where host names lead that don't resolve on this machine, by `name:port` or `name`.
    `events_path`: where events are delivered; None: events are requests like any other.
    """

    name: str
    service: Origin
    gate: Gate
    pool: Pool
    hosts: Mapping[str, Origin] = field(default_factory=dict)
    events_path: str | None = "/events"
    counts: Counts = field(default_factory=Counts)
    callers: set[Watched] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.signature = f"{headers.CALLER}: {self.name}\r\n".encode()
        self._events_path = (self.events_path or "").encode()
        self._tasks: set[asyncio.Task[None]] = set()
        self.gate.on_late = lambda: self.later(self.gate.arrivals())

    @property
    def delivering(self) -> bool:
        """Whether events are held back or under way for which no caller waits."""
        return bool(self._tasks) or self.gate.keeps_waiting

    def way(self, request: Incoming, tunnel: Origin | None) -> tuple[Origin, bool]:
        """Where a request goes, and whether it is a request of the service to another one.

        Reduces the URL of a request to a proxy to its path. Raises Unreachable, Invalid.
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
        """Whether the request delivers an event."""
        if request.method != b"POST" or not self._events_path:
            return False
        return request.target.partition(b"?")[0] == self._events_path

    def caller_of(self, request: Incoming) -> str:
        """The caller of a request that names none: the bus for events, otherwise the client."""
        return BUS if self.name != BUS and self.is_event(request) else CLIENT

    def note(self, failure: DependencyFailed) -> None:
        """Count a failure of the service."""
        self.counts.failed += 1
        self.counts.last_failure = failure.detail

    async def deliver(self, delivery: Delivery) -> None:
        """Send an event. Its response goes to no caller; a failure is counted."""
        try:
            await gather(self.pool, delivery.origin, delivery.request, DELIVERED_WITHIN_S)
        except DependencyFailed as failure:
            self.note(failure)

    def later(self, deliveries: Iterable[Delivery]) -> None:
        """Send events one after the other, in a background task."""
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
        """Run until cancelled: close connections on which nothing arrives any more."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for caller in list(self.callers):
                caller.look(monotonic())

    def close(self) -> None:
        """Cancel background deliveries and abort all connections."""
        for task in self._tasks:
            task.cancel()
        for caller in list(self.callers):
            caller.close()


# ── One connection

WHOLE_UP_TO_BYTES = 64 * 1024
HALF_A_REQUEST_AT_MOST_S = 10.0
IDLE_AT_MOST_S = 60.0
_LINGERS_AT_MOST_S = 2.0
_TAKEN = b'{"status":"OK"}'
"""The response for an event that a fault drops or holds back: the bus must not notice."""


class Caller(asyncio.Protocol):
    """A connection from a caller of the service."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._reader = Reader()
        self._queue = self._reader.queue
        self._tunnel: Origin | None = None
        self._task: asyncio.Task[None] | None = None
        self._going = self._paused = self._held_back = self._over = False
        self._touched_s = monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._passage.callers.add(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._touched_s = monotonic()
        if self._reader.feed(data):
            if self._reader.receiving:
                acknowledge(self._transport.get_extra_info("socket"))
            self._go_on()
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._passage.callers.discard(self)
        if self._queue and self._queue[0].begun:
            self._passage.counts.left += 1
            if self._task is not None:
                self._task.cancel()
            self._done_with(self._queue[0])
        self._queue.clear()

    def pause_writing(self) -> None:
        self._answer_comes_in(False)

    def resume_writing(self) -> None:
        self._answer_comes_in(True)

    def _answer_comes_in(self, comes: bool) -> None:
        if self._queue and (question := self._queue[0].question) is not None:
            question.pause(not comes)

    def look(self, now_s: float) -> None:
        """Close the connection, or refuse its request, if nothing has arrived for too long."""
        silent_s = now_s - self._touched_s
        if self._over and silent_s > _LINGERS_AT_MOST_S:
            self._transport.abort()
        elif self._reader.receiving and not self._paused:
            behind_another = self._queue and self._queue[-1].complete
            if silent_s > HALF_A_REQUEST_AT_MOST_S and not behind_another:
                if self._reader.refuse(TooSlow("The rest of the request did not arrive.")):
                    self._go_on()
                else:
                    self._transport.abort()
        elif not self._queue and silent_s > IDLE_AT_MOST_S:
            self._transport.close()

    def close(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Begin the next request, or send more of the one that has begun."""
        if self._going:
            return
        self._going = True
        while self._queue and not self._over and not self._transport.is_closing():
            first = self._queue[0]
            if first.begun:
                self._send_more(first)
                break
            if not first.complete and first.waiting <= WHOLE_UP_TO_BYTES:
                if first.expects:
                    first.expects = False
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                break
            first.begun = True
            self._begin(first)
        self._going = False
        self._read_or_not()

    def _send_more(self, first: Incoming) -> None:
        question = first.question
        if question is None or question.whole or self._held_back:
            return
        if first.body or first.complete:
            question.write(first.more_body())
            question.whole = first.complete

    def _read_or_not(self) -> None:
        """Pause reading while a second request, or more than 64 KiB of a body, waits."""
        enough = bool(self._queue) and (
            len(self._queue) > 1 or self._queue[0].waiting > WHOLE_UP_TO_BYTES
        )
        if enough != self._paused and not self._transport.is_closing():
            self._paused = enough
            self._touched_s = monotonic()
            if enough:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _begin(self, first: Incoming) -> None:
        self._passage.counts.visitors += 1
        self._passage.counts.under_way += 1
        if first.refused is not None:
            return self._answer(first, first.problem(first.refused))
        try:
            origin, outgoing = self._passage.way(first, self._tunnel)
        except ServiceError as error:
            first.keep_alive = first.keep_alive and first.method != b"CONNECT"
            return self._answer(first, first.problem(error))
        if first.method == b"CONNECT":
            self._tunnel, first.keep_alive = origin, True
            return self._answer(first, b"HTTP/1.1 200 Connection established\r\n\r\n")
        if outgoing:
            return self._send(first, origin, first.request(self._passage.signature))
        visit = self._passage.gate.visit(first.caller or self._passage.caller_of(first))
        if not visit.because_of:
            return self._let_in(first, origin)
        self._task = asyncio.get_running_loop().create_task(self._held(first, visit, origin))

    async def _held(self, first: Incoming, visit: Visit, origin: Origin) -> None:
        """Apply faults to a request: hang, reset, respond with an error, or delay it."""
        gate = self._passage.gate
        if visit.unanswered:
            await gate.until_healed(visit)
        if visit.unanswered or visit.torn_down:
            return self._tear_down(first)
        if visit.status is not None:
            return self._answer(first, first.problem(refused_by_fault(), visit.status))
        await gate.wait(visit)
        self._let_in(first, origin)
        self._read_or_not()

    def _let_in(self, first: Incoming, origin: Origin) -> None:
        if not (first.complete and self._passage.is_event(first)):
            return self._send(first, origin, first.request())
        self._passage.counts.events += 1
        own = Delivery(origin, first.request())
        arriving = self._passage.gate.arrivals(own)
        if arriving == [own]:
            return self._send(first, origin, own.request)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._deliver(first, own, arriving))

    async def _deliver(self, first: Incoming, own: Delivery, arriving: list[Delivery]) -> None:
        """Send the events that the event faults release now, in order. Respond to the caller."""
        at = arriving.index(own) if own in arriving else len(arriving)
        for delivery in arriving[:at]:
            await self._passage.deliver(delivery)
        if at == len(arriving):
            return self._answer(first, first.answer(200, b"OK", b"application/json", _TAKEN))
        first.after = arriving[at + 1 :]
        self._send(first, own.origin, own.request)

    def _send(self, first: Incoming, origin: Origin, request: bytes) -> None:
        self._held_back = False
        first.question = question = Question(
            *(origin, request, self),
            may_repeat=first.complete and first.method in (b"GET", b"HEAD"),
            bodiless=first.method == b"HEAD",
            whole=first.complete,
        )
        self._passage.pool.ask(question)
        if question.connection is None:
            self._held_back = True  # until it has a connection

    def hold_back(self, back: bool) -> None:
        """Stop sending the request to the service for now (True), or go on."""
        self._held_back = back
        if not back:
            self._go_on()

    def hear(self, head: Head | None, body: bytes, over: bool) -> None:
        """Forward a piece of the service's response."""
        first = self._queue[0]
        begin = first.answer_head(head) if head is not None else b""
        self._transport.write(begin + first.answer_piece(body, over))
        if over:
            self._passage.counts.passed += 1
            self._finish(first)

    def failed(self, failure: DependencyFailed) -> None:
        """The service gave no response, or only the beginning of one.

        The sidecar resets the caller's connection, as the caller would see without a sidecar. Some
        callers would take any response, even a 503, for one of the service, and so for a success.
        """
        self._passage.note(failure)
        self._tear_down(self._queue[0])

    def _answer(self, first: Incoming, answer: bytes) -> None:
        self._transport.write(answer)
        self._finish(first)

    def _finish(self, first: Incoming) -> None:
        self._done_with(first)
        if first.keep_alive:
            return self._go_on()
        self._over = True
        self._queue.clear()
        if not self._reader.receiving:
            return self._transport.close()
        # Closing now would reset a caller that is still sending, before it reads the response.
        self._transport.write_eof()
        self._read_or_not()

    def _done_with(self, first: Incoming) -> None:
        self._queue.pop(0)
        self._task = None
        self._passage.counts.under_way -= 1
        if first.question is not None:
            first.question.drop()
        self._passage.later(first.after)

    def _tear_down(self, first: Incoming) -> None:
        self._done_with(first)
        end_hard(self._transport.get_extra_info("socket"))
        self._transport.abort()
