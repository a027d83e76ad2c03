"""The client of the `log` engine: publishes over a WebSocket, consumes an endless GET.

The guarantee: on disk before it is acknowledged, ordered, gapless, replayable from any number.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from urllib.parse import urlencode, urlsplit

from pydantic_core import from_json

from lab.bus.base import (
    MAX_APPEND_BYTES,
    Batch,
    BusUnavailable,
    LogTruncated,
    OffsetExpired,
    check_gapless,
)
from lab.bus.log.connection import ResponseStream, WebSocket, encode_get
from lab.domain import headers
from lab.domain.errors import DiskFailed, Invalid
from lab.domain.events import Envelope
from lab.service.http import Route
from lab.support.http_client import ConnectionPool, HttpClient, HttpOrigin, HttpResult

# ── Batching of appends

SendEnvelopes = Callable[[Sequence[str]], Awaitable[list[int]]]


class AppendRejected(BusUnavailable):
    """The bus rejected the request: sending the same again would change nothing."""


@dataclass(eq=False, slots=True)
class _PendingAppend:
    """The events of one caller, the future of their sequence numbers, and when it gives up."""

    envelopes: Sequence[str]
    give_up_at_s: float
    sequences: asyncio.Future[list[int]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Batcher:
    """Passes calls on to `send` in order of arrival, one message at a time.

    Calls that wait at the same time share one message. It is the group commit of the log's server,
    one step earlier: 64 callers share the cost of a round trip, and a single caller waits for no
    other. A call is acknowledged only when the bus has its events on disk.

    A caller without company sends its message itself. Otherwise a task sends for all, and begins
    one turn of the loop later, when all that were acknowledged together have called again.
    """

    def __init__(self, send: SendEnvelopes, within_s: float) -> None:
        self._send = send
        self._within_s = within_s
        self._waiting: deque[_PendingAppend] = deque()
        self._send_task: asyncio.Task[None] | None = None
        self._alone = False
        self._sends_itself = False

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        """The sequence numbers of these events.

        Raises what `send` raises; BusUnavailable without an acknowledgement in `within_s` seconds.
        """
        give_up_at_s = asyncio.get_running_loop().time() + self._within_s
        if self._alone and not self._sends_itself and self._send_task is None:
            return await self._send_alone(envelopes, give_up_at_s)
        call = _PendingAppend(envelopes, give_up_at_s)
        self._waiting.append(call)
        if not self._sends_itself:
            self._start_sending()
        return await call.sequences

    async def close(self) -> None:
        """Cancel the message in progress; calls that wait are cancelled."""
        if self._send_task is not None:
            self._send_task.cancel()
            await asyncio.gather(self._send_task, return_exceptions=True)
        self._cancel(self._waiting)

    async def _send_alone(self, envelopes: Sequence[str], give_up_at_s: float) -> list[int]:
        self._sends_itself = True
        try:
            return await self._send_until(give_up_at_s, envelopes)
        finally:
            self._sends_itself = False
            if self._waiting:
                self._start_sending()

    def _start_sending(self) -> None:
        if self._send_task is None:
            self._send_task = asyncio.create_task(self._send_all())

    async def _send_until(self, give_up_at_s: float, envelopes: Sequence[str]) -> list[int]:
        try:
            async with asyncio.timeout_at(give_up_at_s):
                return await self._send(envelopes)
        except TimeoutError:
            raise BusUnavailable(f"No acknowledgement in {self._within_s:g} s.") from None

    @staticmethod
    def _cancel(calls: deque[_PendingAppend] | list[_PendingAppend]) -> None:
        for call in calls:
            call.sequences.cancel()
        calls.clear()

    async def _send_all(self) -> None:
        calls: list[_PendingAppend] = []
        try:
            while calls := self._next_group():
                await self._send_group(calls)
        finally:
            self._send_task = None
            self._cancel(calls)
            self._cancel(self._waiting)

    def _next_group(self) -> list[_PendingAppend]:
        """The next waiting calls that fit into one message, without those that have given up."""
        group: list[_PendingAppend] = []
        size = 0
        while self._waiting:
            call = self._waiting[0]
            size += sum(len(envelope.encode()) + 1 for envelope in call.envelopes)
            if group and size > MAX_APPEND_BYTES:
                break
            self._waiting.popleft()
            if not call.sequences.done():
                group.append(call)
        return group

    async def _send_group(self, group: Sequence[_PendingAppend]) -> None:
        self._alone = len(group) == 1
        # The call that has waited longest decides: a timer for each would cost more than its event.
        give_up_at_s = group[0].give_up_at_s
        try:
            sequences = await self._send_until(
                give_up_at_s, [envelope for call in group for envelope in call.envelopes]
            )
        except AppendRejected as error:
            if len(group) == 1:
                _fail(group[0], error)
                return
            for call in group:  # One call is invalid: only that one must be refused.
                await self._send_group([call])
        except Exception as error:
            for call in group:
                _fail(call, error)
        else:
            done = 0
            for call in group:
                if not call.sequences.done():
                    call.sequences.set_result(sequences[done : done + len(call.envelopes)])
                done += len(call.envelopes)


def _fail(call: _PendingAppend, error: Exception) -> None:
    if not call.sequences.done():
        call.sequences.set_exception(error)


# ── Client

ACKNOWLEDGED_WITHIN_S = 5.0
_MAX_CONNECTIONS = 16
_EPOCH = headers.EPOCH.lower().encode()

# The last three: an invalid response. The next one may be valid.
_FAILURES = (TimeoutError, OSError, ValueError, LookupError, TypeError)


class LogBus:
    """A client of the log's process at `url`; connects at the first use, and again after a loss."""

    def __init__(self, url: str, caller: str = "") -> None:
        parts = urlsplit(url)
        self._origin = HttpOrigin(parts.hostname or "", parts.port or 80)
        self._path = parts.path.rstrip("/")
        self._headers = {headers.CALLER: caller} if caller else {}
        self._socket: WebSocket | None = None
        self._pool = ConnectionPool()
        self._streams: set[ResponseStream] = set()
        self._client: HttpClient | None = None
        self._batcher = Batcher(self._publish, ACKNOWLEDGED_WITHIN_S)
        self._epoch: str | None = None
        self.routes: list[Route] = []

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        return await self._batcher.append(envelopes)

    async def _publish(self, envelopes: Sequence[str]) -> list[int]:
        body = f"[{','.join(envelopes)}]".encode()
        try:
            if self._socket is None or not self._socket.is_open:
                self._socket = await self._connect()
            return _read_sequences(await self._socket.exchange(body))
        except BusUnavailable:
            raise
        except BaseException as error:
            self._disconnect()  # A late response would be taken for that to the next message.
            if isinstance(error, _FAILURES):
                raise BusUnavailable(f"The bus did not acknowledge: {error!r}") from None
            raise

    async def _connect(self) -> WebSocket:
        """Only the request that opens a connection names the epoch: the connection ends with the
        server's process, and so does the epoch."""
        epoch = {} if self._epoch is None else {headers.EPOCH: self._epoch}
        return await WebSocket.connect(self._origin, f"{self._path}/tell", self._headers | epoch)

    def _disconnect(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    async def contains(self, sequence: int, event_id: str) -> bool:
        response = await self._get_head({"event": str(sequence), "id": event_id})
        if not isinstance(response.get("holds"), bool):
            raise BusUnavailable(
                f"The bus does not say whether it holds event {sequence}: {response}"
            )
        self._epoch = str(response.get("epoch", ""))
        return bool(response["holds"])

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        query = {"after": str(after), "follow": "1"} | ({"epoch": cursor} if cursor else {})
        path = f"{self._path}/events?{urlencode(query)}"
        request = encode_get(self._origin, path, self._headers)
        stream = ResponseStream(self._pool, self._origin, request)
        self._streams.add(stream)
        try:
            head = await stream.wait_for_head(ACKNOWLEDGED_WITHIN_S)
            if head.status != 200:
                raise _stream_error(head.status, await stream.read_all())
            epoch = next(
                (value.decode() for name, value in head.headers if name.lower() == _EPOCH), ""
            )
            unfinished = b""
            while data := await stream.read():
                *lines, unfinished = (unfinished + data).split(b"\n")
                # The epoch is valid for every event in it, so also as its cursor.
                batch = [Envelope.from_json(line).set_cursor(epoch) for line in lines]
                for envelope in batch:
                    after = check_gapless(after, envelope)
                if batch:
                    yield batch
        except _FAILURES as error:
            raise BusUnavailable(f"The bus's stream can't be read: {error!r}") from None
        finally:
            stream.close()
            self._streams.discard(stream)
        raise BusUnavailable("The bus ended the stream.")

    async def head(self) -> int:
        return int((await self._get_head({}))["sequence"])

    async def _get_head(self, query: Mapping[str, str]) -> dict[str, Any]:
        result = await self._get(f"{self._path}/head?{urlencode(query)}")
        if result.status != 200:
            reason = result.error or f"it answered {result.status}"
            raise BusUnavailable(f"The bus can't be asked for its head: {reason}.")
        try:
            body = from_json(result.body)
            return {"sequence": int(body["sequence"]), **body}
        except _FAILURES as error:
            raise BusUnavailable(f"The bus says nonsense about its head: {error!r}") from None

    async def _get(self, path: str) -> HttpResult:
        loop = asyncio.get_running_loop()
        if self._client is None:
            self._client = HttpClient(loop, _MAX_CONNECTIONS)
        result: asyncio.Future[HttpResult] = loop.create_future()

        def set_result(value: HttpResult) -> None:
            if not result.done():
                result.set_result(value)

        give_up_at_s = perf_counter() + ACKNOWLEDGED_WITHIN_S
        if not self._client.send(
            "GET", self._origin, path, b"", give_up_at_s, set_result, self._headers
        ):
            raise BusUnavailable(f"{_MAX_CONNECTIONS} requests to the bus are under way.")
        return await result

    async def close(self) -> None:
        await self._batcher.close()
        self._disconnect()
        for stream in list(self._streams):
            stream.close()
        if self._client:
            self._client.close()


def _read_sequences(response: bytes) -> list[int]:
    """The numbers in the response to a message. Raises BusUnavailable when it is an error."""
    answer = from_json(response)
    if "sequences" not in answer:
        error_class = AppendRejected if answer["status"] == Invalid.status else BusUnavailable
        raise error_class(f"The bus answered {answer['status']}: {answer}")
    sequences: list[int] = answer["sequences"]
    return sequences


def _stream_error(status: int, body: bytes) -> BusUnavailable:
    """The error for a refused stream; after a 409, a 410 or damage, trying again does not help."""
    if status not in (409, 410, DiskFailed.status):
        return BusUnavailable(f"The bus answered {status}.")
    problem = from_json(body)
    if status == DiskFailed.status:
        error_class = OffsetExpired if problem.get("damaged") else BusUnavailable
        return error_class(str(problem["detail"]))
    detail, begins_after = str(problem["detail"]), int(problem["first"]) - 1
    if status == 410:
        return OffsetExpired(detail)
    return LogTruncated(detail, begins_after, str(problem.get("epoch", "")))
