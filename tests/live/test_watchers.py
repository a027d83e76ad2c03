"""Spectators on a bad network: the others are not affected, and each learns what it missed."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from lab.live import server
from lab.live.broadcast import MOST_WAITING, Show
from lab.live.terminal import events_in
from tests.support.laboratory import eventually
from tests.support.live_world import Served

LARGE = b'{"t":1,"x":"' + b"x" * 200_000 + b'"}'


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    yield one
    one.close()


class Line:
    """A screen's connection as the server sees it; accepts data while `takes` is set."""

    def __init__(self, takes: bool) -> None:
        self.takes = asyncio.Event()
        self.took = b""
        self.is_aborted = False
        self.transport = self
        if takes:
            self.takes.set()

    async def prepare(self, request: object) -> None:
        pass

    async def write(self, data: bytes) -> None:
        await self.takes.wait()
        self.took += data

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def show() -> Show:
    return Show()


async def watching(show: Show, line: Line) -> "asyncio.Task[Any]":
    """The stream of one more screen, already begun."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.web, "StreamResponse", lambda headers: line)
        task = asyncio.create_task(server.streaming(show, "watcher")(cast(Any, line)))
        await asyncio.sleep(0)
    return task


async def test_a_stalled_watcher_is_dropped_and_the_others_go_on(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 0.01)
    well, stalled = Line(True), Line(False)
    goes_on, ends = await watching(show, well), await watching(show, stalled)
    await ends
    assert stalled.is_aborted
    assert len(show.watchers) == 1
    show.watchers.tell("done", b'{"says":"after"}')
    show.watchers.end()
    await goes_on
    assert b"after" in well.took
    assert not well.is_aborted


async def test_a_slow_watcher_learns_how_much_it_missed(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 100.0)
    slow = Line(False)
    ends = await watching(show, slow)
    show.done("first", "load")
    for number in range(MOST_WAITING + 20):
        show.watchers.tell("tick", b'{"t":%d}' % number)
    slow.takes.set()
    show.watchers.end()
    await ends
    (_, _), (name, done), *ticks = events_in(slow.took)
    assert (name, done["says"]) == ("done", "first")
    assert len(ticks) == MOST_WAITING - 1
    assert ticks[0] == ("tick", {"t": 21, "dropped": 21})
    assert ticks[-1] == ("tick", {"t": MOST_WAITING + 19, "dropped": 21})


def test_a_watcher_that_goes_away_is_forgotten(served: Served) -> None:
    watchers = served.show.watchers
    with served.stream() as screen:
        screen.until("hello")
        assert len(watchers) == 1
    eventually(lambda: served.call(lambda: watchers.tell("tick", LARGE)) or not len(watchers))


def test_one_watcher_too_many_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.live.broadcast.MOST_SHARED", 1)
    with served.shared.stream() as first:
        first.until("hello")
        assert served.shared.ask("GET", "/api/stream")[0] == 409
        with served.stream() as own:
            own.until("hello")
