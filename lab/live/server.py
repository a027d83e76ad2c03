"""The HTTP servers of `lab live`: the console on the loopback, and the one for spectators.

The console requires the cookie that its token gives. The server for spectators in the same network
is a second listener, started only on request (`--share`). It serves only the routes marked as
shared, which change nothing, and uses no cookie. Spectators share one response of the blog, so two
hundred of them put no load on it.
"""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from aiohttp import web

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.domain.errors import Conflict, NotFound, ServiceError
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast, Role, encode_event
from lab.live.routes import AccessRoute
from lab.live.security import (
    HEADERS,
    Credentials,
    check_origin,
    check_own_host,
    check_page,
    local_addresses,
    loopback_hosts,
)
from lab.live.session import Session
from lab.service.http import (
    WHOLE_REQUEST_WITHIN_S,
    HttpServer,
    Route,
    answer,
    check_path,
    match_route,
    problem_response,
    read_body,
)
from lab.support.ports import find_port_owner

# ── HTTP server

SHUTDOWN_WITHIN_S = 1.0
STALLED_AFTER_S = 5.0
_UNAVAILABLE = 503


def stream_handler(broadcast: Broadcast, role: Role) -> Callable[[web.BaseRequest], Any]:
    """The handler of `GET /api/stream`: all messages from now on, as server-sent events.

    The handler raises Conflict if too many screens are connected."""

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        if broadcast.subscribers.is_full(role == "watcher"):
            raise Conflict("Too many look on already. Try again later.")
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        with broadcast.subscribers.subscribe(role == "watcher") as subscriber:
            await response.prepare(request)
            data = encode_event("hello", broadcast.hello_message(role))
            try:
                while data:
                    async with asyncio.timeout(STALLED_AFTER_S):
                        await response.write(data)
                    data = await subscriber.next_messages()
            except (TimeoutError, ConnectionError):
                # The client reads nothing: a regular close would wait for the unsent data.
                if request.transport is not None:
                    request.transport.abort()
        return response

    return stream


@dataclass(frozen=True)
class HttpApp:
    """One listener: its routes, the Host values it accepts, and its credentials. `keys` None: no
    cookie is required."""

    routes: Sequence[AccessRoute]
    hosts: Callable[[], Collection[str]]
    credentials: Credentials | None

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one request; every error becomes a problem response."""
        try:
            response = await self._dispatch(request)
        except ServiceError as error:
            response = problem_response(error)
        except LabCannotRun as error:
            response = problem_response(ServiceError(str(error), definite=False), _UNAVAILABLE)
        except Exception:
            traceback.print_exc()
            response = problem_response(
                ServiceError("A bug in the console; its terminal has more.")
            )
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        check_own_host(request, self.hosts())
        check_path(request.path)
        route, path = match_route(
            [door.route for door in self.routes], request.method, request.path
        )
        access_route = next(door for door in self.routes if door.route is route)
        check_origin(request)
        if access_route.mutates:
            check_page(request)
        if self.credentials is not None and not access_route.open:
            self.credentials.check_cookie(request)
        body = await read_body(request, route.max_body) if access_route.mutates else b""
        if route.raw:
            raw: web.StreamResponse = await route.handler(request)
            return raw
        result = await route.handler(**route.arguments(path, request.query, body))
        return result if isinstance(result, web.Response) else answer(result)


def listen_on(address: str, port: int) -> socket.socket:
    """Listen on this address; port 0 takes a free port. Raises PortTaken."""
    listen_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listen_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listen_socket.bind((address, port))
    except OSError:
        listen_socket.close()
        raise PortTaken(port, find_port_owner(port)) from None
    listen_socket.listen(1024)
    return listen_socket


@asynccontextmanager
async def serve_app(
    http_app: HttpApp, listen_socket: socket.socket, broadcast: Broadcast
) -> AsyncIterator[None]:
    """Serve on this socket until the context ends."""
    server = HttpServer(
        http_app.respond,
        # aiohttp uses this timer for idle connections and for request heads sent only in part.
        keepalive_timeout=WHOLE_REQUEST_WITHIN_S,
        auto_decompress=False,
        access_log=None,
        lingering_time=1.0,
    )
    tcp_server = await asyncio.get_running_loop().create_server(server, sock=listen_socket)
    try:
        yield
    finally:
        tcp_server.close()
        broadcast.subscribers.end()
        server.pre_shutdown()
        with suppress(TimeoutError):
            await server.shutdown(SHUTDOWN_WITHIN_S)


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


async def static_file(request: web.BaseRequest) -> web.Response:
    """`/` is index.html, `/static/NAME` the file of that name in static/. Raises NotFound."""
    name = request.path.removeprefix("/static/").removeprefix("/") or "index.html"
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


class LocalHosts:
    """The Host values of this machine at a port, looked up again every 5 s: networks change."""

    def __init__(self, port: int) -> None:
        self._port, self._refreshed_s = port, float("-inf")
        self._known: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        if perf_counter() - self._refreshed_s > _REFRESH_S:
            self._refreshed_s = perf_counter()
            addresses_with_port = {f"{address}:{self._port}" for address in local_addresses()}
            # No DNS query for more names: without a network it takes seconds to fail.
            name = socket.gethostname()
            names = {f"{name}:{self._port}", f"{name}.local:{self._port}"}
            self._known = loopback_hosts(self._port) | addresses_with_port | names
        return self._known


def spectator_routes(routes: Sequence[AccessRoute], session: Session) -> list[AccessRoute]:
    """The shared routes, with the stream for spectators and their own feed of the blog."""
    blog = BlogClient(session)

    async def feed(half: str) -> object:
        # Without `newest`: all spectators share one cached response.
        return await blog.feed(half)

    overrides = {
        "/api/stream": Route(
            "GET", "/api/stream", stream_handler(session.broadcast, "watcher"), raw=True
        ),
        "/api/blog": Route("GET", "/api/blog", feed),
    }
    return [
        replace(door, route=overrides.get(door.route.path, door.route), open=True)
        for door in routes
        if door.shared
    ]


def spectator_app(routes: Sequence[AccessRoute], session: Session, port: int) -> HttpApp:
    return HttpApp(spectator_routes(routes, session), LocalHosts(port), None)


def spectator_urls(port: int) -> list[str]:
    """The URLs for spectators, one for each IPv4 address of this machine."""
    return [f"http://{address}:{port}/" for address in local_addresses()]
