"""A hall of 400 phones: each gets in, reads with less than 1 kB/s, and its answer is counted."""

import asyncio
from pathlib import Path

import pytest

from tests.support.hall import Hall
from tests.support.live_world import ConsoleProcess, run_console_process, spectator_port

pytestmark = pytest.mark.slow

PHONES = 400
MOST_BYTES_PER_S = 1_000


def ask(console: ConsoleProcess) -> None:
    console.log_in(console.token)
    console.post("/api/ask", question="Who can read?", measure="reads")


async def test_a_hall_of_phones_is_counted(tmp_path: Path) -> None:
    with run_console_process(tmp_path, "--rate", "5", "--share") as console:
        port = spectator_port(console.process.pid)
        async with Hall(port, PHONES) as hall:
            assert {phone.refused for phone in hall.phones} == {0}
            assert sum(phone.side for phone in hall.phones) == PHONES // 2
            assert max(await hall.bytes_per_second(5)) <= MOST_BYTES_PER_S
            await asyncio.to_thread(ask, console)
            for phone in hall.phones:
                await phone.wait_for(lambda last: last["bet"])
            statuses = await asyncio.gather(
                *(phone.vote(number % 4) for number, phone in enumerate(hall.phones))
            )
            assert statuses == [200] * PHONES
            closed = await asyncio.to_thread(console.post, "/api/bet", do="close")
            assert closed["counts"] == [PHONES // 4] * 4
