"""The client of the `log` engine: publishes over a WebSocket, consumes an endless GET.

The guarantee: on disk before it is acknowledged, ordered, gapless, replayable from any number.

The client prefetches the stream, so that a lost connection loses nothing that has arrived. aiohttp
buffers what was not read yet, and discards the buffer when the connection breaks. Without the
prefetch, a consumer that is still busy with an earlier event would miss what the bus sent just
before it went down, and would not know of a post that other services show.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic_core import from_json

from lab.bus.base import (
    MAX_APPEND_BYTES,
    Batch,
    BusUnavailable,
    LogTruncated,
    OffsetExpired,
    check_gapless,
)
from lab.bus.log.wire import CLOSED_WITHIN_S
from lab.domain import headers
from lab.domain.errors import DiskFailed, Invalid
from lab.domain.events import Envelope
from lab.service.http import Route

# ── Prefetch

_CHUNKS_AHEAD = 64


@asynccontextmanager
async def prefetch(content: aiohttp.StreamReader) -> AsyncIterator[AsyncIterator[bytes]]:
    """Prefetch a stream: yields its chunks, which are taken out of aiohttp's buffer as they come.

    An error of the stream is raised after the last chunk.
    """
    chunks: asyncio.Queue[bytes | Exception] = asyncio.Queue(_CHUNKS_AHEAD)

    async def fill_queue() -> None:
        try:
            while chunk := await content.readany():
                await chunks.put(chunk)
            await chunks.put(b"")
        except Exception as error:
            await chunks.put(error)

    async def read_queue() -> AsyncIterator[bytes]:
        while chunk := await chunks.get():
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    fill_task = asyncio.create_task(fill_queue())
    try:
        yield read_queue()
    finally:
        fill_task.cancel()
        await asyncio.gather(fill_task, return_exceptions=True)


# ── Batching of appends

SendEnvelopes = Callable[[Sequence[str]], Awaitable[list[int]]]


class AppendRejected(BusUnavailable):
    """The bus rejected the request: sending the same again would change nothing."""


@dataclass(eq=False)
class _PendingAppend:
    """The events of one caller, and the future of their sequence numbers."""

    envelopes: Sequence[str]
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
        if self._alone and not self._sends_itself and self._send_task is None:
            return await self._send_alone(envelopes)
        call = _PendingAppend(envelopes)
        self._waiting.append(call)
        if not self._sends_itself:
            self._start_sending()
        return await self._in_time(call.sequences)

    async def close(self) -> None:
        """Cancel the message in progress; calls that wait are cancelled."""
        if self._send_task is not None:
            self._send_task.cancel()
            await asyncio.gather(self._send_task, return_exceptions=True)
        self._cancel(self._waiting)

    async def _send_alone(self, envelopes: Sequence[str]) -> list[int]:
        self._sends_itself = True
        try:
            return await self._in_time(self._send(envelopes))
        finally:
            self._sends_itself = False
            if self._waiting:
                self._start_sending()

    def _start_sending(self) -> None:
        if self._send_task is None:
            self._send_task = asyncio.create_task(self._send_all())

    async def _in_time(self, sequences: Awaitable[list[int]]) -> list[int]:
        try:
            async with asyncio.timeout(self._within_s):
                return await sequences
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
        try:
            sequences = await self._in_time(
                self._send([envelope for call in group for envelope in call.envelopes])
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


# ── WebSocket of the publisher


class PublishClient:
    """Publishes over a WebSocket (see `wire.py`): one message at a time.

    The connection is made when it is needed.
    """

    def __init__(self, url: str, session: Callable[[], aiohttp.ClientSession]) -> None:
        self._url = url
        self._session = session
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None

    async def publish(self, body: bytes, epoch: str | None) -> list[int]:
        """Publish the events in `body`; returns their numbers.

        Only the request that opens the connection carries `epoch`: the connection ends with the
        server's process, and so does the epoch. Raises BusUnavailable, or what aiohttp raises.
        """
        try:
            socket = await self._send(body, epoch)
            answer = from_json(await socket.receive_bytes())
        except BaseException:
            await self.close()  # A late response would be taken for that to the next message.
            raise
        if "sequences" not in answer:
            error_class = AppendRejected if answer["status"] == Invalid.status else BusUnavailable
            raise error_class(f"The bus answered {answer['status']}: {answer}")
        sequences: list[int] = answer["sequences"]
        return sequences

    async def close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _send(
        self, body: bytes, epoch: str | None
    ) -> "aiohttp.ClientWebSocketResponse[bool]":
        if self._socket is not None:
            try:
                await self._socket.send_bytes(body)
            except aiohttp.ClientConnectionResetError:
                await self.close()  # The connection broke while idle: nothing was sent.
            else:
                return self._socket
        self._socket = await self._session().ws_connect(
            self._url,
            headers={headers.EPOCH: epoch} if epoch is not None else None,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSED_WITHIN_S),
        )
        await self._socket.send_bytes(body)
        return self._socket


# ── Client

ACKNOWLEDGED_WITHIN_S = 5.0
_CHUNK_BYTES = 1 << 18

# The last three: an invalid response. The next one may be valid.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError)


class LogBus:
    """A client of the log's process at `url`; connects at the first use, and again after a loss."""

    def __init__(self, url: str, caller: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {headers.CALLER: caller} if caller else None
        self._client: aiohttp.ClientSession | None = None
        self._publisher = PublishClient(f"{self._url}/tell", self._session)
        self._batcher = Batcher(self._publish, ACKNOWLEDGED_WITHIN_S)
        self._epoch: str | None = None
        self.routes: list[Route] = []

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        return await self._batcher.append(envelopes)

    async def _publish(self, envelopes: Sequence[str]) -> list[int]:
        body = f"[{','.join(envelopes)}]".encode()
        try:
            return await self._publisher.publish(body, self._epoch)
        except _FAILURES as error:
            raise BusUnavailable(f"The bus did not acknowledge: {error!r}") from None

    async def contains(self, sequence: int, event_id: str) -> bool:
        response = await self._get_head({"event": str(sequence), "id": event_id})
        if not isinstance(response.get("holds"), bool):
            raise BusUnavailable(
                f"The bus does not say whether it holds event {sequence}: {response}"
            )
        self._epoch = str(response.get("epoch", ""))
        return bool(response["holds"])

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ACKNOWLEDGED_WITHIN_S)
        query = {"after": str(after), "follow": "1"} | ({"epoch": cursor} if cursor else {})
        try:
            async with self._session().get(
                f"{self._url}/events", params=query, timeout=timeout
            ) as response:
                if response.status != 200:
                    raise await _stream_error(response)
                epoch = response.headers.get(headers.EPOCH, "")
                unfinished = b""
                async with prefetch(response.content) as chunks:
                    async for chunk in chunks:
                        *lines, unfinished = (unfinished + chunk).split(b"\n")
                        # The epoch is valid for every event in it, so also as its cursor.
                        batch = [Envelope.from_json(line).set_cursor(epoch) for line in lines]
                        for envelope in batch:
                            after = check_gapless(after, envelope)
                        if batch:
                            yield batch
        except _FAILURES as error:
            raise BusUnavailable(f"The bus's stream can't be read: {error!r}") from None
        raise BusUnavailable("The bus ended the stream.")

    async def head(self) -> int:
        return int((await self._get_head({}))["sequence"])

    async def _get_head(self, query: Mapping[str, str]) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=ACKNOWLEDGED_WITHIN_S)
        try:
            async with self._session().get(
                f"{self._url}/head", params=query, timeout=timeout
            ) as response:
                if response.status != 200:
                    raise BusUnavailable(f"The bus answered {response.status}.")
                body = await response.json()
                return {"sequence": int(body["sequence"]), **body}
        except _FAILURES as error:
            raise BusUnavailable(f"The bus can't be reached: {error!r}") from None

    async def close(self) -> None:
        await self._batcher.close()
        await self._publisher.close()
        if self._client:
            await self._client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(headers=self._headers, read_bufsize=_CHUNK_BYTES)
        return self._client


async def _stream_error(response: aiohttp.ClientResponse) -> BusUnavailable:
    """The error for a refused stream; after a 409, a 410 or damage, trying again does not help."""
    if response.status not in (409, 410, DiskFailed.status):
        return BusUnavailable(f"The bus answered {response.status}.")
    problem = await response.json(content_type=None)
    if response.status == DiskFailed.status:
        error_class = OffsetExpired if problem.get("damaged") else BusUnavailable
        return error_class(str(problem["detail"]))
    detail, begins_after = str(problem["detail"]), int(problem["first"]) - 1
    if response.status == 410:
        return OffsetExpired(detail)
    return LogTruncated(detail, begins_after, str(problem.get("epoch", "")))
