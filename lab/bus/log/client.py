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

from lab.bus.base import Batch, BusUnavailable, LostTail, NoLongerKept, next_after
from lab.bus.log.batching import Together
from lab.bus.log.wire import Telling
from lab.domain import headers
from lab.domain.events import Envelope
from lab.service.http import Route

# ── Prefetch

_CHUNKS_AHEAD = 64


@asynccontextmanager
async def taken_in(content: aiohttp.StreamReader) -> AsyncIterator[AsyncIterator[bytes]]:
    """Prefetch a stream: yields its chunks, which are taken out of aiohttp's buffer as they come.

    An error of the stream is raised after the last chunk.
    """
    chunks: asyncio.Queue[bytes | Exception] = asyncio.Queue(_CHUNKS_AHEAD)

    async def take() -> None:
        try:
            while chunk := await content.readany():
                await chunks.put(chunk)
            await chunks.put(b"")
        except Exception as error:
            await chunks.put(error)

    async def in_turn() -> AsyncIterator[bytes]:
        while chunk := await chunks.get():
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    taking = asyncio.create_task(take())
    try:
        yield in_turn()
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


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
        self._telling = Telling(f"{self._url}/tell", self._session)
        self._together = Together(self._post, ACKNOWLEDGED_WITHIN_S)
        self._epoch: str | None = None
        self.routes: list[Route] = []

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        return await self._together.append(envelopes)

    async def _post(self, envelopes: Sequence[str]) -> list[int]:
        body = f"[{','.join(envelopes)}]".encode()
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                return await self._telling.post(body, self._epoch)
        except _FAILURES as error:
            raise BusUnavailable(f"The bus did not acknowledge: {error!r}") from None

    async def holds(self, sequence: int, event_id: str) -> bool:
        told = await self._head({"event": str(sequence), "id": event_id})
        if not isinstance(told.get("holds"), bool):
            raise BusUnavailable(f"The bus does not say whether it holds event {sequence}: {told}")
        self._epoch = str(told.get("epoch", ""))
        return bool(told["holds"])

    async def read(self, after: int, mark: str = "") -> AsyncIterator[Batch]:
        forever = aiohttp.ClientTimeout(total=None, sock_connect=ACKNOWLEDGED_WITHIN_S)
        where = {"after": str(after), "follow": "1"} | ({"epoch": mark} if mark else {})
        try:
            async with self._session().get(
                f"{self._url}/events", params=where, timeout=forever
            ) as response:
                if response.status != 200:
                    raise await _refused(response)
                epoch = response.headers.get(headers.EPOCH, "")
                unfinished = b""
                async with taken_in(response.content) as chunks:
                    async for chunk in chunks:
                        *lines, unfinished = (unfinished + chunk).split(b"\n")
                        batch = Batch([Envelope.from_json(line) for line in lines], epoch)
                        for envelope in batch:
                            after = next_after(after, envelope)
                        if batch:
                            yield batch
        except _FAILURES as error:
            raise BusUnavailable(f"The bus can't be heard: {error!r}") from None
        raise BusUnavailable("The bus ended the stream.")

    async def head(self) -> int:
        return int((await self._head({}))["sequence"])

    async def _head(self, query: Mapping[str, str]) -> dict[str, Any]:
        within = aiohttp.ClientTimeout(total=ACKNOWLEDGED_WITHIN_S)
        try:
            async with self._session().get(
                f"{self._url}/head", params=query, timeout=within
            ) as response:
                if response.status != 200:
                    raise BusUnavailable(f"The bus answered {response.status}.")
                told = await response.json()
                return {"sequence": int(told["sequence"]), **told}
        except _FAILURES as error:
            raise BusUnavailable(f"The bus can't be reached: {error!r}") from None

    async def close(self) -> None:
        await self._together.close()
        await self._telling.close()
        if self._client:
            await self._client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(headers=self._headers, read_bufsize=_CHUNK_BYTES)
        return self._client


async def _refused(response: aiohttp.ClientResponse) -> BusUnavailable:
    """The error for a refused stream; after a 409 or 410, trying again does not help."""
    if response.status not in (409, 410):
        return BusUnavailable(f"The bus answered {response.status}.")
    told = await response.json(content_type=None)
    says, begins_after = str(told["detail"]), int(told["first"]) - 1
    return LostTail(says, begins_after) if response.status == 409 else NoLongerKept(says)
