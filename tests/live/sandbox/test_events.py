"""`lab events` with any bus: numbers where the bus has none, and resuming after an outage."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lab.live.sandbox import events as reading
from lab.live.sandbox.control_client import ControlError
from lab.live.sandbox.events import BusUnreachable, follow_events, format_event, read_events

Answer = tuple[int, str, bytes]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "POLL_INTERVAL_S", 0)


@contextmanager
def run_bus(*answers: Answer) -> Iterator[tuple[str, list[int]]]:
    """A bus that gives these answers and repeats the last; yields (URL, requested offsets)."""
    asked: list[int] = []

    class AwayHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(int(parse_qs(urlsplit(self.path).query)["after"][0]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), AwayHandler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def ndjson_answer(*numbers: int) -> Answer:
    lines = [json.dumps({"sequence": number, "type": "T", "data": {}}) for number in numbers]
    return 200, "application/x-ndjson", "".join(f"{line}\n" for line in lines).encode()


def json_array_answer(*types: str) -> Answer:
    return (
        200,
        "application/json",
        json.dumps([{"type": kind, "data": {}} for kind in types]).encode(),
    )


BUSY: Answer = (503, "application/problem+json", b'{"detail": "Not now."}')
REFUSED: Answer = (409, "application/problem+json", b'{"detail": "The log ends at 2."}')


def read_sequences(events: Iterator[dict[str, Any]], count: int) -> list[int]:
    return [event["sequence"] for event in islice(events, count)]


def test_a_bus_without_numbers_gives_each_event_its_place() -> None:
    with run_bus(json_array_answer("A", "B", "C")) as (url, _):
        events = list(read_events(url, after=1))
    assert [(event["sequence"], event["type"]) for event in events] == [(2, "B"), (3, "C")]
    assert format_event(events[0]).split() == ["2", "B", "{}"]


@pytest.mark.parametrize(
    ("answers", "numbers"),
    [
        (
            [json_array_answer("A"), json_array_answer("A", "B"), json_array_answer("A", "B", "C")],
            [1, 2, 3],
        ),
        (
            [json_array_answer("A", "B"), json_array_answer("C")],
            [1, 2, 1],
        ),  # it has forgotten everything
    ],
)
def test_a_bus_without_numbers_is_followed_from_its_beginning(
    answers: list[Answer], numbers: list[int]
) -> None:
    with run_bus(*answers) as (url, _):
        assert read_sequences(follow_events(url, 0, lambda: True, print), len(numbers)) == numbers


def test_following_goes_on_after_an_outage_of_the_bus() -> None:
    notes: list[str] = []
    with run_bus(ndjson_answer(1, 2), BUSY, BUSY, ndjson_answer(3)) as (url, asked):
        assert read_sequences(follow_events(url, 0, lambda: True, notes.append), 3) == [1, 2, 3]
    assert asked == [0, 2, 2, 2]
    assert len(notes) == 1
    assert "goes on when it can" in notes[0]


def test_a_bus_that_is_away_at_the_beginning_is_an_error() -> None:
    with run_bus(BUSY) as (url, _), pytest.raises(BusUnreachable, match="503: Not now"):
        next(follow_events(url, 0, lambda: True, print))
    with pytest.raises(BusUnreachable, match="can't be read"):
        list(read_events(url, 0))


@pytest.mark.parametrize(
    ("answer", "lab_is_up", "says"),
    [
        (BUSY, False, "The lab has ended"),
        (REFUSED, True, "The log ends at 2"),  # an impossible request is not repeated
    ],
)
def test_following_ends_with_a_reason(answer: Answer, lab_is_up: bool, says: str) -> None:
    with run_bus(ndjson_answer(1), answer) as (url, asked):
        events = follow_events(url, 0, lambda: lab_is_up, print)
        assert next(events)["sequence"] == 1
        with pytest.raises(ControlError, match=says):
            next(events)
    assert asked == [0, 1]


@pytest.mark.parametrize("follow", [False, True])
def test_a_bus_that_hangs_is_reported_and_not_waited_for(
    follow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BUS_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:  # it accepts, and never answers
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        with pytest.raises(BusUnreachable, match="does it hang"):
            list(read_events(url, 0, follow))
