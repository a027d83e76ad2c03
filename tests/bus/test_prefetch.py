"""Events that a connection has delivered survive its loss, for a reader that was busy then."""

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from lab.bus.log.client import prefetch

TURNS = 5  # of the event loop: received data has been passed on


def a_stream() -> aiohttp.StreamReader:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    return aiohttp.StreamReader(protocol, 1 << 16, loop=loop)


async def test_a_broken_stream_is_read_to_its_end_first() -> None:
    stream = a_stream()
    async with prefetch(stream) as chunks:
        stream.feed_data(b"first")
        assert await anext(chunks) == b"first"
        stream.feed_data(b"second")  # arrives while the reader is busy with the first
        for _ in range(TURNS):
            await asyncio.sleep(0)
        stream.set_exception(aiohttp.ClientPayloadError("the bus was killed"))
        assert await anext(chunks) == b"second"
        with pytest.raises(aiohttp.ClientPayloadError, match="was killed"):
            await anext(chunks)


async def test_a_stream_that_ends_well_ends_behind_its_last_chunk() -> None:
    stream = a_stream()
    stream.feed_data(b"all")
    stream.feed_eof()
    async with prefetch(stream) as chunks:
        assert [chunk async for chunk in chunks] == [b"all"]


async def test_a_reader_that_leaves_leaves_nothing_running() -> None:
    stream = a_stream()
    before = asyncio.all_tasks()
    async with prefetch(stream):
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before
