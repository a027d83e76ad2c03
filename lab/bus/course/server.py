"""The process of the `course` engine: the event bus as most people write it after the lecture.

It keeps the events in an array in memory, and POSTs {type, data} to every subscriber's `/events`.
`GET /events` returns all events so far. The public variants differ in half a line, the delivery,
and fail differently:

    uncaught          all at once, errors not caught: the first error ends the process
    one-by-one        one after the other, in a single try: after a subscriber that fails, the
                      others receive nothing; after one that hangs, they wait
    fire-and-forget   all at once, errors caught and logged: a subscriber that is down misses it

No variant tries again, and a restart loses the array.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from aiohttp import web

from lab.bus.base import BusUnavailable
from lab.bus.course.client import CourseEvent, Poster, read_event
from lab.bus.moments import Moments
from lab.domain.services import BUS, BY_HAND_PORTS, SUBSCRIBERS, by_hand_url
from lab.service.http import Route, answer
from lab.service.server import Shell, ShellOptions

ARRANGEMENT = "async-bus"


class CourseServer:
    """The array of events, and the `subscribers` (URLs) that receive them."""

    def __init__(self, subscribers: Sequence[str], delivery: str) -> None:
        self._subscribers = subscribers
        self._deliver = DELIVERIES[delivery]
        self._post = Poster()
        self.moments = Moments()
        self._events: list[CourseEvent] = []
        self._begun = 0
        self._deliveries: dict[int, asyncio.Task[None]] = {}

    async def publish(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: store the event, deliver it, respond OK even if the delivery fails."""
        await self.accept(await read_event(request))
        return answer({"status": "OK"})

    async def accept(self, event: CourseEvent) -> None:
        """Store the event and deliver it."""
        self._events.append(event)
        number = len(self._events)
        subject = str(event.data.get("id", ""))
        self.moments.note_event(number, event.type, subject, time.time(), None)
        await self._deliver(self, number, event)

    async def list_events(self, request: web.BaseRequest) -> web.Response:
        """`GET /events`: all events published since this process started."""
        return answer(self._events)

    def state(self) -> dict[str, Any]:
        """`head` is None: events have no numbers. Deliveries have: all up to `ended` are over, of
        those after it up to `begun` at least the first is in progress; `busy` are."""
        return {
            "head": None,
            "busy": len(self._deliveries),
            "begun": self._begun,
            "ended": min(self._deliveries, default=self._begun + 1) - 1,
            "events": len(self._events),
        }

    async def uncaught(self, number: int, event: CourseEvent) -> None:
        for subscriber in self._subscribers:
            self._start_task(self._post_or_exit(subscriber, number, event))

    async def one_by_one(self, number: int, event: CourseEvent) -> None:
        await self._start_task(self._try_to_post(self._subscribers, number, event))

    async def fire_and_forget(self, number: int, event: CourseEvent) -> None:
        for subscriber in self._subscribers:
            self._start_task(self._try_to_post([subscriber], number, event))

    async def _post_and_note(self, subscriber: str, number: int, event: CourseEvent) -> None:
        at_s, failed = time.time(), ""
        try:
            await self._post(subscriber, event)
        except BusUnavailable as error:
            failed = str(error)
            raise
        finally:
            self.moments.note_delivery(subscriber, number, number, at_s, failed)

    async def _post_or_exit(self, subscriber: str, number: int, event: CourseEvent) -> None:
        try:
            await self._post_and_note(subscriber, number, event)
        except BusUnavailable as error:
            # As Node does, since version 15, with an unhandled promise rejection.
            _log(f"Unhandled rejection: {error}")
            os._exit(1)

    async def _try_to_post(
        self, subscribers: Sequence[str], number: int, event: CourseEvent
    ) -> None:
        try:
            for subscriber in subscribers:
                await self._post_and_note(subscriber, number, event)
        except BusUnavailable as error:
            _log(str(error))

    def _start_task(self, delivery: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(delivery)
        self._begun += 1
        number = self._begun
        self._deliveries[number] = task
        task.add_done_callback(lambda _: self._deliveries.pop(number))
        return task


Deliver = Callable[[CourseServer, int, CourseEvent], Coroutine[Any, Any, None]]
DELIVERIES: dict[str, Deliver] = {
    "uncaught": CourseServer.uncaught,
    "one-by-one": CourseServer.one_by_one,
    "fire-and-forget": CourseServer.fire_and_forget,
}


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.course.server",
        description="The event bus as in the course, as a program of its own.",
        epilog=f"Try: curl http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][BUS]}/events",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][BUS])
    add = parser.add_argument
    add(
        "--subscriber",
        action="append",
        metavar="URL",
        help="who gets each event, as POST URL/events; may be repeated, and the order counts "
        "(default: the four services on their by-hand ports)",
    )
    add(
        "--delivery",
        choices=tuple(DELIVERIES),
        default="fire-and-forget",
        help="how it delivers, and so how it fails (fire-and-forget)",
    )
    arguments = parser.parse_args(argv)
    subscribers = arguments.subscriber or [by_hand_url(ARRANGEMENT, name) for name in SUBSCRIBERS]
    server = CourseServer([url.rstrip("/") for url in subscribers], arguments.delivery)
    routes = [
        Route("POST", "/events", server.publish, raw=True),
        Route("GET", "/events", server.list_events, raw=True),
        server.moments.route,
    ]
    shell = Shell(ARRANGEMENT, BUS, routes, ShellOptions.of(arguments))
    shell.state = server.state
    shell.run()


if __name__ == "__main__":
    main()
