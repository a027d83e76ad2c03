"""What lies on the bus of a running lab, and what its services laid aside: `lab events`, `redrive`.

Like `lab fault` this wants to be quick, so it imports little.
"""

import json
from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode

from lab.byhand.control import USAGE, ControlError, RunningLab, ask, running_labs
from lab.byhand.reading import Event, follow_events, read_events

BUS = "event-bus"
SHOWN_WIDTH = 60

Say = Callable[[str], None]


def show_events(
    lab: RunningLab,
    say: Say,
    *,
    after: int = 0,
    type_: str | None = None,
    follow: bool = False,
    as_json: bool = False,
    stack: str | None = None,
) -> None:
    """Say a line for each event behind number `after`; with `follow` go on until interrupted.

    Raises ControlError.
    """
    said, url = 0, _bus(lab, stack)
    note = (lambda line: None) if as_json else say
    events = follow_events(url, after, partial(_is_up, lab), note) if follow else None
    for event in events or read_events(url, after):
        if type_ in (None, event["type"]):
            said += 1
            say(_as_line(event) if as_json else in_words(event))
    if not said and not as_json:
        of = f" of type {type_}" if type_ else ""
        say(f"No event{of} lies behind number {after}. Write a post, and look again.")


def show_dead(lab: RunningLab, say: Say, *, as_json: bool = False) -> None:
    """Say a line for each dead letter. Raises ControlError."""
    letters = ask(lab, "GET", "/dead")
    for letter in letters:
        where = f"{letter['stack']} {letter['service']}"
        line = f"{where}: event {letter['sequence']}, a {letter['type']}: {letter['why']}"
        say(json.dumps(letter) if as_json else line)
    if not letters and not as_json:
        say("Nothing was laid aside. Services do that with the switch dead_letter on.")


def redrive(
    lab: RunningLab, say: Say, service: str | None = None, stack: str | None = None
) -> None:
    """Have dead letters applied again, and say what became of each. Raises ControlError."""
    named = {"service": service, "stack": stack}
    query = urlencode({name: value for name, value in named.items() if value is not None})
    letters = ask(lab, "POST", f"/redrive?{query}" if query else "/redrive")
    for letter in letters:
        where = f"{letter['stack']} {letter['service']}: event {letter['sequence']}"
        why = f": {letter['why']}" if letter["why"] else ""
        say(f"{where}, a {letter['type']}, is {letter['state']}{why}")
    if not letters:
        say("Nothing was laid aside, so there was nothing to send again.")


def in_words(event: Event) -> str:
    """An event on one line: its number, type, teller and data."""
    data = json.dumps(event["data"], ensure_ascii=False)
    shown = data if len(data) <= SHOWN_WIDTH else data[: SHOWN_WIDTH - 1] + "…"
    source = str(event.get("source", "")).rpartition("/")[2]
    return f"{event['sequence']:>6}  {event['type']:<17} {source:<11} {shown}"


def _as_line(event: Event) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _is_up(lab: RunningLab) -> bool:
    return any(one.pid == lab.pid for one in running_labs())


def _bus(lab: RunningLab, stack: str | None) -> str:
    with_bus = {name: urls[BUS] for name, urls in lab.stacks.items() if BUS in urls}
    if stack is None and with_bus:
        return with_bus.get("async-bus") or next(iter(with_bus.values()))
    if stack in with_bus:
        return with_bus[stack]
    known = ", ".join(with_bus) or "none: start one with `lab up async-bus`"
    raise ControlError(f"No stack {stack or ''} with a bus runs here. Known: {known}.", USAGE)
