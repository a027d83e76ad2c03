"""The `log` engine's process: takes events, commits them in groups, streams them to everyone.

Group commit: the first event that comes is committed at once; whatever comes while the disk is
busy waits and is committed together. So one publisher is answered as fast as the disk allows, and
sixty-four share the price of a commit. Nobody is acknowledged before the disk has acknowledged.
"""

import argparse
import asyncio
import re
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from lab.bus.log_file import LogFile
from lab.domain.directory import BUS, BY_HAND_PORTS
from lab.domain.errors import Invalid
from lab.domain.events import Envelope
from lab.openapi import asyncapi
from lab.shell import Shell, ShellOptions
from lab.web import Route, answer, read_body

ARRANGEMENT = "async-bus"
MAX_BODY_BYTES = 4 * 1024 * 1024  # a service that was away brings its whole outbox
_KEPT_IN_MEMORY = 10_000
_LINES_A_WRITE = 2_000

_ENVELOPES = TypeAdapter(list[Envelope])


class LogServer:
    """Groups appends into commits and wakes the streams after each."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._waiting: list[tuple[list[Envelope], asyncio.Future[list[int]]]] = []
        self._something_waits = asyncio.Event()
        # The log's own head moves in the disk's thread; this one moves together with the lines.
        self._head = log.head
        self._newest: deque[bytes] = deque(maxlen=_KEPT_IN_MEMORY)
        self._moved = asyncio.Event()
        self._closing = False

    async def commit_in_groups(self) -> None:
        """Commit whatever waits, over and over; on cancellation end the streams."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._something_waits.wait()
                self._something_waits.clear()
                group, self._waiting = self._waiting, []
                together = [envelope for envelopes, _ in group for envelope in envelopes]
                sequences, lines = await loop.run_in_executor(
                    self._disk, self._log.append, together
                )
                self._newest.extend(lines)
                self._head += len(lines)
                self._wake_streams()
                done = 0
                for envelopes, future in group:
                    if not future.done():
                        future.set_result(sequences[done : done + len(envelopes)])
                    done += len(envelopes)
        finally:
            self._closing = True
            self._wake_streams()

    @property
    def newest(self) -> int:
        """The sequence number of the last event that is on disk."""
        return self._head

    def _wake_streams(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def append(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: one envelope, or a list of them; 201 with their sequence numbers."""
        envelopes = await read_envelopes(request)
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append((envelopes, committed))
        self._something_waits.set()
        return answer({"sequences": await committed}, 201)

    async def read(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /events?after=N`: NDJSON of all behind N; with `follow=1` it never ends."""
        position, follow = what_to_read(request)
        stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await stream.prepare(request)
        while not self._closing:
            moved = self._moved
            if lines := self._lines(position):
                position += len(lines)
                await stream.write(b"\n".join(lines) + b"\n")
            elif follow:
                await moved.wait()
            else:
                break
        return stream

    def _lines(self, after: int) -> list[bytes]:
        """What stands behind `after`: from memory near the end of the log, else from disk."""
        behind = self._head - after
        if behind <= 0:
            return []
        if behind <= len(self._newest):
            start = len(self._newest) - behind
            stop = min(len(self._newest), start + _LINES_A_WRITE)
            return [self._newest[index] for index in range(start, stop)]
        return self._log.lines(after, min(behind, _LINES_A_WRITE))

    async def head(self, request: web.BaseRequest) -> web.Response:
        """`GET /head`: the newest sequence number."""
        return answer({"sequence": self.newest})


async def read_envelopes(request: web.BaseRequest) -> list[Envelope]:
    """The envelope, or the list of them, in the body of a request. Raises Invalid."""
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        if body.lstrip().startswith(b"{"):
            return [Envelope.from_json(body)]
        return _ENVELOPES.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"Not a CloudEvents envelope: {at}: {first['msg']}.", field=at) from None


def what_to_read(request: web.BaseRequest) -> tuple[int, bool]:
    """`after` and `follow` of a request for events: a sequence number, and whether to wait for
    more. Raises Invalid."""
    after = request.query.get("after", "0")
    if not re.fullmatch("[0-9]{1,18}", after):
        raise Invalid("after: expected a sequence number, from 0.", field="after")
    return int(after), request.query.get("follow") == "1"


async def asyncapi_document(request: web.BaseRequest) -> web.Response:
    """`GET /asyncapi.json`: what the events are."""
    return answer(asyncapi(request.host))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.log_server",
        description="The event bus, engine log, as a program of its own.",
        epilog=f"Try: curl 'http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][BUS]}/events?after=0'",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][BUS])
    parser.add_argument("--data", type=Path, default=Path("runs/by-hand/async-bus"))
    arguments = parser.parse_args(argv)
    log = LogFile(arguments.data / "event-bus.db")
    server = LogServer(log)
    routes = [
        Route("POST", "/events", server.append, raw=True),
        Route("GET", "/events", server.read, raw=True),
        Route("GET", "/head", server.head, raw=True),
        Route("GET", "/asyncapi.json", asyncapi_document, raw=True, door=False),
    ]
    shell = Shell(ARRANGEMENT, BUS, routes, ShellOptions.of(arguments))
    shell.state = lambda: {"head": server.newest}
    shell.run(server.commit_in_groups)


if __name__ == "__main__":
    main()
