"""Phones that read from nats-server: who gets in, what they receive, and that they send nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from lab.live import phones as phones_module
from lab.live.blog import BlogClient
from lab.live.broadcast import Broadcast
from lab.live.panes import TWIN_PANES
from lab.live.phone_bus import PhoneBus, phone_bus
from lab.live.phones import Phone, Phones
from tests.programs.patient import PATIENCE_S
from tests.support.hall import NatsPhone
from tests.support.nats_lab import needs_nats

pytestmark = needs_nats


@pytest.fixture
def phones() -> Phones:
    show = Broadcast()
    show.fixed_state = {"halves": [pane.to_json() for pane in TWIN_PANES]}
    return Phones(show, cast(BlogClient, None))


@asynccontextmanager
async def connected(
    phones: Phones, bus: PhoneBus, count: int
) -> AsyncIterator[list[tuple[Phone, NatsPhone]]]:
    """Phones that the lab knows to be connected."""
    async with aiohttp.ClientSession() as client:
        found = []
        for _ in range(count):
            phone = phones.greet("", "127.0.0.1")
            reader = NatsPhone(client, bus.port, phones.token(phone), phone.side)
            await reader.connect()
            found.append((phone, reader))
        await until(lambda: all(phone.connections for phone, _ in found))
        yield found
        for _, reader in found:
            await reader.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def test_each_half_gets_its_messages_and_all_get_the_bet(
    phones: Phones, tmp_path: Path
) -> None:
    async with phone_bus(phones, tmp_path / "phones", -1) as bus:
        async with connected(phones, bus, 4) as hall:
            for side in (0, 1):
                phones.send("now", json.dumps({"side": side}).encode(), side)
            phones.send("bet", b'{"n": 7}')
            for phone, reader in hall:
                await reader.wait_for(lambda last: "bet" in last and "now" in last)
                assert reader.last["now"] == {"side": phone.side}
            assert phones.counts() == {"left": 2, "right": 2, "addresses": 1}
            token = phones.token(hall[0][0])
            assert phones.find(token) is hall[0][0]
        await until(lambda: not phones.connected)
    assert phones.nats_port is None


async def test_a_connection_without_a_valid_number_is_closed(
    phones: Phones, tmp_path: Path
) -> None:
    async with phone_bus(phones, tmp_path / "phones", -1) as bus, aiohttp.ClientSession() as client:
        for name in ("", "0.forged", "<script>"):
            stranger = NatsPhone(client, bus.port, name, 0)
            await stranger.connect()
            await stranger.wait_until_closed()
        assert phones.connected == []


async def test_a_phone_may_publish_nothing_and_read_nothing_else(
    phones: Phones, tmp_path: Path
) -> None:
    async with (
        phone_bus(phones, tmp_path / "phones", -1) as bus,
        connected(phones, bus, 2) as ((_, hostile), (_, other)),
    ):
        for line in (
            *("PUB phones.all 5\r\nhello", "SUB > 8", "SUB $SYS.> 9"),
            'CONNECT {"user": "sys", "pass": "guessed"}',
        ):
            await hostile.send(line)
            await hostile.wait_for_error()
        phones.send("bet", b'{"n": 1}')
        await other.wait_for(lambda last: "bet" in last)
        assert set(other.last) == {"bet"}


async def test_the_server_lets_no_more_phones_in_than_the_lab(
    phones: Phones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phones_module, "MAX_PHONES", 2)
    async with phone_bus(phones, tmp_path / "phones", -1) as bus, connected(phones, bus, 2):
        with pytest.raises(phones_module.Conflict, match="connected already"):
            phones.greet("", "127.0.0.1")


async def test_nothing_is_left_when_the_lab_ends(phones: Phones, tmp_path: Path) -> None:
    async with phone_bus(phones, tmp_path / "phones", -1) as bus:
        port = bus.port
        assert (tmp_path / "phones").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
