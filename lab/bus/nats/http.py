"""The HTTP interface of a NATS stream, for people and for the lab, which do not speak NATS.

It answers what nats-server would answer only on a monitoring port, which every page in a browser
could read: the newest number, and the events. Services do not use it: they connect to nats-server
directly.
"""

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic_core import to_json

from lab.bus.base import BusUnavailable
from lab.bus.log.server import asyncapi_document
from lab.bus.log.wire import parse_read_query, read_envelopes
from lab.domain.errors import Conflict, TimedOut, Unreachable
from lab.service.http import Route, answer, check_token

if TYPE_CHECKING:
    from lab.bus.nats.client import NatsBus


class NatsHttpApi:
    """The routes of a stream; `token` is the run's token."""

    def __init__(self, bus: "NatsBus", token: str) -> None:
        self._bus, self._token = bus, token
        self.routes = [
            Route("POST", "/events", self.append, raw=True),
            Route("GET", "/events", self.read, raw=True),
            Route("GET", "/head", self.head, raw=True),
            Route("GET", "/asyncapi.json", asyncapi_document, raw=True, faultable=False),
            Route("GET", "/_lab/state", self.state, raw=True, faultable=False),
        ]

    async def append(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: one envelope, or a list of them; 201 with their sequence numbers."""
        envelopes = [event.model_dump_json() for event in await read_envelopes(request)]
        try:
            return answer({"sequences": await self._bus.append(envelopes)}, 201)
        except BusUnavailable as error:
            raise TimedOut(str(error)) from None

    async def read(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /events?after=N`: NDJSON of all events after N; with `follow=1` it never ends."""
        position, follow = parse_read_query(request)
        end = await self._get_head()
        if follow and position > end:
            raise Conflict(
                f"The stream ends at {end}. Follow it from after={end}, or from earlier."
            )
        stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await stream.prepare(request)
        if not follow and position >= end:
            return stream
        # When the stream breaks off, the reader asks again from its last number.
        with suppress(BusUnavailable):
            async with aclosing(self._bus.read(position)) as batches:
                async for batch in batches:
                    wanted = [event for event in batch if follow or event.sequence <= end]
                    await stream.write(b"".join(to_json(event) + b"\n" for event in wanted))
                    if not follow and batch[-1].sequence >= end:
                        break
        return stream

    async def head(self, request: web.BaseRequest) -> web.Response:
        """`GET /head`: the newest sequence number."""
        return answer({"sequence": await self._get_head()})

    async def state(self, request: web.BaseRequest) -> web.Response:
        """`GET /_lab/state`, with the run's token: the newest sequence number, not cached."""
        check_token(request, self._token)
        return answer({"head": await self._get_head()})

    async def _get_head(self) -> int:
        try:
            return await self._bus.head()
        except BusUnavailable as error:
            raise Unreachable(str(error)) from None
