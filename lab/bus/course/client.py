"""The `course` engine as services see it: one POST tells, and one POST to their own door hears.

What travels is `{type, data}` and nothing else. The envelope's id, its sequence number and its
traceparent stay behind, and with them goes what they were for: nobody can tell a second try from a
second event, nobody can see that one is missing, and no trace leads from one service to the next.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from lab.bus.base import Batch, BusUnavailable
from lab.domain.errors import Invalid, ServiceError
from lab.domain.events import Envelope
from lab.service.http import MAX_BODY_BYTES, Route, answer, read_body

SOURCE = "/event-bus/course"


class CourseEvent(BaseModel):
    """An event as the course has it; fields of other people's services are let through."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    data: dict[str, Any]


async def read_event(request: web.BaseRequest) -> CourseEvent:
    """The event in the body of a `POST /events`; raises Invalid with the field at fault."""
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        return CourseEvent.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"Not an event {{type, data}}: {at}: {first['msg']}.", field=at) from None


class Poster:
    """POSTs events, each over a connection of its own and without a timeout, as axios does.

    A connection that is kept open may be closed by the other side in the moment in which it is
    used again. That would look like a service that is gone, and here nobody tries again.
    """

    def __init__(self) -> None:
        self._client: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, event: CourseEvent) -> None:
        """Bring an event to `<url>/events`. Raises BusUnavailable unless it says 2xx."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        try:
            async with self._client.post(f"{url}/events", json=event.model_dump()) as response:
                if not response.ok:
                    raise BusUnavailable(f"{url} answered {response.status} to {event.type}.")
        except (aiohttp.ClientError, OSError) as error:
            raise BusUnavailable(f"{url} can't be told of {event.type}: {_words(error)}") from None

    async def close(self) -> None:
        if self._client:
            await self._client.close()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


class CourseBus:
    """A connection to the bus at `url`, and the door at which it knocks.

    The promise: none. Who is there when an event is passed on hears it.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._post = Poster()
        self._pushed: asyncio.Queue[tuple[CourseEvent, asyncio.Future[bool]]] = asyncio.Queue()
        self._half_told: set[str] = set()
        self._told = 0
        self.routes = [Route("POST", "/events", self._take, raw=True, door=False)]

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """One POST each, in order. The numbers are our own count: the bus gives none.

        A batch that broke off goes on where it broke. The event it broke at is sent again, and if
        the bus had taken it before it died, everybody hears it twice.
        """
        sequences = []
        for envelope in map(Envelope.from_json, envelopes):
            if envelope.id not in self._half_told:
                await self._post(self._url, CourseEvent(type=envelope.type, data=envelope.data))
                self._half_told.add(envelope.id)
                self._told += 1
            sequences.append(self._told)
        self._half_told.clear()
        return sequences

    async def holds(self, sequence: int, event_id: str) -> bool:
        """True: there are no numbers and no ids by which one could notice that it isn't."""
        return True

    async def read(self, after: int, mark: str = "") -> AsyncIterator[Batch]:
        """What is pushed to this service from now on, each event a batch, numbered from `after`.

        The bus has its answer when the reader comes back for more: OK, for then the event has been
        applied; or an error, if the reader broke off instead.
        """
        while True:
            event, applied = await self._pushed.get()
            after += 1
            try:
                yield Batch([_envelope(event, after)])
            except BaseException:
                applied.set_result(False)
                raise
            applied.set_result(True)

    async def head(self) -> int:
        """0: whatever was told before, there is nothing to catch up with."""
        return 0

    async def close(self) -> None:
        await self._post.close()

    async def _take(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: answered when the event has been applied, as an Express handler would."""
        event = await read_event(request)
        applied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pushed.put_nowait((event, applied))
        # The reader sets it, whoever waits here: a bus that has gone away changes nothing.
        if not await asyncio.shield(applied):
            raise ServiceError(f"{event.type} was not applied; the log says why.")
        return answer({"status": "OK"})


def _envelope(event: CourseEvent, sequence: int) -> Envelope:
    """An event dressed up as the listeners know it; what it came without is made up here."""
    told = Envelope.carrying(
        event.type, subject=str(event.data.get("id", "")), data=event.data, source=SOURCE
    )
    return told.model_copy(update={"sequence": sequence})
