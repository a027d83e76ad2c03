"""A full hall: each phone gets in, reads with less than 1 kB/s, and its answer is counted."""

import asyncio
import json
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import pytest

from tests.support.hall import Hall, NatsPhone, post
from tests.support.live_world import ConsoleProcess, run_console_process, spectator_port
from tests.support.nats_lab import needs_nats

pytestmark = pytest.mark.slow

PHONES, PHONES_BY_NATS = 400, 1_000
MOST_BYTES_PER_S = 1_000
OVER_S = 5


def ask(console: ConsoleProcess) -> None:
    console.log_in(console.token)
    console.post("/api/ask", question="Who can read?", measure="reads")


async def test_a_hall_of_phones_is_counted(tmp_path: Path) -> None:
    with run_console_process(tmp_path, "--rate", "5", "--share") as console:
        port = spectator_port(console.process.pid)
        async with Hall(port, PHONES) as hall:
            assert {phone.refused for phone in hall.phones} == {0}
            assert sum(phone.side for phone in hall.phones) == PHONES // 2
            assert max(await hall.bytes_per_second(OVER_S)) <= MOST_BYTES_PER_S
            await asyncio.to_thread(ask, console)
            for phone in hall.phones:
                await phone.wait_for(lambda last: last["bet"])
            statuses = await asyncio.gather(
                *(phone.vote(number % 4) for number, phone in enumerate(hall.phones))
            )
            assert statuses == [200] * PHONES
            closed = await asyncio.to_thread(console.post, "/api/bet", do="close")
            assert closed["counts"] == [PHONES // 4] * 4


@needs_nats
async def test_a_thousand_phones_read_from_nats(tmp_path: Path) -> None:
    with run_console_process(tmp_path, "--rate", "5", "--share") as console:
        url = f"http://127.0.0.1:{spectator_port(console.process.pid)}"
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as client:
            phones = [await enter(client, url) for _ in range(PHONES_BY_NATS)]
            for _, phone in phones:
                await phone.wait_for(lambda last: "now" in last)
            before, began_s = [phone.received_bytes for _, phone in phones], perf_counter()
            await asyncio.sleep(OVER_S)
            took_s = perf_counter() - began_s
            rates = [
                (phone.received_bytes - earlier) / took_s
                for (_, phone), earlier in zip(phones, before, strict=True)
            ]
            assert 0 < max(rates) <= MOST_BYTES_PER_S
            # One more is told so, and not left waiting.
            async with client.get(f"{url}/api/phone/hello") as response:
                assert response.status == 409
                assert "connected already" in (await response.json())["detail"]
            await asyncio.to_thread(ask, console)
            for _, phone in phones:
                await phone.wait_for(lambda last: last.get("bet"))
            votes = [
                {"phone": token, "bet": phone.last["bet"]["n"], "answer": number % 4}
                for number, (token, phone) in enumerate(phones)
            ]
            port = int(url.rpartition(":")[2])
            statuses = await asyncio.gather(*(post(port, "/api/vote", vote) for vote in votes))
            assert statuses == [200] * PHONES_BY_NATS
            closed = await asyncio.to_thread(console.post, "/api/bet", do="close")
            assert closed["counts"] == [PHONES_BY_NATS // 4] * 4
            for _, phone in phones:
                await phone.close()


async def enter(client: aiohttp.ClientSession, url: str) -> tuple[str, NatsPhone]:
    """One more phone: its token, and its connection."""
    async with client.get(f"{url}/api/phone/hello") as response:
        hello: dict[str, Any] = json.loads(await response.read())
    assert hello["nats"], "the lab has not started nats-server"
    phone = NatsPhone(client, hello["nats"], hello["phone"], hello["side"])
    await phone.connect()
    return hello["phone"], phone
