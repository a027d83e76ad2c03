"""The HTTP servers of `lab live`: the console on the loopback, and the one for spectators.

The console requires the cookie that its token gives. The server for spectators in the same network
is a second listener, started only on request (`--share`). It serves only the routes marked as
shared, which change nothing, and uses no cookie. Spectators share one response of the blog, so two
hundred of them put no load on it.
"""

import asyncio
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import Any

from aiohttp import web

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.domain.errors import Conflict, MisdirectedRequest, NotFound, ServiceError
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast, Role, ScreenSubscriber, encode_event
from lab.live.proxy import DIRECT, FROM_JUPYTER, PREFIX, ProxyRules, check_origin
from lab.live.routes import ENTER_PATH, AccessRoute
from lab.live.security import HEADERS, Credentials, check_page, local_addresses
from lab.live.session import Session
from lab.service.http import HttpApp, Route, printable, problem_response
from lab.service.listener import bind
from lab.support.ports import find_port_owner

# ── HTTP server

STALLED_AFTER_S = 5.0
_UNAVAILABLE = 503


def stream_handler(broadcast: Broadcast, role: Role) -> Callable[[web.BaseRequest], Any]:
    """The handler of `GET /api/stream`: all messages from now on, as server-sent events.

    The handler raises Conflict if too many screens are connected."""

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        if broadcast.subscribers.is_full(role == "watcher"):
            raise Conflict("Too many screens are connected already. Try again later.")
        with broadcast.subscribers.subscribe(role == "watcher") as subscriber:
            return await send_events(request, "hello", broadcast.hello_message(role), subscriber)

    return stream


