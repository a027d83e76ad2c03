"""Reading a bus by hand: what lies there and what comes, whatever it is made of and lives through.

A bus that keeps numbers is read as any consumer reads it: `GET /events?after=N`, a line of JSON
each, and with `follow=1` the answer doesn't end. The course's bus has no numbers and answers with
all so far: there an event's number is its place, and who follows asks again.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from lab.byhand.control import ANSWER_WITHIN_S, CANNOT, ControlError

ASK_AGAIN_S = 0.3

Event = dict[str, Any]


class Away(ControlError):
    """The bus can't be read just now."""


def read_events(url: str, after: int, follow: bool = False) -> Iterator[Event]:
    """The events behind number `after`, each with its `sequence`; with `follow`, what comes too,
    until the bus breaks off. Raises ControlError; Away when it may be better later."""
    parts = urlsplit(url)
    within_s = None if follow else ANSWER_WITHIN_S
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=within_s)
    try:
        connection.request("GET", f"/events?after={after}" + ("&follow=1" if follow else ""))
        response = connection.getresponse()
        if response.status != 200:
            kind = Away if response.status >= 500 else ControlError
            raise kind(f"The bus at {url} answered {_in_short(response)}", CANNOT)
        if "ndjson" in (response.headers["Content-Type"] or ""):
            yield from map(json.loads, response)
        else:
            yield from _numbered(json.loads(response.read()), after, follow)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Away(
            f"The bus at {url} can't be read: {error or type(error).__name__}. "
            "Is it down? `lab fault` alone lists what is broken.",
            CANNOT,
        ) from None
    finally:
        connection.close()


def follow_events(
    url: str, after: int, is_up: Callable[[], bool], note: Callable[[str], None]
) -> Iterator[Event]:
    """The same, for ever: when the bus has been away it goes on behind what was read.

    `note` is told when the bus goes away. Raises ControlError when it isn't there at the beginning,
    and when the lab has ended (`is_up`).
    """
    away: bool | None = None  # not known yet
    while True:
        try:
            for event in read_events(url, after, follow=True):
                after = event["sequence"]
                yield event
            away = False
        except Away:
            if away is None:
                raise
            if not is_up():
                raise ControlError("The lab has ended, and the bus with it.", CANNOT) from None
            if not away:
                note(f"! The bus at {url} can't be read just now. This goes on when it can.")
            away = True
        time.sleep(ASK_AGAIN_S)


def _numbered(events: list[Event], after: int, follow: bool) -> list[Event]:
    """Each with its place as its number. A bus that was started anew has forgotten all before."""
    if follow and len(events) < after:
        after = 0
    return [{**event, "sequence": number} for number, event in enumerate(events, 1)][after:]


def _in_short(response: http.client.HTTPResponse) -> str:
    """`409: The log ends at 17 …`, where the bus gives a reason."""
    try:
        return f"{response.status}: {json.loads(response.read())['detail']}"
    except (ValueError, LookupError, TypeError):
        return f"{response.status}."
