"""Where the console is asked: a listener on the loopback for whoever holds the token.

The same code serves the listener for lookers-on (`lab/live/share.py`), with fewer doors.
"""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from lab.cluster.errors import LabCannotRun, PortTaken
from lab.domain.errors import Conflict, ServiceError
from lab.holder import holder_of
from lab.listener import HttpServer
from lab.live.routes import Door
from lab.live.security import (
    HEADERS,
    Keys,
    check_origin,
    check_own_host,
    check_page,
)
from lab.live.show import Role, Show
from lab.live.watchers import event
from lab.web import WHOLE_REQUEST_WITHIN_S, answer, check_path, find, problem, read_body

SHUTDOWN_WITHIN_S = 1.0
STALLED_AFTER_S = 5.0
_UNAVAILABLE = 503


def streaming(show: Show, role: Role) -> Callable[[web.BaseRequest], Any]:
    """What answers `GET /api/stream`: all that happens, from now on, as server-sent events."""

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
                # Nothing is taken any more: a farewell would wait as long as the rest has.
                if request.transport is not None:
                    request.transport.abort()
        return response

    return stream


@dataclass(frozen=True)
class Desk:
    """One listener: its doors, the names it goes by, and whether there is a cookie to show."""

    doors: Sequence[Door]
    hosts: Callable[[], Collection[str]]
    keys: Keys | None

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or say why not."""
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
    """Listen there; port 0 takes a free one. Raises PortTaken."""
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
    """Serve on this socket until the end of the context."""
    server = HttpServer(
        desk.respond,
        # The timer that closes idle connections is also the one that cuts off half-sent heads.
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
