"""A client that sends a write again: when, how often, and under which name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

import pytest

from lab import idempotency
from lab.load.again import Again
from lab.load.client import Client
from lab.load.connection import Outcome
from lab.load.metrics import endpoint_figures
from lab.load.pacer import Arrival, Timeline
from lab.load.plan import Origin, Phase, Variant
from lab.load.samples import Sample
from lab.load.sender import Sender
from lab.load.watcher import Watcher
from lab.report.questions import sent_again
from lab.scenarios.result import Endpoint, PhaseFigures
from lab.scenarios.result import Variant as Measured
from tests.support.load_blog import PATIENCE_S, a_client

DONE = b'HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n{"id":"1"}'
REFUSED = b'HTTP/1.1 503 No\r\nContent-Length: 17\r\n\r\n{"definite":true}'
SHORT_S = 0.05
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with a_client() as client:
        yield client


@dataclass
class Peer:
    """Gets requests, and does with each what comes next: answers it, breaks off, or is silent."""

    script: list[bytes | None]
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        answer = self.script[min(len(self.heads), len(self.script)) - 1]
        if answer is None:
            await reader.read()  # until the client has given up
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    def keys(self) -> list[str]:
        name = f"{idempotency.HEADER}: "
        lines = [line for head in self.heads for line in head.split("\r\n")]
        return [line.removeprefix(name) for line in lines if line.startswith(name)]


@asynccontextmanager
async def a_peer(*script: bytes | None) -> AsyncIterator[tuple[Peer, Origin]]:
    peer = Peer(list(script))
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    try:
        yield peer, Origin(*server.sockets[0].getsockname())
    finally:
        server.close()
        await server.wait_closed()


async def ask(
    client: Client, origin: Origin, method: str = "POST", retries: int = 1, timeout_s: float = 20.0
) -> Outcome:
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    give_up_at_s = perf_counter() + timeout_s
    body = b"{}" if method == "POST" else b""
    again = Again(client, retries, timeout_s)
    assert again.send(method, origin, "/posts", body, give_up_at_s, outcome.set_result, {})
    return await outcome


async def test_after_a_timeout_a_write_is_sent_again_under_the_same_key(client: Client) -> None:
    async with a_peer(None, DONE) as (peer, origin):
        outcome = await ask(client, origin, timeout_s=SHORT_S)
    assert (outcome.status, outcome.error, outcome.retried) == (201, "", 1)
    first, second = peer.keys()
    assert first == second


async def test_after_a_broken_connection_as_well(client: Client) -> None:
    async with a_peer(b"", DONE) as (peer, origin):
        outcome = await ask(client, origin)
    assert (outcome.status, outcome.retried, len(peer.heads)) == (201, 1, 2)


async def test_it_is_sent_again_as_often_as_there_is_patience_and_no_more(client: Client) -> None:
    async with a_peer(None) as (peer, origin):
        outcome = await ask(client, origin, retries=2, timeout_s=SHORT_S)
    assert (outcome.error, outcome.retried, len(peer.heads)) == ("timeout", 2, 3)


@pytest.mark.parametrize("retries", [0, 1])
async def test_who_was_told_no_does_not_ask_again(client: Client, retries: int) -> None:
    async with a_peer(REFUSED, DONE) as (peer, origin):
        outcome = await ask(client, origin, retries=retries)
    assert (outcome.status, outcome.retried, len(peer.heads)) == (503, 0, 1)


async def test_where_nobody_listens_nothing_is_sent_again(client: Client) -> None:
    async with a_peer(DONE) as (_, origin):
        pass
    outcome = await ask(client, origin)
    assert (outcome.error, outcome.retried) == ("refused", 0)


async def test_a_read_has_no_key_and_is_not_sent_again(client: Client) -> None:
    async with a_peer(None) as (peer, origin):
        outcome = await ask(client, origin, "GET", timeout_s=SHORT_S)
    assert (outcome.error, outcome.retried) == ("timeout", 0)
    assert (len(peer.heads), peer.keys()) == (1, [])


async def test_two_writes_have_two_keys(client: Client) -> None:
    async with a_peer(DONE) as (peer, origin):
        await ask(client, origin)
        await ask(client, origin)
    assert len(set(peer.keys())) == 2


async def sent(client: Client, origin: Origin, retries: int) -> Sample:
    """One post, sent by a variant's sender; its sample once there is an outcome."""
    services = ("posts", "comments", "query")
    url = f"http://{origin.host}:{origin.port}"
    variant = Variant.model_validate(
        {"name": "x", "urls": dict.fromkeys(services, url), "seed_posts": ["1"]}
    )
    watcher = Watcher(client.loop, client, origin, ["1"], perf_counter())
    timeline = Timeline([Phase(name="before", seconds=60)])
    sender = Sender(
        *(0, variant, client, watcher, timeline, perf_counter()),
        timeout_s=SHORT_S,
        max_in_flight=10,
        retries=retries,
    )
    sender.fire(0, Arrival(0.0, "create_post", 0), 0.0)
    async with asyncio.timeout(PATIENCE_S):
        while sender.counts.in_flight:  # noqa: ASYNC110 - a state of others, who set no event
            await asyncio.sleep(0.001)
    sender.watcher.stop()
    return sender.samples[0]


async def test_latency_goes_on_from_the_moment_at_which_it_was_first_meant_to_be_sent(
    client: Client,
) -> None:
    async with a_peer(None, DONE) as (_, origin):
        sample = await sent(client, origin, retries=1)
    assert (sample.ok, sample.retried) == (True, 1)
    assert sample.latency_ms is not None
    assert sample.latency_ms >= 1_000 * SHORT_S
    assert endpoint_figures([sample], is_write=True)["retried"] == 1


def test_the_table_says_how_often_clients_came_again() -> None:
    endpoint = Endpoint(sent=9, ok=9, failed=0, retried=4)
    phases = {
        "before": PhaseFigures(seconds=1.0, endpoints={}),
        "during": PhaseFigures(seconds=1.0, endpoints={"create_post": endpoint}),
    }
    variant = Measured(name="x", arrangement="sync-chain", phases=phases)
    said = sent_again(variant)
    assert said is not None
    assert said.endswith("4 during.")
    assert sent_again(variant.model_copy(update={"phases": {}})) is None


async def test_a_no_to_the_second_attempt_says_nothing_about_the_first(client: Client) -> None:
    async with a_peer(None, REFUSED) as (_, origin):
        sample = await sent(client, origin, retries=1)
    assert (sample.error, sample.retried, sample.definite) == ("http_503", 1, False)
    async with a_peer(REFUSED) as (_, origin):
        sample = await sent(client, origin, retries=1)
    assert (sample.error, sample.retried, sample.definite) == ("http_503", 0, True)
