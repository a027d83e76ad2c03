"""The event bus of the course: an array in memory, and one POST to every subscriber's `/events`.

`GET /events` returns all so far. A restart forgets the array.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from aiohttp import web

from lab.bus.base import BusUnavailable
from lab.bus.course.client import CourseEvent, Poster, read_event
from lab.domain.services import BUS
from lab.service.http import Route, answer
from lab.service.server import Shell, ShellOptions


class Server:
    """The array and the subscribers. `subscribers` are URLs."""

    def __init__(self, subscribers: Sequence[str]) -> None:
        self._subscribers = subscribers
        self._events: list[CourseEvent] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._post = Poster()

    async def take(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: store it, send it on, answer OK."""
        event = await read_event(request)
        self._events.append(event)
        for subscriber in self._subscribers:
            telling = asyncio.create_task(self._tell(subscriber, event))
            self._under_way.add(telling)  # keeps a reference: the loop holds tasks only weakly
            telling.add_done_callback(self._under_way.discard)
        return answer({"status": "OK"})

    async def _tell(self, subscriber: str, event: CourseEvent) -> None:
        try:
            await self._post(subscriber, event)
        except BusUnavailable as error:
            sys.stderr.write(f"{error}\n")

    async def all_so_far(self, request: web.BaseRequest) -> web.Response:
        """`GET /events`: every event since this process began."""
        return answer(self._events)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The event bus.")
    ShellOptions.arguments(parser, 4005)
    parser.add_argument("--subscriber", action="append", metavar="URL", default=[])
    arguments = parser.parse_args(argv)
    server = Server(arguments.subscriber)
    routes = [
        Route("POST", "/events", server.take, raw=True),
        Route("GET", "/events", server.all_so_far, raw=True),
    ]
    Shell("async-bus", BUS, routes, ShellOptions.of(arguments)).run()


if __name__ == "__main__":
    main()
