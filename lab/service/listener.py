"""The listening socket of the lab's servers, and aiohttp's server that serves an `HttpApp` on it.

Input that is not HTTP matches no route; it gets a problem document too, and writes no traceback to
the process's log.
"""

import asyncio
import errno
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web

from lab.domain.errors import Invalid, ServiceError
from lab.service import http
from lab.service.http import HttpApp, HttpRequest, printable, problem_response
from lab.support.ports import find_port_owner

_INTERNAL = HTTPStatus.INTERNAL_SERVER_ERROR
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
BACKLOG = 1024
"""How many connections the kernel accepts before the server does. asyncio listens again on a socket
that already listens, by default with 100."""


class HttpServer(web.Server):
    """aiohttp's server, with a problem document for each protocol error."""

    def __init__(self, handler: Handler, **options: Any) -> None:
        factory = partial(HttpRequest, loop=asyncio.get_running_loop())
        super().__init__(handler, request_factory=factory, **options)

    def __call__(self) -> web.RequestHandler:
        return _RequestHandler(self, loop=self._loop, **self._kwargs)


class _RequestHandler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = _INTERNAL,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the client disconnected: no response is possible
        if status >= _INTERNAL:
            super().handle_error(request, status, exc, message)  # it logs the traceback
            response = problem_response(
                ServiceError("A bug in this service.", definite=False), status
            )
        else:
            first_line = (message or "").strip().partition("\n")[0].rstrip(":")
            response = problem_response(
                Invalid(f"This is no HTTP: {printable(first_line)}."), status
            )
        response.force_close()
        return response


@asynccontextmanager
async def serve(
    app: HttpApp,
    *listeners: socket.socket,
    shutdown_within_s: float = 1.0,
    handler_cancellation: bool = False,
) -> AsyncIterator[None]:
    """Serve `app` on these sockets until the context ends.

    Requests in progress then have `shutdown_within_s` to end. `handler_cancellation`: a client that
    disconnects cancels its request.
    """
    server = HttpServer(
        app,
        # aiohttp closes idle connections after this time, and those with a half-sent request head.
        keepalive_timeout=http.WHOLE_REQUEST_WITHIN_S,
        auto_decompress=False,
        access_log=None,
        lingering_time=1.0,
        handler_cancellation=handler_cancellation,
    )
    loop = asyncio.get_running_loop()
    accepting = [
        await loop.create_server(server, sock=listener, backlog=BACKLOG) for listener in listeners
    ]
    try:
        yield
    finally:
        for tcp_server in accepting:
            tcp_server.close()
        await app.release_requests()
        server.pre_shutdown()
        with suppress(TimeoutError):
            await server.shutdown(shutdown_within_s)


def bind(port: int, address: str = "127.0.0.1", *, reuse_port: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free port. Raises OSError when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def listen(port: int, reuse_port: bool, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket on the address or name `host`; port 0 takes a free port.

    Exits the process with status 3 when the port cannot be bound.
    """
    try:
        return bind(port, host, reuse_port=reuse_port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE and host != "127.0.0.1":
            sys.stderr.write(f"{host}:{port} can't be had ({error.strerror}): is that an address ")
            sys.stderr.write("of this machine? Choose one with --host.\n")
            sys.exit(3)
        sys.stderr.write(
            f"Port {port} can't be had ({error.strerror}): it is taken by "
            f"{find_port_owner(port) or 'a program that this user may not look at'}. "
            "End that, or choose another port with --port.\n"
        )
        sys.exit(3)
