"""The raw port of a sidecar: forwards requests to the external service, and its responses back.

    caller ──► ProxyConnection (one request after the other) ──► fault filter ──► the service

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
from lab.domain.errors import DependencyFailed, Invalid, RequestTimeout, ServiceError, Unreachable
from lab.domain.services import BUS
from lab.external.fault_filter import Delivery, ProxyFaultFilter
from lab.external.proxy.client import ServicePool, dependency_error, fetch
from lab.external.proxy.requests import ProxiedRequest, RequestParser
from lab.external.proxy.sockets import reset_on_close
from lab.faults.kinds import CLIENT, Effect
from lab.service.fault_api import injected_error
from lab.service.http import printable
from lab.support.http_client import (
    HttpOrigin,
    PendingRequest,
    RequestFailure,
    ResponseHead,
    acknowledge_now,
)

# ── Shared by all connections

IDLE_CHECK_S = 1.0
DELIVERY_TIMEOUT_S = 10.0
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_ABSOLUTE_URL = re.compile(rb"http://(?:[^/?#@]*@)?([^/?#]+)([^#]*)", re.IGNORECASE)


@dataclass(slots=True)
class ProxyCounts:
    """`visitors`: all requests; `events`: deliveries of events; `left`: callers that disconnected
    before they had the whole response."""

    visitors: int = 0
    passed: int = 0
    failed: int = 0
    left: int = 0
    events: int = 0
    under_way: int = 0
    last_failure: str = ""


class CallerConnection(Protocol):
    """A caller's connection, as the ProxyContext uses it."""

    def close_if_idle(self, now_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class ProxyContext:
    """What all connections to one raw port share.

    `hosts`: where host names lead that don't resolve on this machine, by `name:port` or `name`.
    `events_path`: where events are delivered; None: events are requests like any other.
    """

    name: str
    service: HttpOrigin
    fault_filter: ProxyFaultFilter
    pool: ServicePool
    hosts: Mapping[str, HttpOrigin] = field(default_factory=dict)
    events_path: str | None = "/events"
    counts: ProxyCounts = field(default_factory=ProxyCounts)
    connections: set[CallerConnection] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.caller_header = f"{headers.CALLER}: {self.name}\r\n".encode()
        self._events_path = (self.events_path or "").encode()
        self._tasks: set[asyncio.Task[None]] = set()
        self.fault_filter.on_released = lambda: self.deliver_later(
            self.fault_filter.filter_deliveries()
        )

    @property
    def delivering(self) -> bool:
        """Whether events are held back or under way for which no caller waits."""
        return bool(self._tasks) or self.fault_filter.has_held_events

    def route(self, request: ProxiedRequest, tunnel: HttpOrigin | None) -> tuple[HttpOrigin, bool]:
        """Where a request goes, and whether it is a request of the service to another one.

        Reduces the URL of a request to a proxy to its path. Raises Unreachable, Invalid.
        """
        if request.method == b"CONNECT":
            return self._origin(request.target.decode("latin-1")), True
        if request.target.startswith((b"/", b"*")):
            return (tunnel, True) if tunnel else (self.service, False)
        found = _ABSOLUTE_URL.fullmatch(request.target)
        if found is None:
            target = printable(request.target.decode("latin-1"))
            raise Invalid(f"{target!r} is neither a path nor a URL that begins with http://.")
        path = found[2] if found[2].startswith(b"/") else b"/" + found[2]
        request.target = path
        return self._origin(found[1].decode("latin-1")), True

    def _origin(self, authority: str) -> HttpOrigin:
        host, colon, port = authority.lower().rpartition(":")
        if not (colon and port.isdecimal()):
            host, port = authority.lower(), "80"
        if int(port) > 65535:
            raise Invalid(f"There is no port {port[:20]}.")
        known = self.hosts.get(f"{host}:{port}") or self.hosts.get(host)
        if known is not None:
            return known
        if host in _LOCAL_HOSTS:
            return HttpOrigin("127.0.0.1", int(port))
        shown = printable(authority)
        raise Unreachable(
            f"{self.name} calls the host {shown!r}, which is not a known service name. If it is "
            f'one of the services, add `"{shown}" = "its-name"` to [hosts]. The sidecar forwards '
            "nothing to other machines."
        )

    def is_event_delivery(self, request: ProxiedRequest) -> bool:
        """Whether the request delivers an event."""
        if request.method != b"POST" or not self._events_path:
            return False
        return request.target.partition(b"?")[0] == self._events_path

    def default_caller(self, request: ProxiedRequest) -> str:
        """The caller of a request that names none: the bus for events, otherwise the client."""
        return BUS if self.name != BUS and self.is_event_delivery(request) else CLIENT

    def count_failure(self, failure: DependencyFailed) -> None:
        """Count a failure of the service."""
        self.counts.failed += 1
        self.counts.last_failure = failure.detail

    async def deliver(self, delivery: Delivery) -> None:
        """Send an event. Its response goes to no caller; a failure is counted."""
        try:
            await fetch(self.pool, delivery.origin, delivery.request, DELIVERY_TIMEOUT_S)
        except DependencyFailed as failure:
            self.count_failure(failure)

    def deliver_later(self, deliveries: Iterable[Delivery]) -> None:
        """Send events one after the other, in a background task."""
        if pending := list(deliveries):
            self._start_task(self._deliver_all(pending))

    async def _deliver_all(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            await self.deliver(delivery)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close_idle_connections(self) -> None:
        """Run until cancelled: close connections on which nothing arrives any more."""
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            for connection in list(self.connections):
                connection.close_if_idle(monotonic())

    def close(self) -> None:
        """Cancel background deliveries and abort all connections."""
        for task in self._tasks:
            task.cancel()
        for connection in list(self.connections):
            connection.close()


# ── One connection

BUFFER_BYTES = 64 * 1024
REQUEST_TIMEOUT_S = 10.0
MAX_IDLE_S = 60.0
_MAX_LINGER_S = 2.0
_ACCEPTED = b'{"status":"OK"}'
"""The response for an event that a fault drops or holds back: the bus must not notice."""


class ProxyConnection(asyncio.Protocol):
    """A connection from a caller of the service."""

    def __init__(self, context: ProxyContext) -> None:
        self._context = context
        self._parser = RequestParser()
        self._queue = self._parser.queue
        self._tunnel: HttpOrigin | None = None
        self._task: asyncio.Task[None] | None = None
        self._processing = self._reading_paused = self._sending_paused = self._closing = False
        self._last_activity_s = monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._context.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._last_activity_s = monotonic()
        if self._parser.feed(data):
            if self._parser.receiving:
                acknowledge_now(self._transport.get_extra_info("socket"))
            self._process_queue()
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.connections.discard(self)
        if self._queue and self._queue[0].started:
            self._context.counts.left += 1
            if self._task is not None:
                self._task.cancel()
            self._remove(self._queue[0])
        self._queue.clear()

    def pause_writing(self) -> None:
        self._read_response(False)

    def resume_writing(self) -> None:
        self._read_response(True)

    def _read_response(self, enabled: bool) -> None:
        if self._queue and (pending := self._queue[0].pending) is not None:
            pending.pause_receiving(not enabled)

    def close_if_idle(self, now_s: float) -> None:
        """Close the connection, or refuse its request, if nothing has arrived for too long."""
        silent_s = now_s - self._last_activity_s
        if self._closing and silent_s > _MAX_LINGER_S:
            self._transport.abort()
        elif self._parser.receiving and not self._reading_paused:
            behind_another = self._queue and self._queue[-1].complete
            if silent_s > REQUEST_TIMEOUT_S and not behind_another:
                if self._parser.refuse(RequestTimeout("The rest of the request did not arrive.")):
                    self._process_queue()
                else:
                    self._transport.abort()
        elif not self._queue and silent_s > MAX_IDLE_S:
            self._transport.close()

    def close(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    def _process_queue(self) -> None:
        """Begin the next request, or send more of the one that has begun."""
        if self._processing:
            return
        self._processing = True
        while self._queue and not self._closing and not self._transport.is_closing():
            request = self._queue[0]
            if request.started:
                self._forward_body(request)
                break
            if not request.complete and request.unsent_bytes <= BUFFER_BYTES:
                if request.expects_continue:
                    request.expects_continue = False
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                break
            request.started = True
            self._start_request(request)
        self._processing = False
        self._update_reading()

    def _forward_body(self, request: ProxiedRequest) -> None:
        pending = request.pending
        if pending is None or pending.fully_sent or self._sending_paused:
            return
        if request.body or request.complete:
            pending.write(request.take_body())
            pending.fully_sent = request.complete

    def _update_reading(self) -> None:
        """Pause reading while a second request, or more than 64 KiB of a body, waits."""
        enough = bool(self._queue) and (
            len(self._queue) > 1 or self._queue[0].unsent_bytes > BUFFER_BYTES
        )
        if enough != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = enough
            self._last_activity_s = monotonic()
            if enough:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _start_request(self, request: ProxiedRequest) -> None:
        self._context.counts.visitors += 1
        self._context.counts.under_way += 1
        if request.error is not None:
            return self._respond(request, request.encode_problem(request.error))
        try:
            origin, outgoing = self._context.route(request, self._tunnel)
        except ServiceError as error:
            request.keep_alive = request.keep_alive and request.method != b"CONNECT"
            return self._respond(request, request.encode_problem(error))
        if request.method == b"CONNECT":
            self._tunnel, request.keep_alive = origin, True
            return self._respond(request, b"HTTP/1.1 200 Connection established\r\n\r\n")
        if outgoing:
            return self._send(request, origin, request.encode(self._context.caller_header))
        effect = self._context.fault_filter.decide(
            request.caller or self._context.default_caller(request)
        )
        if not effect.fault_names:
            return self._forward(request, origin)
        self._task = asyncio.get_running_loop().create_task(
            self._apply_faults(request, effect, origin)
        )

    async def _apply_faults(
        self, request: ProxiedRequest, effect: Effect, origin: HttpOrigin
    ) -> None:
        """Apply faults to a request: hang, reset, respond with an error, or delay it."""
        fault_filter = self._context.fault_filter
        if effect.unanswered:
            await fault_filter.wait_until_removed(effect)
        if effect.unanswered or effect.connection_reset:
            return self._reset_caller(request)
        if effect.status is not None:
            return self._respond(request, request.encode_problem(injected_error(), effect.status))
        await fault_filter.apply_latency(effect)
        self._forward(request, origin)
        self._update_reading()

    def _forward(self, request: ProxiedRequest, origin: HttpOrigin) -> None:
        if not (request.complete and self._context.is_event_delivery(request)):
            return self._send(request, origin, request.encode())
        self._context.counts.events += 1
        delivery = Delivery(origin, request.encode())
        deliveries = self._context.fault_filter.filter_deliveries(delivery)
        if deliveries == [delivery]:
            return self._send(request, origin, delivery.request)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._deliver(request, delivery, deliveries))

    async def _deliver(
        self, request: ProxiedRequest, own_delivery: Delivery, deliveries: list[Delivery]
    ) -> None:
        """Send the events that the event faults release now, in order. Respond to the caller."""
        own_position = (
            deliveries.index(own_delivery) if own_delivery in deliveries else len(deliveries)
        )
        for delivery in deliveries[:own_position]:
            await self._context.deliver(delivery)
        if own_position == len(deliveries):
            return self._respond(
                request, request.encode_response(200, b"OK", b"application/json", _ACCEPTED)
            )
        request.later_deliveries = deliveries[own_position + 1 :]
        self._send(request, own_delivery.origin, own_delivery.request)

    def _send(self, incoming: ProxiedRequest, origin: HttpOrigin, request: bytes) -> None:
        self._sending_paused = False
        incoming.pending = pending = PendingRequest(
            origin,
            request,
            self,
            retryable=incoming.complete and incoming.method in (b"GET", b"HEAD"),
            bodiless=incoming.method == b"HEAD",
            fully_sent=incoming.complete,
        )
        self._context.pool.submit(pending)
        if pending.connection is None:
            self._sending_paused = True  # until it has a connection

    def pause_sending(self, paused: bool) -> None:
        """Stop sending the request to the service for now (True), or go on."""
        self._sending_paused = paused
        if not paused:
            self._process_queue()

    def receive(self, head: ResponseHead | None, body: bytes, complete: bool, at_s: float) -> None:
        """Forward a piece of the service's response."""
        request = self._queue[0]
        encoded_head = request.encode_response_head(head) if head is not None else b""
        self._transport.write(encoded_head + request.encode_response_piece(body, complete))
        if complete:
            self._context.counts.passed += 1
            self._finish(request)

    def failed(self, failure: RequestFailure) -> None:
        """The service gave no response, or only the beginning of one.

        The sidecar resets the caller's connection, as the caller would see without a sidecar. Some
        callers would take any response, even a 503, for one of the service, and so for a success.
        """
        request = self._queue[0]
        assert request.pending is not None
        self._context.count_failure(dependency_error(self._context.name, request.pending, failure))
        self._reset_caller(request)

    def _respond(self, request: ProxiedRequest, response: bytes) -> None:
        self._transport.write(response)
        self._finish(request)

    def _finish(self, request: ProxiedRequest) -> None:
        self._remove(request)
        if request.keep_alive:
            return self._process_queue()
        self._closing = True
        self._queue.clear()
        if not self._parser.receiving:
            return self._transport.close()
        # Closing now would reset a caller that is still sending, before it reads the response.
        self._transport.write_eof()
        self._update_reading()

    def _remove(self, request: ProxiedRequest) -> None:
        self._queue.pop(0)
        self._task = None
        self._context.counts.under_way -= 1
        if request.pending is not None:
            request.pending.cancel()
        self._context.deliver_later(request.later_deliveries)

    def _reset_caller(self, request: ProxiedRequest) -> None:
        self._remove(request)
        reset_on_close(self._transport.get_extra_info("socket"))
        self._transport.abort()
