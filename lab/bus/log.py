"""The `log` engine as services see it: a POST tells, an endless GET hears.

The promise: on disk before it is acknowledged, ordered, gapless, replayable from any number.
"""

from collections.abc import AsyncIterator, Sequence

import aiohttp

from lab.bus.base import BusUnavailable, next_after
from lab.domain.events import Envelope
from lab.web import CALLER_HEADER, Route

ACKNOWLEDGED_WITHIN_S = 5.0
_CHUNK_BYTES = 1 << 18

# The last three: it answered, but with nonsense. That, too, may be better the next time.
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError)


class LogBus:
    """A connection to the log's process at `url`; made at the first use, renewed when lost."""

    def __init__(self, url: str, caller: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {CALLER_HEADER: caller} if caller else None
        self._client: aiohttp.ClientSession | None = None
        self.routes: list[Route] = []

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        body = f"[{','.join(envelopes)}]"
        within = aiohttp.ClientTimeout(total=ACKNOWLEDGED_WITHIN_S)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session().post(
                f"{self._url}/events", data=body.encode(), headers=headers, timeout=within
            ) as response:
                answer = await response.json()
                if response.status != 201:
                    raise BusUnavailable(f"The bus answered {response.status}: {answer}")
                sequences: list[int] = answer["sequences"]
                return sequences
        except _FAILURES as error:
            raise BusUnavailable(f"The bus did not acknowledge: {error!r}") from None

    async def read(self, after: int) -> AsyncIterator[list[Envelope]]:
        forever = aiohttp.ClientTimeout(total=None, sock_connect=ACKNOWLEDGED_WITHIN_S)
        where = {"after": str(after), "follow": "1"}
        try:
            async with self._session().get(
                f"{self._url}/events", params=where, timeout=forever
            ) as response:
                if response.status != 200:
                    raise BusUnavailable(f"The bus answered {response.status}.")
                unfinished = b""
                while chunk := await response.content.readany():
                    *lines, unfinished = (unfinished + chunk).split(b"\n")
                    batch = [Envelope.from_json(line) for line in lines]
                    for envelope in batch:
                        after = next_after(after, envelope)
                    if batch:
                        yield batch
        except _FAILURES as error:
            raise BusUnavailable(f"The bus can't be heard: {error!r}") from None
        raise BusUnavailable("The bus ended the stream.")

    async def head(self) -> int:
        within = aiohttp.ClientTimeout(total=ACKNOWLEDGED_WITHIN_S)
        try:
            async with self._session().get(f"{self._url}/head", timeout=within) as response:
                if response.status != 200:
                    raise BusUnavailable(f"The bus answered {response.status}.")
                return int((await response.json())["sequence"])
        except _FAILURES as error:
            raise BusUnavailable(f"The bus can't be reached: {error!r}") from None

    async def close(self) -> None:
        if self._client:
            await self._client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(headers=self._headers, read_bufsize=_CHUNK_BYTES)
        return self._client
