"""The client of the `log` engine: publishes over a WebSocket, consumes an endless GET.

The guarantee: on disk before it is acknowledged, ordered, gapless, replayable from any number.

The client prefetches the stream, so that a lost connection loses nothing that has arrived. aiohttp
buffers what was not read yet, and discards the buffer when the connection breaks. Without the
prefetch, a consumer that is still busy with an earlier event would miss what the bus sent just
before it went down, and would not know of a post that other services show.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from lab.bus.base import Batch, BusUnavailable, LogTruncated, OffsetExpired, check_gapless
from lab.bus.log.batching import Batcher
from lab.bus.log.wire import PublishClient
from lab.domain import headers
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
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
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
            raise BusUnavailable(f"The bus can't be heard: {error!r}") from None
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
    """The error for a refused stream; after a 409 or 410, trying again does not help."""
    if response.status not in (409, 410):
        return BusUnavailable(f"The bus answered {response.status}.")
    problem = await response.json(content_type=None)
    detail, begins_after = str(problem["detail"]), int(problem["first"]) - 1
    if response.status == 410:
        return OffsetExpired(detail)
    return LogTruncated(detail, begins_after, str(problem.get("epoch", "")))
