"""Spectators on a bad network: the others are not affected, and each learns what it missed."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from lab.live import server
from lab.live.broadcast import MAX_QUEUED, Broadcast, parse_events
from tests.support.laboratory import eventually
from tests.support.live_world import ConsoleServer

LARGE = b'{"t":1,"x":"' + b"x" * 200_000 + b'"}'


@pytest.fixture
def served() -> Iterator[ConsoleServer]:
    server = ConsoleServer()
    yield server
    server.close()


class FakeStreamResponse:
    """A screen's connection as the server sees it; accepts data while `takes` is set."""

    def __init__(self, accepting: bool) -> None:
        self.accepts = asyncio.Event()
        self.received = b""
        self.is_aborted = False
        self.transport = self
        if accepting:
            self.accepts.set()

    async def prepare(self, request: object) -> None:
        pass

    async def write(self, data: bytes) -> None:
        await self.accepts.wait()
        self.received += data

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def show() -> Broadcast:
    return Broadcast()


async def start_stream(broadcast: Broadcast, response: FakeStreamResponse) -> "asyncio.Task[Any]":
    """The stream of one more screen, already begun."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.web, "StreamResponse", lambda headers: response)
        task = asyncio.create_task(server.stream_handler(broadcast, "watcher")(cast(Any, response)))
        await asyncio.sleep(0)
    return task


async def test_a_stalled_watcher_is_dropped_and_the_others_go_on(
    show: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 0.01)
    well, stalled = FakeStreamResponse(True), FakeStreamResponse(False)
    goes_on, ends = await start_stream(show, well), await start_stream(show, stalled)
    await ends
    assert stalled.is_aborted
    assert len(show.subscribers) == 1
    show.subscribers.publish("done", b'{"says":"after"}')
    show.subscribers.end()
    await goes_on
    assert b"after" in well.received
    assert not well.is_aborted


async def test_a_slow_watcher_learns_how_much_it_missed(
    show: Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 100.0)
    slow = FakeStreamResponse(False)
    ends = await start_stream(show, slow)
    show.log_action("first", "load")
    for number in range(MAX_QUEUED + 20):
        show.subscribers.publish("tick", b'{"t":%d}' % number)
    slow.accepts.set()
    show.subscribers.end()
    await ends
    (_, _), (name, done), *ticks = parse_events(slow.received)
    assert (name, done["says"]) == ("done", "first")
    assert len(ticks) == MAX_QUEUED - 1
    assert ticks[0] == ("tick", {"t": 21, "dropped": 21})
    assert ticks[-1] == ("tick", {"t": MAX_QUEUED + 19, "dropped": 21})


def test_a_watcher_that_goes_away_is_forgotten(served: ConsoleServer) -> None:
    watchers = served.broadcast.subscribers
    with served.stream() as screen:
        screen.until("hello")
        assert len(watchers) == 1
    eventually(
        lambda: served.run_in_loop(lambda: watchers.publish("tick", LARGE)) or not len(watchers)
    )


def test_one_watcher_too_many_is_refused(
    served: ConsoleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.live.broadcast.MAX_SPECTATORS", 1)
    with served.shared.stream() as first:
        first.until("hello")
        assert served.shared.request("GET", "/api/stream")[0] == 409
        with served.stream() as own:
            own.until("hello")