async def send_events(
    request: web.BaseRequest, name: str, data: bytes, subscriber: ScreenSubscriber
) -> web.StreamResponse:
    """Respond with this event and then those of the subscriber, until either side ends."""
    # nginx otherwise keeps events back until it has some kilobytes of them.
    headers = {**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    events = encode_event(name, data)
    try:
        while events:
            async with asyncio.timeout(STALLED_AFTER_S):
                await response.write(events)
            events = await subscriber.next_messages()
    except (TimeoutError, ConnectionError):
        # The client reads nothing: a regular close would wait for the unsent data.
        if request.transport is not None:
            request.transport.abort()
    return response


class ConsoleApp(HttpApp):
    """The server of the console. `credentials` None: no cookie is required."""

    def __init__(
        self,
        routes: Sequence[AccessRoute],
        port: int,
        broadcast: Broadcast,
        credentials: Credentials | None,
        proxy: ProxyRules = DIRECT,
    ) -> None:
        super().__init__(routes, port)
        self._broadcast, self._credentials, self._proxy = broadcast, credentials, proxy

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await super().__call__(self._proxy.seen_from_outside(request))
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def hosts(self) -> Collection[str]:
        """The values of `Host` that this server accepts."""
        return {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    def check_host(self, request: web.BaseRequest) -> None:
        is_known = request.host in self.hosts() or request.host.lower() in self._proxy.hosts
        if not is_known and not request[FROM_JUPYTER]:
            raise MisdirectedRequest(
                f"The name {printable(request.host)!r} is none of this server's. Behind a proxy, "
                "start lab live with --base-url or --allow-host."
            )

    async def respond(
        self, request: web.BaseRequest, route: Route, parameters: Mapping[str, str]
    ) -> web.StreamResponse:
        response = await super().respond(request, route, parameters)
        if route.path == ENTER_PATH and self._credentials is not None:
            cookie = self._credentials.set_cookie(request[PREFIX], request.scheme == "https")
            response.headers["Set-Cookie"] = cookie
        return response

    def check_access(self, request: web.BaseRequest, route: Route) -> None:
        assert isinstance(route, AccessRoute)
        check_origin(request)
        if route.mutates:
            check_page(request)
        if self._credentials is not None and not route.open:
            self._credentials.check_cookie(request)

    def error_response(self, error: Exception) -> web.StreamResponse:
        if isinstance(error, LabCannotRun):
            return problem_response(ServiceError(str(error), definite=False), _UNAVAILABLE)
        if isinstance(error, ServiceError):
            return problem_response(error)
        traceback.print_exception(error)
        return problem_response(ServiceError("A bug in the console; its terminal has more."))

    async def release_requests(self) -> None:
        """End the streams of all screens and phones."""
        self._broadcast.subscribers.end()
        self._broadcast.phones.end()


def listen_on(address: str, port: int) -> socket.socket:
    """Listen on this address; port 0 takes a free port. Raises PortTaken."""
    try:
        return bind(port, address)
    except OSError:
        raise PortTaken(port, find_port_owner(port)) from None


# ── Files of the page

STATIC_FOLDER = Path(__file__).parent / "static"

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
}


PHONE_PATHS = ("/", "/phone")
PAGES = {"/": "index.html", "/screen": "index.html", "/phone": "phone.html"}


async def static_file(request: web.BaseRequest) -> web.Response:
    """One of the PAGES, or `/static/NAME`: the file of that name in static/. Raises NotFound."""
    name = PAGES.get(request.path) or request.path.removeprefix("/static/")
    return file_response(name)


async def phone_page(request: web.BaseRequest) -> web.Response:
    """What spectators get at `/`: a phone stays there, and a larger screen goes on to `/screen`."""
    return file_response("phone.html")


def file_response(name: str) -> web.Response:
    """The file of this name in static/. Raises NotFound."""
    # The name is looked up in a listing of the folder: a path from a request is never opened.
    known = {path.name: path for path in STATIC_FOLDER.iterdir() if path.suffix in CONTENT_TYPES}
    if name not in known:
        raise NotFound(f"There is no file {name[:80]!r} here.")
    path = known[name]
    return web.Response(
        body=path.read_bytes(), headers={"Content-Type": CONTENT_TYPES[path.suffix]}
    )


# ── Spectators

_REFRESH_S = 5.0
REFUSED_AFTER_S = 1.0
MAX_REQUESTS_PER_S = 200
MAX_DELAYED = 2_000


class SpectatorApp(ConsoleApp):
    """The server for spectators: the shared routes, under all names and addresses of this machine.

    The addresses are looked up again every 5 s, because networks change. A refusal is sent after
    REFUSED_AFTER_S, and a network address that sends more than MAX_REQUESTS_PER_S waits as long: a
    program that floods the server waits most of the time, and takes little from the lab.
    """

    refused_after_s = REFUSED_AFTER_S

    def __init__(
        self,
        routes: Sequence[AccessRoute],
        session: Session,
        port: int,
        proxy: ProxyRules = DIRECT,
        nats_port: Callable[[], int | None] = lambda: None,
    ) -> None:
        shared = spectator_routes(routes, session)
        super().__init__(shared, port, session.broadcast, None, proxy)
        self._refreshed_s = float("-inf")
        self._hosts: frozenset[str] = frozenset()
        self._second, self._requests = 0, Counter[str]()
        self._delayed = 0
        self._nats_port = nats_port

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._is_too_fast(self._proxy.seen_from_outside(request).remote or ""):
            if self._delayed >= MAX_DELAYED and request.transport is not None:
                request.transport.abort()
            await self._delay()
        response = await super().__call__(request)
        if response.status >= HTTPStatus.BAD_REQUEST:
            await self._delay()
        elif request.path in PHONE_PATHS and (port := self._nats_port()):
            # The phone's page reads from one more address, and from no other.
            address = f"ws://{request.host.rpartition(':')[0]}:{port}"
            response.headers["Content-Security-Policy"] += f"; connect-src 'self' {address}"
        return response

    def _is_too_fast(self, address: str) -> bool:
        second = int(perf_counter())
        if second != self._second:
            self._second, self._requests = second, Counter()
        self._requests[address] += 1
        return self._requests[address] > MAX_REQUESTS_PER_S

    async def _delay(self) -> None:
        self._delayed += 1
        try:
            await asyncio.sleep(self.refused_after_s)
        finally:
            self._delayed -= 1

    def hosts(self) -> Collection[str]:
        if perf_counter() - self._refreshed_s > _REFRESH_S:
            self._refreshed_s = perf_counter()
            # No DNS query for more names: without a network it takes seconds to fail.
            name = socket.gethostname()
            names = ["127.0.0.1", "localhost", name, f"{name}.local", *local_addresses()]
            self._hosts = frozenset(f"{host}:{self.port}" for host in names)
        return self._hosts


def spectator_routes(routes: Sequence[AccessRoute], session: Session) -> list[AccessRoute]:
    """The shared routes, with the stream for spectators and their own feed of the blog."""
    blog = BlogClient(session)

    async def feed(half: str) -> object:
        # Without `newest`: all spectators share one cached response.
        return await blog.feed(half)

    handlers: dict[str, Callable[..., Any]] = {
        "/": phone_page,
        "/api/stream": stream_handler(session.broadcast, "watcher"),
        "/api/blog": feed,
    }
    return [
        replace(route, handler=handlers.get(route.path, route.handler), open=True)
        for route in routes
        if route.shared
    ]


def spectator_urls(port: int) -> list[str]:
    """The URLs for spectators, one for each IPv4 address of this machine."""
    return [f"http://{address}:{port}/" for address in local_addresses()]
