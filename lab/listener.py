"""What listens for a process of the lab: its socket, and the protocol spoken on it.

On 127.0.0.1 and nowhere else. What is no HTTP at all never becomes a request, so no route can
answer it; it gets a problem document all the same, and the process's log does not fill with the
mistakes of others.
"""

import socket
import sys
from http import HTTPStatus

from aiohttp import web

from lab.domain.errors import Invalid, ServiceError
from lab.holder import holder_of
from lab.web import printable, problem

_INTERNAL = HTTPStatus.INTERNAL_SERVER_ERROR


class HttpServer(web.Server):
    """aiohttp's server, with its errors told as ours are."""

    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Protocol(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = _INTERNAL,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the client went away in the middle of its request: nobody to tell
        if status >= _INTERNAL:
            super().handle_error(request, status, exc, message)  # it logs the traceback
            answer = problem(ServiceError("A bug in this service.", definite=False), status)
        else:
            first_line = (message or "").strip().partition("\n")[0].rstrip(":")
            answer = problem(Invalid(f"This is no HTTP: {printable(first_line)}."), status)
        answer.force_close()
        return answer


def listen(port: int, reuse_port: bool) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 takes a free one. Ends the process when it can't."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        sys.stderr.write(
            f"Port {port} can't be had ({error.strerror}): it is taken by "
            f"{holder_of(port) or 'a program that this user may not look at'}. "
            "End that, or choose another port with --port.\n"
        )
        sys.exit(3)
    listening.listen(1024)
    return listening
