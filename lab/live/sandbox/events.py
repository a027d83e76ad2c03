"""`lab events` and `lab redrive`: reads the bus and the dead letters of a running lab.

A bus that numbers its events is read as any consumer reads it: `GET /events?after=N` returns one
line of JSON for each event, and with `follow=1` the response does not end. The course's bus has no
numbers and returns all events so far: there the number of an event is its position, and following
means polling. Like `lab fault`, these commands must start fast, so the module imports little.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from lab.live.sandbox.control_client import (
    EXIT_CANNOT_RUN,
    EXIT_USAGE,
    ControlError,
    RunningLab,
    find_running_labs,
    send_request,
)

# ── Reading a bus

POLL_INTERVAL_S = 0.3
BUS_WITHIN_S = 5.0
"""A bus answers within milliseconds; one that takes longer hangs, and its reader has to know."""

Event = dict[str, Any]


class BusUnreachable(ControlError):
    """The bus can't be read at the moment; a later attempt may succeed."""


def read_events(url: str, after: int, follow: bool = False) -> Iterator[Event]:
    """The events after number `after`, each with its `sequence`; with `follow`, also new ones until
    the bus ends the connection.

    Raises ControlError; BusUnreachable when a later attempt may succeed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=BUS_WITHIN_S)
    try:
        connection.request("GET", f"/events?after={after}" + ("&follow=1" if follow else ""))
        socket = connection.sock
        response = connection.getresponse()
        if follow:
            socket.settimeout(None)  # the next event may come much later
        if response.status != 200:
            error_type = BusUnreachable if response.status >= 500 else ControlError
            raise error_type(
                f"The bus at {url} answered {_summarize_response(response)}", EXIT_CANNOT_RUN
            )
        if "ndjson" in (response.headers["Content-Type"] or ""):
            yield from map(json.loads, response)
        else:
            yield from _number_events(json.loads(response.read()), after, follow)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BusUnreachable(
            f"The bus at {url} can't be read: {error or type(error).__name__}. "
            "Is it down, or does it hang? `lab fault` alone lists what is broken.",
            EXIT_CANNOT_RUN,
        ) from None
    finally:
        connection.close()


def follow_events(
    url: str, after: int, is_running: Callable[[], bool], report: Callable[[str], None]
) -> Iterator[Event]:
    """Like `read_events` with `follow`, without an end: after an outage of the bus it resumes after
    the last event read.

    Calls `report` with a line when the bus goes away. Raises ControlError when the bus can't be
    read at the start, and when the lab has ended (`is_running` returns False).
    """
    unreachable: bool | None = None  # not known yet
    while True:
        try:
            for event in read_events(url, after, follow=True):
                after = event["sequence"]
                yield event
            unreachable = False
        except BusUnreachable:
            if unreachable is None:
                raise
            if not is_running():
                raise ControlError(
                    "The lab has ended, and the bus with it.", EXIT_CANNOT_RUN
                ) from None
            if not unreachable:
                report(f"! The bus at {url} can't be read just now. This goes on when it can.")
            unreachable = True
        time.sleep(POLL_INTERVAL_S)


def _number_events(events: list[Event], after: int, follow: bool) -> list[Event]:
    """The events after `after`, numbered by their position from 1. Fewer events than `after` mean
    that the bus was restarted and lost the old ones: then all are new."""
    if follow and len(events) < after:
        after = 0
    return [{**event, "sequence": number} for number, event in enumerate(events, 1)][after:]


def _summarize_response(response: http.client.HTTPResponse) -> str:
    """The status, and the reason if the bus gives one, as `409: The log ends at 17 …`."""
    try:
        return f"{response.status}: {json.loads(response.read())['detail']}"
    except (ValueError, LookupError, TypeError):
        return f"{response.status}."


# ── The commands

BUS = "event-bus"
MAX_DATA_WIDTH = 60

Echo = Callable[[str], None]


def show_events(
    lab: RunningLab,
    echo: Echo,
    *,
    after: int = 0,
    type_: str | None = None,
    follow: bool = False,
    as_json: bool = False,
    stack: str | None = None,
) -> None:
    """Print a line for each event after number `after`; with `follow`, until interrupted.

    Raises ControlError.
    """
    count, url = 0, _bus_url(lab, stack)
    report = (lambda line: None) if as_json else echo
    events = follow_events(url, after, partial(_is_running, lab), report) if follow else None
    for event in events or read_events(url, after):
        if type_ in (None, event["type"]):
            count += 1
            echo(_to_json_line(event) if as_json else format_event(event))
    if not count and not as_json:
        type_note = f" of type {type_}" if type_ else ""
        echo(f"No event{type_note} lies behind number {after}. Write a post, and look again.")


def show_dead_letters(lab: RunningLab, echo: Echo, *, as_json: bool = False) -> None:
    """Print a line for each dead letter. Raises ControlError."""
    letters = send_request(lab, "GET", "/dead")
    for letter in letters:
        where = f"{letter['stack']} {letter['service']}"
        line = f"{where}: event {letter['sequence']}, a {letter['type']}: {letter['why']}"
        echo(json.dumps(letter) if as_json else line)
    if not letters and not as_json:
        echo("Nothing was laid aside. Services do that with the switch dead_letter on.")


def redrive(
    lab: RunningLab, echo: Echo, service: str | None = None, stack: str | None = None
) -> None:
    """Apply dead letters again, and print the result for each. Raises ControlError."""
    filters = {"service": service, "stack": stack}
    query = urlencode({name: value for name, value in filters.items() if value is not None})
    letters = send_request(lab, "POST", f"/redrive?{query}" if query else "/redrive")
    for letter in letters:
        where = f"{letter['stack']} {letter['service']}: event {letter['sequence']}"
        why = f": {letter['why']}" if letter["why"] else ""
        echo(f"{where}, a {letter['type']}, is {letter['state']}{why}")
    if not letters:
        echo("Nothing was laid aside, so there was nothing to send again.")


def format_event(event: Event) -> str:
    """An event on one line: its number, type, publisher and data."""
    data = json.dumps(event["data"], ensure_ascii=False)
    shortened = data if len(data) <= MAX_DATA_WIDTH else data[: MAX_DATA_WIDTH - 1] + "…"
    source = str(event.get("source", "")).rpartition("/")[2]
    return f"{event['sequence']:>6}  {event['type']:<17} {source:<11} {shortened}"


def _to_json_line(event: Event) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _is_running(lab: RunningLab) -> bool:
    return any(running.pid == lab.pid for running in find_running_labs())


def _bus_url(lab: RunningLab, stack: str | None) -> str:
    with_bus = {name: urls[BUS] for name, urls in lab.stacks.items() if BUS in urls}
    if stack is None and with_bus:
        return with_bus.get("async-bus") or next(iter(with_bus.values()))
    if stack in with_bus:
        return with_bus[stack]
    known = ", ".join(with_bus) or "none: start one with `lab up async-bus`"
    raise ControlError(f"No stack {stack or ''} with a bus runs here. Known: {known}.", EXIT_USAGE)
