"""The wire format of the log: HTTP requests, and a WebSocket for publishers.

Every engine with an HTTP interface uses the functions that read requests. On the WebSocket, each
message is a POST without its overhead:

    GET /tell, upgraded        with the header Log-Epoch, only to the log of that epoch
    → [envelope, …]            the body of a POST to /events
    ← {"sequences": [1, …]}    the response to it; or a problem document, with its status

An HTTP request costs each side more than the disk does. In all else a message is a POST: it passes
the fault filter, and is acknowledged only when it is on disk.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from lab.domain.errors import Conflict, DiskFailed, Forbidden, Gone, Invalid, ServiceError
from lab.domain.events import Envelope
from lab.service.http import WHOLE_REQUEST_WITHIN_S, read_body

# ── HTTP requests

MAX_BODY_BYTES = 4 * 1024 * 1024  # leaves room above `MAX_APPEND_BYTES`

_ENVELOPES = TypeAdapter(list[Envelope])


class _UnreadablePosition(ServiceError):
    """The log cannot be read from this position.

    `first`: the number at which it begins; `epoch`: its current epoch.
    """

    def __init__(self, detail: str, first: int, epoch: str) -> None:
        super().__init__(detail)
        self.first = first
        self.epoch = epoch

    def problem(self) -> dict[str, Any]:
        return super().problem() | {"first": self.first, "epoch": self.epoch}


class UnknownPosition(_UnreadablePosition, Conflict):
    title = "Not the log that you read"


class DeletedPosition(_UnreadablePosition, Gone):
    pass


class LogDamaged(DiskFailed):
    """The content of the log's file is wrong: trying again does not help."""

    title = "The log is damaged"

    def problem(self) -> dict[str, Any]:
        return super().problem() | {"damaged": True}


async def read_envelopes(request: web.BaseRequest) -> list[Envelope]:
    """The envelope, or the list of them, in the body of a request. Raises Invalid."""
    return parse_envelopes(await read_body(request, MAX_BODY_BYTES))


def parse_envelopes(body: bytes) -> list[Envelope]:
    """The envelope, or the list of them, in a JSON text. Raises Invalid."""
    try:
        if body.lstrip().startswith(b"{"):
            return [Envelope.from_json(body)]
        return _ENVELOPES.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(
            f"Not a CloudEvents envelope: {location}: {first['msg']}.", field=location
        ) from None


def parse_read_query(request: web.BaseRequest) -> tuple[int, bool]:
    """`after` and `follow` of a request for events. Raises Invalid.

    `after` is a sequence number; `follow`: whether to wait for more.
    """
    return parse_sequence_number(request, "after"), request.query.get("follow") == "1"


def parse_sequence_number(request: web.BaseRequest, name: str) -> int:
    """A sequence number in the query; 0 when there is none. Raises Invalid."""
    given = request.query.get(name, "0")
    if not re.fullmatch("[0-9]{1,18}", given):
        raise Invalid(f"{name}: expected a sequence number, from 0.", field=name)
    return int(given)


# ── WebSocket for publishers

CLOSED_WITHIN_S = 0.1

Commit = Callable[[list[Envelope]], Awaitable[list[int]]]
CheckEpoch = Callable[[web.BaseRequest], None]
Admit = Callable[[web.BaseRequest], Awaitable[web.Response | None]]


class PublishServer:
    """The server's end of the WebSocket, for all connected publishers.

    `check_epoch` refuses a publisher of another log, `admit` applies the fault filter to a message,
    `commit` puts events on disk.
    """

    def __init__(self, check_epoch: CheckEpoch, admit: Admit, commit: Commit) -> None:
        self._check_epoch = check_epoch
        self._admit = admit
        self._commit = commit
        self._sockets: set[web.WebSocketResponse[bool]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /tell`: see the module's docstring.

        Raises Forbidden for a web page, Invalid without an upgrade, and what `check_epoch` raises.
        """
        if "Origin" in request.headers:
            # A browser lets any page of any site open a WebSocket to this machine.
            raise Forbidden("A web page must not publish events here.")
        self._check_epoch(request)
        socket = web.WebSocketResponse(
            timeout=CLOSED_WITHIN_S,
            # A publisher that stops in the middle of a message does not answer pings either.
            heartbeat=WHOLE_REQUEST_WITHIN_S,
            max_msg_size=MAX_BODY_BYTES,
            compress=False,
        )
        if not socket.can_prepare(request).ok:
            raise Invalid("This is a WebSocket; to publish events by hand, POST them to /events.")
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    break
                await socket.send_bytes(await self._respond(request, message.data))
        except ConnectionError:
            pass  # The publisher disconnected, or a fault has reset the connection.
        finally:
            self._sockets.discard(socket)
        return socket

    async def close_on_cancellation(self) -> None:
        """Wait; on cancellation close all connections."""
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.gather(*(socket.close() for socket in list(self._sockets)))

    async def _respond(self, request: web.BaseRequest, body: bytes) -> bytes:
        if (fault_response := await self._admit(request)) is not None:
            return (fault_response.text or "").encode()
        try:
            return to_json({"sequences": await self._commit(parse_envelopes(body))})
        except ServiceError as error:
            return to_json(error.problem())
