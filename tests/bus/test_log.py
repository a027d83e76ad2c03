"""The `log` engine by itself: its client against a bad server, its HTTP interface for curl."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lab.bus.base import BusUnavailable
from lab.bus.connect import open_bus
from lab.bus.log.client import LogBus
from lab.bus.log.server import LogServer
from lab.bus.log.storage import LogFile
from lab.domain.events import Envelope
from tests.support.bus_places import an_event
from tests.support.laboratory import RunningBlog
from tests.support.refusals import assert_is_problem


def test_an_address_of_no_bus_is_refused() -> None:
    with pytest.raises(ValueError, match="is no bus"):
        open_bus("amqp://127.0.0.1")


@asynccontextmanager
async def a_bus_that_answers(*lines: bytes, status: int = 200) -> AsyncIterator[LogBus]:
    """A server that answers every request with the given lines, and a connection to it."""

    async def say(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"".join(lines), status=status, content_type="application/json")

    server = web.Server(say)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    bus = LogBus(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    try:
        yield bus
    finally:
        await bus.close()
        listening.close()
        await server.shutdown(0.1)


def lines_numbered(*sequences: int) -> list[bytes]:
    return [
        Envelope.from_json(an_event(n))
        .model_copy(update={"sequence": n})
        .model_dump_json()
        .encode()
        + b"\n"
        for n in sequences
    ]


async def consume_sequences(bus: LogBus, after: int = 0) -> list[int]:
    sequences: list[int] = []
    async for batch in bus.read(after):
        sequences += [envelope.sequence for envelope in batch]
    return sequences


@pytest.mark.parametrize("sequences", [(1, 3), (2,), (1, 2, 2), (2, 1), (1, 1), (0, 1), (-1,)])
async def test_a_reader_never_passes_over_a_gap_or_a_double(sequences: tuple[int, ...]) -> None:
    async with a_bus_that_answers(*lines_numbered(*sequences)) as bus:
        with pytest.raises(BusUnavailable, match="missing or doubled"):
            await consume_sequences(bus)


async def test_a_reader_notices_the_end_of_the_stream() -> None:
    async with a_bus_that_answers(*lines_numbered(1, 2)) as ending:
        with pytest.raises(BusUnavailable, match="ended"):
            await consume_sequences(ending)


@pytest.mark.parametrize(
    "said", [b"nonsense\n", b"{}\n", b'{"sequence": "x"}\n', b"\xff\n", b"[1]\n"]
)
async def test_a_bus_that_speaks_nonsense_is_unavailable(said: bytes) -> None:
    """Otherwise a consuming service would exit, although a retry may succeed."""
    async with a_bus_that_answers(said) as bus:
        for attempt in (consume_sequences(bus), bus.head(), bus.append([an_event()])):
            with pytest.raises(BusUnavailable):
                await attempt


def test_the_log_writes_through_to_the_disk(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "bus" / "event-bus.db")) as log:
        for connection in (log._writer, log._reader):
            assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert (tmp_path / "bus").stat().st_mode & 0o077 == 0
        assert (tmp_path / "bus" / "event-bus.db").stat().st_mode & 0o077 == 0


async def test_reading_is_seamless_where_memory_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.bus.log.server._CACHED_LINES", 20)
    monkeypatch.setattr("lab.bus.log.server._LINES_PER_WRITE", 7)
    told = [Envelope.from_json(an_event(number)) for number in range(45)]
    with closing(LogFile(tmp_path / "event-bus.db")) as log:
        server = LogServer(log)
        committing = asyncio.create_task(server.group_commit_loop())
        for envelope in told:
            await server.commit([envelope])
        for after in range(45):
            lines: list[bytes] = []
            while after + len(lines) < 45:
                lines += await server.wait_for_events(after + len(lines))
            heard = [Envelope.from_json(line) for line in lines]
            assert [one.id for one in heard] == [one.id for one in told[after:]]
        committing.cancel()
        await asyncio.wait([committing])


# ── The interface for curl


def publish(blog: RunningBlog, body: bytes, content_type: str = "application/json") -> Any:
    headers = {"Content-Type": content_type}
    return blog.ask("POST", "event-bus", "/events", data=body, headers=headers)


INVALID_BODIES: dict[bytes, str] = {
    b"": "body",
    b"null": "body",
    b"[": "body",
    b"\xff": "body",
    b"[" * 10_000: "body",
    b"{}": "id",
    b"[{}]": "0.id",
    an_event().replace('"1.0"', '"0.3"').encode(): "specversion",
    an_event().replace('"data":{', '"data":[{').encode()[:-1] + b"]}": "body",
    an_event().encode() * 2: "body",
}


def test_what_is_no_envelope_is_refused_and_the_place_named(bus_blog: RunningBlog) -> None:
    head = bus_blog.get("event-bus", "/head")
    for body, field in INVALID_BODIES.items():
        assert_is_problem(publish(bus_blog, body), 400, field)
    assert publish(bus_blog, b" " * (4 * 1024 * 1024 + 1)).status_code == 413
    assert publish(bus_blog, an_event().encode(), "text/plain").status_code == 415
    assert bus_blog.get("event-bus", "/head") == head


def test_a_number_that_is_none_is_refused(bus_blog: RunningBlog) -> None:
    for number in ("-1", "x", "1.5", "", "9" * 30, "9" * 5_000, "%FF"):
        for path, field in (("events?after", "after"), ("head?event", "event")):
            response = bus_blog.ask("GET", "event-bus", f"/{path}={number}")
            assert_is_problem(response, 400, field)


def test_one_envelope_or_a_list_of_them_is_taken(bus_blog: RunningBlog) -> None:
    head = bus_blog.get("event-bus", "/head")["sequence"]
    assert publish(bus_blog, an_event().encode()).json() == {"sequences": [head + 1]}
    two = f" [{an_event()}, {an_event()}]".encode()
    assert publish(bus_blog, two).json() == {"sequences": [head + 2, head + 3]}
    response = bus_blog.ask("GET", "event-bus", f"/events?after={head + 1}")
    assert response.headers["Content-Type"] == "application/x-ndjson"
    lines = [Envelope.from_json(line) for line in response.iter_lines()]
    assert [envelope.sequence for envelope in lines] == [head + 2, head + 3]


def test_what_the_bus_streams_is_json_for_everybody(bus_blog: RunningBlog) -> None:
    """JSON has no NaN; Python's parsers accept it, and all others fail."""

    def choke(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    head = bus_blog.get("event-bus", "/head")["sequence"]
    strange = an_event().replace('"data":{', '"data":{"x":NaN,"y":[-Infinity],"z":1e999,')
    publish(bus_blog, strange.encode())
    response = bus_blog.ask("GET", "event-bus", f"/events?after={head}")
    assert response.text
    for line in response.text.splitlines():
        json.loads(line, parse_constant=choke)


def test_the_head_names_the_epoch_and_what_is_held(bus_blog: RunningBlog) -> None:
    event = an_event()
    (number,) = publish(bus_blog, event.encode()).json()["sequences"]
    head = bus_blog.get("event-bus", "/head")
    assert (head["sequence"], head["first"]) == (number, 1)
    known = Envelope.from_json(event).id
    for asked, name, held in ((number, known, True), (number, "other", False), (0, "", True)):
        told = bus_blog.get("event-bus", "/head", event=asked, id=name)
        assert told == head | {"holds": held}


def test_a_teller_of_another_epoch_is_refused_with_advice(bus_blog: RunningBlog) -> None:
    epoch = bus_blog.get("event-bus", "/head")["epoch"]
    for named, status in ((epoch, 201), ("another", 409)):
        headers = {"Content-Type": "application/json", "Log-Epoch": named}
        told = bus_blog.ask(
            "POST", "event-bus", "/events", data=an_event().encode(), headers=headers
        )
        assert told.status_code == status
    assert "publish again what it lost" in told.json()["detail"]
    assert told.json()["definite"] is True


def test_a_reader_beyond_the_end_learns_where_the_log_ends(bus_blog: RunningBlog) -> None:
    publish(bus_blog, an_event().encode())
    end = bus_blog.get("event-bus", "/head")["sequence"]
    for query in (f"after={end + 1}&follow=1", f"after={end}&epoch=another"):
        told = bus_blog.ask("GET", "event-bus", f"/events?{query}")
        assert (told.status_code, told.json()["first"]) == (409, 1)
        assert f"The log ends at {end}" in told.json()["detail"]
    assert bus_blog.ask("GET", "event-bus", f"/events?after={end + 1}").text == ""
