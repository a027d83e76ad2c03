"""The log in this process: group commit, acknowledgement, and reading again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from lab.bus.log.server import LogServer
from lab.bus.log.storage import LogFile
from lab.domain.events import Envelope
from tests.support.consumers import post


@asynccontextmanager
async def a_log(folder: Path) -> AsyncIterator[LogServer]:
    with closing(LogFile(folder / "log.db")) as log:
        server = LogServer(log)
        task = asyncio.create_task(server.group_commit_loop())
        yield server
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def subjects(server: LogServer, after: int) -> list[str]:
    return [Envelope.from_json(line).subject for line in await server.wait_for_events(after)]


async def test_nobody_is_acknowledged_before_the_commit(tmp_path: Path) -> None:
    async with a_log(tmp_path) as server:
        for number in range(1, 4):
            assert await server.commit([post(number)]) == [number]
            assert server._log.head == number


async def test_a_group_keeps_the_order_of_its_tellers(tmp_path: Path) -> None:
    async with a_log(tmp_path) as server:
        keeping = (server.commit([post(7), post(8)]), server.commit([post(9)]))
        assert await asyncio.gather(*keeping) == [[1, 2], [3]]
        assert await subjects(server, 0) == ["p7", "p8", "p9"]
        assert await subjects(server, 1) == ["p8", "p9"]


async def test_an_id_that_is_there_is_not_kept_twice(tmp_path: Path) -> None:
    event = post(7)
    async with a_log(tmp_path) as server:
        assert await server.commit([event]) == [1]
        assert await server.commit([event, post(8)]) == [1, 2]
        assert await subjects(server, 0) == ["p7", "p8"]
