"""The client of the `course` engine: publishes by POST, and receives by POST at its own route.

A message is `{type, data}` and nothing else. The envelope's id, sequence number and traceparent are
dropped. So a consumer cannot distinguish a repeated event from a second one, cannot detect a
missing one, and no trace connects one service to the next.
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
    """An event as in the course; additional fields of external services are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    data: dict[str, Any]


async def read_event(request: web.BaseRequest) -> CourseEvent:
    """The event in the body of a `POST /events`; raises Invalid, which names the wrong field."""
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        return CourseEvent.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        location = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(
            f"Not an event {{type, data}}: {location}: {first['msg']}.", field=location
        ) from None


class Poster:
    """POSTs events, each over a new connection and without a timeout, as axios does.

    A connection that is kept open may be closed by the other side just as it is used again. That
    would look like a service that is down, and nothing here tries again.
    """

    def __init__(self) -> None:
        self._client: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, event: CourseEvent) -> None:
        """POST an event to `<url>/events`. Raises BusUnavailable when that fails."""
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
            raise BusUnavailable(
                f"{event.type} can't be delivered to {url}: {_describe(error)}"
            ) from None

    async def close(self) -> None:
        if self._client:
            await self._client.close()


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


class CourseBus:
    """A client of the bus at `url`, with the route to which the bus pushes.

    It guarantees nothing: only a service that is up when an event is delivered receives it.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._post = Poster()
        self._pushed: asyncio.Queue[tuple[CourseEvent, asyncio.Future[bool]]] = asyncio.Queue()
        self._sent_ids: set[str] = set()
        self._published_count = 0
        self.routes = [Route("POST", "/events", self._receive, raw=True, faultable=False)]

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """One POST for each event, in order. The numbers are a local count: the bus gives none.

        After a failure, the next call continues at the event that failed. That event is sent again,
        and if the bus had already accepted it, the consumers receive it twice.
        """
        sequences = []
        for envelope in map(Envelope.from_json, envelopes):
            if envelope.id not in self._sent_ids:
                await self._post(self._url, CourseEvent(type=envelope.type, data=envelope.data))
                self._sent_ids.add(envelope.id)
                self._published_count += 1
            sequences.append(self._published_count)
        self._sent_ids.clear()
        return sequences

    async def contains(self, sequence: int, event_id: str) -> bool:
        """True: without numbers and ids, a lost event cannot be detected."""
        return True

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        """The events pushed from now on, each as a batch, numbered from `after` + 1.

        The bus gets its response when the reader asks for the next batch: OK, because the event has
        been applied by then; or an error, if the reader breaks off instead.
        """
        while True:
            event, applied = await self._pushed.get()
            after += 1
            try:
                yield [_wrap(event, after)]
            except BaseException:
                applied.set_result(False)
                raise
            applied.set_result(True)

    async def head(self) -> int:
        """0: there are no earlier events to catch up with."""
        return 0

    async def close(self) -> None:
        await self._post.close()

    async def _receive(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: responds once the event has been applied, as an Express handler would."""
        await self.receive(await read_event(request))
        return answer({"status": "OK"})

    async def receive(self, event: CourseEvent) -> None:
        """Returns once the event has been applied. Raises ServiceError if it was not."""
        applied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pushed.put_nowait((event, applied))
        # Shielded: the reader sets the result even if the bus has disconnected meanwhile.
        if not await asyncio.shield(applied):
            raise ServiceError(f"{event.type} was not applied; the log says why.")


def _wrap(event: CourseEvent, sequence: int) -> Envelope:
    """An envelope around a course event; the missing fields are made up here."""
    envelope = Envelope.create(
        event.type, subject=str(event.data.get("id", "")), data=event.data, source=SOURCE
    )
    return envelope.model_copy(update={"sequence": sequence})
