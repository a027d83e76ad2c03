"""What stands where a foreign service is expected: everything is passed on to it as it came.

    caller ──► Caller (a connection, one request after the other) ──► the door ──► the service

A request of ordinary size is taken in whole and sent in one piece; a larger one is passed on while
it still comes in. Answers are passed on while they come in. Nobody's slowness fills our memory: who
takes nothing is sent nothing, and who sent it is not read from meanwhile.

It is also a proxy for what the service itself asks of others (`HTTP_PROXY`), which is how names
that mean nothing on this machine are found, and how the others learn who asks.

What all connections to a sidecar's raw port share: whither, through which door, and a count.
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

# ── What all connections to a sidecar's raw port share: whither, through which door, and a count.

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
        self.signature = f"{headers.CALLER}: {self.name}\r\n".encode()
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


# ── What stands where a foreign service is expected: everything is passed on to it as it came.

WHOLE_UP_TO_BYTES = 64 * 1024
HALF_A_REQUEST_AT_MOST_S = 10.0
IDLE_AT_MOST_S = 60.0
_LINGERS_AT_MOST_S = 2.0
_TAKEN = b'{"status":"OK"}'
"""What the bus hears of an event that a fault has taken away: it must not notice."""


class Caller(asyncio.Protocol):
    """A connection from whoever calls the service."""

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
        """Close a connection on which nothing has come for too long."""
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
        """Tear the connection down."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Do what can be done: begin the next request, or send more of the one that has begun."""
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
        """Read no more while there is enough to do with what has been read."""
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
        """What becomes of a request that a fault has hit."""
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
        """Send what a fault of events lets in now, in its order."""
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
            self._held_back = True  # until there is one

    def hold_back(self, back: bool) -> None:
        """The service takes no more of the request for now; or does again."""
        self._held_back = back
        if not back:
            self._go_on()

    def hear(self, head: Head | None, body: bytes, over: bool) -> None:
        """A piece of the service's answer."""
        first = self._queue[0]
        begin = first.answer_head(head) if head is not None else b""
        self._transport.write(begin + first.answer_piece(body, over))
        if over:
            self._passage.counts.passed += 1
            self._finish(first)

    def failed(self, failure: DependencyFailed) -> None:
        """The service gave no answer, or only the beginning of one.

        Its callers are to see what they would see without us: a connection that breaks. An answer
        of ours, be it a 503, is taken by some for the service's, and so for a success.
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
        # Who is still sending would be cut off by our leaving, and not read the answer.
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
