"""Events that a connection has delivered survive its loss, for a reader that was busy then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from lab.bus.log.connection import ResponseStream, encode_get
from lab.support.http_client import ConnectionPool, HttpOrigin
from tests.support.consumers import wait_until
from tests.support.laboratory import PATIENCE_S

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n"


@asynccontextmanager
async def a_stream() -> AsyncIterator[tuple[ResponseStream, asyncio.StreamWriter]]:
    """A stream whose head has arrived, and the server's end of its connection."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(writer)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    origin = HttpOrigin(*server.sockets[0].getsockname())
    stream = ResponseStream(ConnectionPool(), origin, encode_get(origin, "/", {}))
    writer = await accepted.get()
    writer.write(HEAD)
    try:
        assert (await stream.wait_for_head(PATIENCE_S)).status == 200
        yield stream, writer
    finally:
        stream.close()
        writer.close()
        server.close()


async def test_a_broken_stream_is_read_to_its_end_first() -> None:
    async with a_stream() as (stream, server):
        server.write(b"first")
        assert await stream.read() == b"first"
        server.write(b"sec")  # arrives while the reader is busy with the first
        await server.drain()
        await wait_until(lambda: bool(stream._pieces))
        server.transport.abort()
        await wait_until(lambda: stream._ended)
        assert await stream.read() == b"sec"
        with pytest.raises(ConnectionError, match="lost"):
            await stream.read()


async def test_a_stream_that_ends_well_ends_behind_its_last_piece() -> None:
    async with a_stream() as (stream, server):
        server.write(b"all of this")
        assert await stream.read_all() == b"all of this"


async def test_a_reader_that_leaves_closes_its_connection() -> None:
    async with a_stream() as (stream, server):
        stream.close()
        async with asyncio.timeout(PATIENCE_S):
            await server.wait_closed()
        with pytest.raises(ConnectionError, match="closed here"):
            await stream.read()
