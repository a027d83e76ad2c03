"""Between a foreign service and the lab's own bus: events cross, and change their words.

    the bus ──► POST /events (port) ──────► the service's sidecar
    the service ──► POST, GET /events (bus port) ──► the bus

`python -m lab.foreign.crossing --service http://127.0.0.1:4001/events --bus http://127.0.0.1:4005/events`

Each is answered when the other side has answered, and with what it has: nothing is kept here, and
nothing is tried again, for on the course's bus nobody does.
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic_core import from_json

from lab.domain.errors import BadAnswer, Invalid, NotFound, ServiceError, Unreachable
from lab.foreign.loopbacks import both_loopbacks
from lab.foreign.mapping import Actions
from lab.foreign.words import Words
from lab.listener import HttpServer
from lab.shell import Shell, ShellOptions
from lab.web import MAX_BODY_BYTES, Route, problem, read_body

ARRANGEMENT = "async-bus"
InWords = Callable[[dict[str, Any]], dict[str, Any]]


class Crossing:
    """`service` and `bus`: the URLs at which each takes events; `path`: where the service brings
    its own to the bus; `words`: what it calls things in them."""

    def __init__(self, service: str, bus: str, path: str, words: Words) -> None:
        self._service, self._bus, self._path, self._words = service, bus, path, words
        self._client: aiohttp.ClientSession | None = None
        self.under_way = 0

    async def to_the_service(self, request: web.BaseRequest) -> web.Response:
        """`POST /events` of the bus."""
        return await self._pass_on(self._service, self._words.in_theirs, request)

    async def to_the_bus(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the service asks of the bus it knows."""
        try:
            if request.path != self._path or request.method not in ("GET", "POST"):
                raise NotFound(f"The bus has {self._path}, to POST and to GET, and nothing else.")
            if request.method == "GET":
                return await self._all_so_far()
            return await self._pass_on(self._bus, self._words.in_ours, request)
        except ServiceError as error:
            return problem(error)

    async def listen(self, port: int) -> None:
        """For ever: be the bus at `port`."""
        server = HttpServer(self.to_the_bus, access_log=None, auto_decompress=False)
        loop = asyncio.get_running_loop()
        listening = [await loop.create_server(server, sock=one) for one in both_loopbacks(port)]
        try:
            await asyncio.Event().wait()
        finally:
            for one in listening:
                one.close()
            await server.shutdown(0.1)
            if self._client:
                await self._client.close()

    async def _pass_on(self, url: str, words: InWords, request: web.BaseRequest) -> web.Response:
        try:
            event = from_json(await read_body(request, MAX_BODY_BYTES))
        except ValueError as error:
            raise Invalid(f"Not an event {{type, data}}: {error}.", field="body") from None
        if not isinstance(event, dict):
            raise Invalid("Not an event {type, data}: it is no object.", field="body")
        return _json(*await self._asked("POST", url, words(event)))

    async def _all_so_far(self) -> web.Response:
        status, body = await self._asked("GET", self._bus, None)
        if status != 200:
            return _json(status, body)
        return web.json_response([self._words.in_theirs(one) for one in from_json(body)])

    async def _asked(self, method: str, url: str, body: Any) -> tuple[int, bytes]:
        """Status and body of what the other side answers. Raises Unreachable, BadAnswer."""
        self.under_way += 1
        try:
            async with self._session().request(method, url, json=body) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{url} can't be asked: {error}.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise BadAnswer(f"{url}: {error or type(error).__name__}.", definite=False) from None
        finally:
            self.under_way -= 1

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:  # no time limit and no kept connections: as axios does
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._client


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.foreign.crossing",
        description="Stands between one foreign service and the lab's own bus.",
    )
    ShellOptions.arguments(parser, 0)
    add = parser.add_argument
    add("--name", required=True, help="what the service is: posts, comments, query, moderation")
    add("--service", required=True, metavar="URL", help="where it takes events")
    add("--bus", required=True, metavar="URL", help="where the lab's bus takes events")
    add("--bus-port", type=int, required=True, help="where the service looks for the bus")
    add("--events", default="/events", metavar="PATH", help="and under which path (/events)")
    add(
        "--mapping",
        type=Path,
        metavar="FILE",
        help="JSON: how the service is asked, which says its words; without, the course's",
    )
    told = parser.parse_args(argv)
    actions = Actions.model_validate_json(told.mapping.read_text("utf-8") if told.mapping else "{}")
    crossing = Crossing(told.service, told.bus, told.events, Words.of(actions))
    routes = [Route("POST", "/events", crossing.to_the_service, raw=True)]
    shell = Shell(ARRANGEMENT, told.name, routes, ShellOptions.of(told))
    shell.state = lambda: {"busy": crossing.under_way}

    async def be_the_bus() -> None:
        await crossing.listen(told.bus_port)

    shell.run(be_the_bus)


if __name__ == "__main__":
    main()
