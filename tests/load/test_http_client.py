"""The HTTP client against bare sockets: every way an answer can arrive or fail."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from time import perf_counter

import pytest

from lab.support.http_client import HttpClient, HttpOrigin, HttpResult
from tests.support.load_blog import PATIENCE_S, PeerHandler, SilentPeer, run_peer, wait_until


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(asyncio.get_running_loop(), max_connections=20)
    yield client
    client.close()
    await wait_until(lambda: client.connection_count == 0)


def ask(
    client: HttpClient, origin: HttpOrigin, method: str = "GET", timeout_s: float = PATIENCE_S
) -> asyncio.Future[HttpResult]:
    outcome: asyncio.Future[HttpResult] = asyncio.get_running_loop().create_future()
    body = b"{}" if method == "POST" else b""
    assert client.send(
        method, origin, "/feed", body, perf_counter() + timeout_s, outcome.set_result
    )
    return outcome


def answering(
    *answers: bytes, then_reset: bool = False, heads: list[bytes] | None = None
) -> PeerHandler:
    """A peer that gives each connection these answers, one per request, and then closes it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for text in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            if heads is not None:
                heads.append(head)
            writer.write(text)
            await writer.drain()
        if then_reset:
            await reader.readuntil(b"\r\n\r\n")
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
WITHOUT_LENGTH = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde"
ANNOUNCED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"


@pytest.mark.parametrize("answer", [CHUNKED, WITHOUT_LENGTH, ANNOUNCED, PLAIN])
async def test_an_answer_is_read_whole_however_it_is_framed(
    client: HttpClient, answer: bytes
) -> None:
    async with run_peer(answering(answer)) as origin:
        outcome = await ask(client, origin)
    assert (outcome.status, outcome.body, outcome.error) == (200, b"abcde", "")


async def test_a_request_says_how_long_its_client_waits(client: HttpClient) -> None:
    heads: list[bytes] = []
    async with run_peer(answering(PLAIN, heads=heads)) as origin:
        await ask(client, origin)
    told_ms = int(heads[0].partition(b"Request-Deadline-Ms: ")[2].partition(b"\r\n")[0])
    assert 0 < told_ms <= PATIENCE_S * 1_000


async def test_only_an_answer_that_says_so_is_not_whole(client: HttpClient) -> None:
    less = PLAIN.replace(b"Content-Length", b"feed-degraded: comments\r\nContent-Length")
    async with run_peer(answering(less, PLAIN)) as origin:
        outcomes = [await ask(client, origin) for _ in range(2)]
    assert [outcome.degraded for outcome in outcomes] == [True, False]
    assert [outcome.body for outcome in outcomes] == [b"abcde"] * 2


@pytest.mark.parametrize(
    "answer", [b"", PLAIN[:-2], CHUNKED[:-5], b"HTTP/1.1 200 OK\r\nConte", b"SSH-2.0-x\r\n\r\n"]
)
async def test_less_than_a_whole_answer_is_a_reset(client: HttpClient, answer: bytes) -> None:
    async with run_peer(answering(answer)) as origin:
        outcome = await ask(client, origin)
    assert (outcome.status, outcome.error) == (0, "reset")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("then_reset", "errors"), [(False, ["", "", ""]), (True, ["", "reset", ""])]
)
async def test_only_an_idle_connection_may_end(
    client: HttpClient, method: str, then_reset: bool, errors: list[str]
) -> None:
    async with run_peer(answering(PLAIN, then_reset=then_reset)) as origin:
        assert [(await ask(client, origin, method)).error for _ in errors] == errors


async def test_a_port_on_which_nothing_listens_refuses(client: HttpClient) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        outcome = await ask(client, HttpOrigin(*reserved.getsockname()))
    assert (outcome.status, outcome.error) == (0, "refused")


async def test_a_timeout_gives_the_connection_up(client: HttpClient) -> None:
    silent = SilentPeer()
    async with run_peer(silent) as origin:
        outcome = await ask(client, origin, timeout_s=0.05)
        await wait_until(lambda: client.connection_count == 0 and silent.opened == silent.closed)
    assert outcome.error == "timeout"


async def test_without_a_free_connection_a_client_refuses_and_queues_nothing() -> None:
    small = HttpClient(asyncio.get_running_loop(), max_connections=1)
    async with run_peer(SilentPeer()) as origin:
        give_up_at_s = perf_counter() + PATIENCE_S
        done: list[HttpResult] = []
        took = [small.send("GET", origin, "/", b"", give_up_at_s, done.append) for _ in range(2)]
        small.close()
        await wait_until(lambda: small.connection_count == 0)
    assert took == [True, False]
    assert done == [], "a forgotten request is never finished"


async def test_an_idle_connection_makes_room_for_one_to_another_service() -> None:
    small = HttpClient(asyncio.get_running_loop(), max_connections=1)
    async with run_peer(answering(PLAIN, PLAIN)) as one, run_peer(answering(PLAIN, PLAIN)) as other:
        statuses = [(await ask(small, origin)).status for origin in (one, other, one)]
        small.close()
        await wait_until(lambda: small.connection_count == 0)
    assert statuses == [200, 200, 200]
