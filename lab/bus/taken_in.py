"""What has come in stays in, also when the connection that brought it is lost.

aiohttp keeps what has come and was not read yet in a buffer, and forgets the buffer when the
connection breaks. A consumer that was still busy with the event before would so not hear what the
bus had said to everybody a moment before its death, and for as long as the bus is down it would
not know of a post that others show.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

_CHUNKS_AHEAD = 64


@asynccontextmanager
async def taken_in(content: aiohttp.StreamReader) -> AsyncIterator[AsyncIterator[bytes]]:
    """The chunks of a stream, taken out of aiohttp's hands as they come.

    What broke the stream is raised behind the last of them.
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
