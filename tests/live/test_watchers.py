"""Lookers-on whose network is bad: nobody else notices, and they are told what they missed."""

import socket
from collections.abc import Iterator

import pytest

from lab.live import server
from tests.live.test_security import Served
from tests.support.laboratory import eventually

LARGE = b'{"t":1,"x":"' + b"x" * 200_000 + b'"}'


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served()
    one.enter(one.keys.token)
    yield one
    one.close()


def stalled(port: int) -> socket.socket:
    """Asks for the stream, and reads nothing of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return client


def test_one_that_takes_nothing_is_let_go_and_the_others_go_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALLED_AFTER_S", 0.2)
    watchers = served.show.watchers
    with served.stream() as well, stalled(served.shared.port):
        well.until("hello")
        eventually(lambda: len(watchers) == 2, "both to look on")

        def tick() -> bool:
            served.call(lambda: watchers.tell("tick", LARGE))
            assert well.until("tick")["t"] == 1
            return len(watchers) == 1

        eventually(tick, "the stalled one to be let go")
        served.call(lambda: watchers.tell("done", b"{}"))
        assert well.until("done") == {}


def test_one_who_is_slow_for_a_while_is_told_how_much_it_missed(served: Served) -> None:
    watchers = served.show.watchers
    with served.stream() as screen:
        screen.until("hello")
        for number in range(200):
            served.call(lambda n=number: watchers.tell("tick", b'{"t":%d,' % n + LARGE[7:]))
        eventually(lambda: all(one.dropped for one in watchers.all), "something to be dropped")
        served.call(lambda: watchers.tell("done", b"{}"))
        last = {}
        for name, data in iter(screen.next, None):
            if name == "done":
                break
            last = data
        assert last["t"] == 199
        assert last["dropped"] > 0


def test_one_who_goes_away_is_forgotten(served: Served) -> None:
    watchers = served.show.watchers
    with served.stream() as screen:
        screen.until("hello")
        assert len(watchers) == 1
    eventually(lambda: served.call(lambda: watchers.tell("tick", LARGE)) or not len(watchers))


def test_there_is_room_for_so_many_and_the_next_one_is_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.live.watchers.MOST_SHARED", 1)
    with served.shared.stream() as first:
        first.until("hello")
        assert served.shared.ask("GET", "/api/stream")[0] == 409
        with served.stream() as own:
            own.until("hello")
