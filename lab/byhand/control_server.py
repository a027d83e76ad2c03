"""The door to the switchboard of a running lab: routes for `lab fault`, `lab heal`, `lab redrive`.

It can kill processes, so it listens on the loopback only, to whoever brings the token that lies in
a file of this user; a page in a browser, which can reach the loopback as well, has neither the
token nor the right Host. Requests name services, never processes: there is no way to reach
anything but the lab's own.
"""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from lab.byhand.deeds import Deed
from lab.byhand.letters import Letter, dead_letters, redriven
from lab.byhand.switchboard import Switchboard
from lab.cluster.ports import HOST
from lab.domain.errors import ServiceError
from lab.listener import HttpServer
from lab.web import (
    WHOLE_REQUEST_WITHIN_S,
    Route,
    answer,
    check_host,
    check_path,
    check_token,
    find,
    problem,
    read_body,
)

SHUTDOWN_WITHIN_S = 1.0


class FaultWish(BaseModel):
    """`POST /faults`: break `target`, in the stack of that name or in each that has it."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    target: str
    options: dict[str, Any] = {}
    stack: str | None = None


@dataclass(frozen=True)
class Address:
    """Where the control server listens, and the token that it asks for."""

    url: str
    token: str


def routes_of(switchboard: Switchboard) -> list[Route]:
    """Each answers with a list: of deeds, or of dead letters."""

    async def put(wish: FaultWish) -> list[Deed]:
        return await switchboard.put(wish.kind, wish.target, wish.options, wish.stack)

    async def heal(
        target: str | None = None, kind: str | None = None, stack: str | None = None
    ) -> list[Deed]:
        return await switchboard.heal(target, kind, stack)

    async def faults() -> list[Deed]:
        return [*switchboard.faults(), *switchboard.ended()]

    async def dead() -> list[Letter]:
        return await dead_letters(switchboard.stacks)

    async def redrive(service: str | None = None, stack: str | None = None) -> list[Letter]:
        return await redriven(switchboard.stacks, service, stack)

    return [
        Route("GET", "/dead", dead, control=True),
        Route("POST", "/redrive", redrive, control=True),
        Route("POST", "/faults", put, control=True),
        Route("DELETE", "/faults", heal, control=True),
        Route("GET", "/faults", faults, control=True),
    ]


@asynccontextmanager
async def control_server(switchboard: Switchboard) -> AsyncIterator[Address]:
    """Listen on a free port of 127.0.0.1 until the end of the context."""
    listening = socket.create_server((HOST, 0))
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    routes = routes_of(switchboard)

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        try:
            check_host(request, port)
            check_path(request.path)
            check_token(request, token)
            route, path = find(routes, request.method, request.path)
            body = await read_body(request, route.max_body) if route.body else b""
            return answer(await route.handler(**route.arguments(path, request.query, body)))
        except ServiceError as error:
            return problem(error)

    server = HttpServer(
        respond,
        # The timer that closes idle connections is also the one that cuts off half-sent heads.
        keepalive_timeout=WHOLE_REQUEST_WITHIN_S,
        auto_decompress=False,
        access_log=None,
        lingering_time=1.0,
    )
    accepting = await asyncio.get_running_loop().create_server(server, sock=listening)
    try:
        yield Address(f"http://{HOST}:{port}", token)
    finally:
        accepting.close()
        server.pre_shutdown()
        await server.shutdown(SHUTDOWN_WITHIN_S)
