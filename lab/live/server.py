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
from lab.live.blog import Blog
from lab.live.broadcast import Role, Show, event
from lab.live.routes import Door
from lab.live.security import (
    HEADERS,
    Keys,
    check_origin,
    check_own_host,
    check_page,
    loopback_hosts,
    own_addresses,
)
from lab.live.session import Session
from lab.service.http import (
    WHOLE_REQUEST_WITHIN_S,
    HttpServer,
    Route,
    answer,
    check_path,
    find,
    problem,
    read_body,
)
from lab.support.ports import holder_of

# ── HTTP server

SHUTDOWN_WITHIN_S = 1.0
STALLED_AFTER_S = 5.0
_UNAVAILABLE = 503


def streaming(show: Show, role: Role) -> Callable[[web.BaseRequest], Any]:
    """The handler of `GET /api/stream`: all messages from now on, as server-sent events.

    The handler raises Conflict if too many screens are connected."""

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        if show.watchers.full(role == "watcher"):
            raise Conflict("Too many look on already. Try again later.")
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        with show.watchers.one_more(role == "watcher") as watcher:
            await response.prepare(request)
            data = event("hello", show.hello(role))
            try:
                while data:
                    async with asyncio.timeout(STALLED_AFTER_S):
                        await response.write(data)
                    data = await watcher.next()
            except (TimeoutError, ConnectionError):
                # The client reads nothing: a regular close would wait for the unsent data.
                if request.transport is not None:
                    request.transport.abort()
        return response

    return stream


@dataclass(frozen=True)
class Desk:
    """One listener: its routes, the Host values it accepts, and its credentials. `keys` None: no
    cookie is required."""

    doors: Sequence[Door]
    hosts: Callable[[], Collection[str]]
    keys: Keys | None

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to one request; every error becomes a problem response."""
        try:
            response = await self._pass(request)
        except ServiceError as error:
            response = problem(error)
        except LabCannotRun as error:
            response = problem(ServiceError(str(error), definite=False), _UNAVAILABLE)
        except Exception:
            traceback.print_exc()
            response = problem(ServiceError("A bug in the console; its terminal has more."))
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        check_own_host(request, self.hosts())
        check_path(request.path)
        route, path = find([door.route for door in self.doors], request.method, request.path)
        door = next(door for door in self.doors if door.route is route)
        check_origin(request)
        if door.changes:
            check_page(request)
        if self.keys is not None and not door.open:
            self.keys.check(request)
        body = await read_body(request, route.max_body) if door.changes else b""
        if route.raw:
            raw: web.StreamResponse = await route.handler(request)
            return raw
        told = await route.handler(**route.arguments(path, request.query, body))
        return told if isinstance(told, web.Response) else answer(told)


def listen_on(address: str, port: int) -> socket.socket:
    """Listen on this address; port 0 takes a free port. Raises PortTaken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
    except OSError:
        listening.close()
        raise PortTaken(port, holder_of(port)) from None
    listening.listen(1024)
    return listening


@asynccontextmanager
async def serving(desk: Desk, listening: socket.socket, show: Show) -> AsyncIterator[None]:
    """Serve on this socket until the context ends."""
    server = HttpServer(
        desk.respond,
        # aiohttp uses this timer for idle connections and for request heads sent only in part.
        keepalive_timeout=WHOLE_REQUEST_WITHIN_S,
        auto_decompress=False,
        access_log=None,
        lingering_time=1.0,
    )
    accepting = await asyncio.get_running_loop().create_server(server, sock=listening)
    try:
        yield
    finally:
        accepting.close()
        show.watchers.end()
        server.pre_shutdown()
        with suppress(TimeoutError):
            await server.shutdown(SHUTDOWN_WITHIN_S)


# ── Files of the page

FOLDER = Path(__file__).parent / "static"

TYPES = {
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
    known = {path.name: path for path in FOLDER.iterdir() if path.suffix in TYPES}
    if name not in known:
        raise NotFound(f"There is no file {name[:80]!r} here.")
    path = known[name]
    return web.Response(body=path.read_bytes(), headers={"Content-Type": TYPES[path.suffix]})


# ── Spectators

_LOOK_AGAIN_S = 5.0


class OwnHosts:
    """The Host values of this machine at a port, looked up again every 5 s: networks change."""

    def __init__(self, port: int) -> None:
        self._port, self._looked_at_s = port, float("-inf")
        self._known: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        if perf_counter() - self._looked_at_s > _LOOK_AGAIN_S:
            self._looked_at_s = perf_counter()
            own = {f"{address}:{self._port}" for address in own_addresses()}
            # No DNS query for more names: without a network it takes seconds to fail.
            name = socket.gethostname()
            names = {f"{name}:{self._port}", f"{name}.local:{self._port}"}
            self._known = loopback_hosts(self._port) | own | names
        return self._known


def shared_doors(doors: Sequence[Door], session: Session) -> list[Door]:
    """The shared routes, with the stream for spectators and their own feed of the blog."""
    blog = Blog(session)

    async def feed(half: str) -> object:
        # Without `newest`: all spectators share one cached response.
        return await blog.feed(half)

    instead = {
        "/api/stream": Route("GET", "/api/stream", streaming(session.show, "watcher"), raw=True),
        "/api/blog": Route("GET", "/api/blog", feed),
    }
    return [
        replace(door, route=instead.get(door.route.path, door.route), open=True)
        for door in doors
        if door.shared
    ]


def shared_desk(doors: Sequence[Door], session: Session, port: int) -> Desk:
    return Desk(shared_doors(doors, session), OwnHosts(port), None)


def addresses(port: int) -> list[str]:
    """The URLs for spectators, one for each IPv4 address of this machine."""
    return [f"http://{address}:{port}/" for address in own_addresses()]
