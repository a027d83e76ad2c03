"""The lab's log in place of an external system's bus: the same HTTP API, but events survive.

    POST /events {type, data}    written to disk, then acknowledged
    GET /events                  all events so far, as they were published
    POST /events to each         in order from that subscriber's offset, retried until accepted

`python -m lab.external.log_bus --subscriber http://127.0.0.1:4001/events`

A subscriber that was down gets the events it missed when it is back. Its offset advances when it
responds with a status below 400, or without such a route (404, 405). An event that it keeps
rejecting blocks all later ones. A subscriber that crashes after it has processed an event, but
before it responds, gets that event again: delivery is in order and at least once, because external
events have no id by which a duplicate could be recognised.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic_core import from_json

from lab.bus.log.server import LogServer
from lab.bus.log.storage import open_log
from lab.domain.errors import Invalid
from lab.domain.events import Envelope
from lab.domain.services import BUS, BY_HAND_PORTS
from lab.service.http import MAX_BODY_BYTES, Route, answer, read_body
from lab.service.server import Shell, ShellOptions

SOURCE = "/foreign"
DELIVERY_TIMEOUT_S = 60.0
"""Timeout of a delivery. Until then there is no retry: a slow subscriber may have the event."""

FIRST_PAUSE_S = 0.02
MAX_PAUSE_S = 0.5
_NO_ROUTE_STATUSES = (404, 405)


class SubscriberOffsets:
    """The offset of each subscriber, on disk."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS offsets (who TEXT PRIMARY KEY, position INTEGER NOT NULL)"
        )
        self.by_subscriber: dict[str, int] = dict(
            self._database.execute("SELECT who, position FROM offsets")
        )

    def advance(self, subscriber: str, position: int) -> None:
        """Store that a subscriber has accepted every event up to `position`."""
        self._database.execute(
            "INSERT OR REPLACE INTO offsets VALUES (?, ?)", (subscriber, position)
        )
        self.by_subscriber[subscriber] = position


class ExternalLogBus:
    """Appends published events to the log, and delivers them from it to `subscribers` (URLs)."""

    def __init__(
        self, log: LogServer, offsets: SubscriberOffsets, subscribers: Sequence[str]
    ) -> None:
        self._log, self._offsets, self._subscribers = log, offsets, subscribers
        self._rejections: dict[str, str] = {}

    async def publish(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: OK when the event is on disk. Raises Invalid."""
        event = _parse_event(await read_body(request, MAX_BODY_BYTES))
        data = event.get("data")
        subject = str(data.get("id", "")) if isinstance(data, dict) else ""
        # Stores the whole event, so that subscribers get exactly what was published.
        envelope = Envelope.create(str(event["type"]), subject=subject, data=event, source=SOURCE)
        await self._log.commit([envelope])
        return answer({"status": "OK"})

    async def all_events(self, request: web.BaseRequest) -> web.Response:
        """`GET /events`: every event in the log, as it was published."""
        return answer([Envelope.from_json(line).data for line in self._log.all_lines()])

    def state(self) -> dict[str, Any]:
        """`head`: the number of the newest event. `subscribers`: the offset of each, by URL.
        `refused`: why a subscriber did not accept its next event, by URL."""
        offsets = {
            subscriber: self._offsets.by_subscriber.get(subscriber, 0)
            for subscriber in self._subscribers
        }
        return {"head": self._log.newest, "subscribers": offsets, "refused": self._rejections}

    async def deliver(self) -> None:
        """Run until cancelled: deliver to each subscriber the events after its offset."""
        # No kept-alive connections: a subscriber may close one while a request is written, and
        # then it is unknown whether it has the event.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT_S),
        ) as client:
            await asyncio.gather(
                *(self._deliver_to(subscriber, client) for subscriber in self._subscribers)
            )

    async def _deliver_to(self, subscriber: str, client: aiohttp.ClientSession) -> None:
        position = self._offsets.by_subscriber.get(subscriber, 0)
        while True:
            for line in await self._log.wait_for_events(position):
                event = Envelope.from_json(line).data
                await self._deliver_until_accepted(subscriber, event, client)
                position += 1
                self._offsets.advance(subscriber, position)

    async def _deliver_until_accepted(
        self, subscriber: str, event: dict[str, Any], client: aiohttp.ClientSession
    ) -> None:
        pause_s = FIRST_PAUSE_S
        while reason := await _rejection_reason(subscriber, event, client):
            if self._rejections.get(subscriber) != reason:
                sys.stderr.write(f"{subscriber} did not accept {event['type']}: {reason}\n")
                sys.stderr.flush()
            self._rejections[subscriber] = reason
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        self._rejections.pop(subscriber, None)


async def _rejection_reason(
    subscriber: str, event: dict[str, Any], client: aiohttp.ClientSession
) -> str | None:
    try:
        async with client.post(subscriber, json=event) as response:
            accepted = response.ok or response.status in _NO_ROUTE_STATUSES
            return None if accepted else f"it answered {response.status}"
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return str(error) or type(error).__name__


def _parse_event(body: bytes) -> dict[str, Any]:
    try:
        event = from_json(body)
    except ValueError as error:
        raise Invalid(f"Not an event {{type, data}}: {error}.", field="body") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        seen = json.dumps(event)[:80]
        raise Invalid(f"Not an event {{type, data}}: saw {seen}.", field="type")
    return event


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.external.log_bus",
        description="The lab's log, which speaks as a course's event bus does.",
        epilog=f"Try: curl http://127.0.0.1:{BY_HAND_PORTS['async-bus'][BUS]}/events",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS["async-bus"][BUS])
    add = parser.add_argument
    add("--data", type=Path, default=Path("runs/by-hand/bridge"))
    add(
        "--events",
        default="/events",
        metavar="PATH",
        help="path on which events are published and delivered (/events)",
    )
    add(
        "--subscriber",
        action="append",
        default=[],
        metavar="URL",
        help="where each event is delivered; may be repeated",
    )
    args = parser.parse_args(argv)
    log = LogServer(open_log(args.data / "event-bus.db"))
    log_bus = ExternalLogBus(log, SubscriberOffsets(args.data / "offsets.db"), args.subscriber)
    routes = [
        Route("POST", args.events, log_bus.publish, raw=True),
        Route("GET", args.events, log_bus.all_events, raw=True),
    ]
    # Services may use any host name for their bus.
    shell = Shell("foreign", BUS, routes, ShellOptions.of(args), any_host=True)
    shell.state = log_bus.state
    shell.not_ready_because = log.not_ready_because
    shell.run(log.group_commit_loop, log_bus.deliver)


if __name__ == "__main__":
    main()
