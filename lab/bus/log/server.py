"""The process of the `log` engine: takes events, commits them in groups, streams them to readers.

Group commit: the first event is committed at once; events that arrive while the disk is busy wait
and are committed together. So a single publisher is answered as fast as the disk allows, and 64
share the cost of a commit. No event is acknowledged before it is on disk.

Streams and `/head` name the log's epoch (`lab/bus/log/storage.py`). A publisher that sends an epoch
along is refused, with a 409, once the file has been opened again or replaced: then it has to
compare.
"""

import argparse
import asyncio
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiohttp import web

from lab.bus.log.storage import LogFile
from lab.bus.log.wire import (
    AnotherLog,
    NotKept,
    Tellers,
    read_envelopes,
    sequence_number,
    what_to_read,
)
from lab.domain import headers
from lab.domain.errors import Conflict
from lab.domain.events import Envelope
from lab.domain.services import BUS, BY_HAND_PORTS
from lab.service.fault_api import knock
from lab.service.http import Route, answer
from lab.service.openapi import asyncapi
from lab.service.server import Shell, ShellOptions

ARRANGEMENT = "async-bus"
_KEPT_IN_MEMORY = 10_000
_LINES_A_WRITE = 2_000
_DELETED_AT_ONCE = 10  # a tenth of `retain`: a deletion for each event would double the commits


class LogServer:
    """Groups appends into commits and wakes the streams after each.

    `retain`: how many of the newest events are kept at least; None keeps all.
    """

    def __init__(self, log: LogFile, retain: int | None = None) -> None:
        self._log = log
        self._retain = retain
        self._waiting: list[tuple[list[Envelope], asyncio.Future[list[int]]]] = []
        self._something_waits = asyncio.Event()
        self._head = log.head
        self._first = log.first
        self._newest: deque[bytes] = deque(maxlen=_KEPT_IN_MEMORY)
        self._moved = asyncio.Event()
        self._closing = False

    async def commit_in_groups(self) -> None:
        """Commit waiting events in a loop; on cancellation end the streams."""
        try:
            while True:
                await self._something_waits.wait()
                self._something_waits.clear()
                group, self._waiting = self._waiting, []
                together = [envelope for envelopes, _ in group for envelope in envelopes]
                # In this loop, as in Redis with `appendfsync always`: another thread would cost two
                # wake-ups, as much as the disk does, and no response can be sent meanwhile.
                sequences, lines = self._log.append(together)
                self._newest.extend(lines)
                self._head += len(lines)
                done = 0
                for envelopes, future in group:
                    if not future.done():
                        future.set_result(sequences[done : done + len(envelopes)])
                    done += len(envelopes)
                self._wake_streams()
                await self._let_go_of_the_oldest()
        finally:
            self._closing = True
            self._wake_streams()

    async def _let_go_of_the_oldest(self) -> None:
        if self._retain is None:
            return
        first = self._head - self._retain + 1
        if first - self._first > self._retain // _DELETED_AT_ONCE:
            self._first = first  # before the deletion: no stream may read on into a gap
            await asyncio.to_thread(self._log.delete_before, first)  # may be thousands

    @property
    def newest(self) -> int:
        """The sequence number of the last event that is on disk."""
        return self._head

    def _wake_streams(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def append(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: one envelope, or a list of them; 201 with their sequence numbers.

        Raises Conflict when the header `Log-Epoch` names another epoch; Invalid.
        """
        self.check_epoch(request)
        return answer({"sequences": await self.keep(await read_envelopes(request))}, 201)

    def check_epoch(self, request: web.BaseRequest) -> None:
        """Refuse a request that names another epoch. Raises Conflict."""
        if request.headers.get(headers.EPOCH, self._log.epoch) != self._log.epoch:
            raise Conflict(
                "The log has been opened anew, and may be another one: ask GET /head?event=N&id=ID "
                "whether it holds the last event that you told, and tell again what it lost."
            )

    async def keep(self, envelopes: list[Envelope]) -> list[int]:
        """Have events committed; returns their sequence numbers once they are on disk."""
        committed: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((envelopes, committed))
        self._something_waits.set()
        return await committed

    async def read(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /events?after=N`: NDJSON of all events after N; with `follow=1` it never ends.

        With `epoch`, as named by the response that led to N: refused with 409 when event N was
        another one in that response. Refused with 410 when retention has deleted the next event.
        """
        position, follow = what_to_read(request)
        self._check_place(position, request.query.get("epoch", ""), follow)
        stream = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", headers.EPOCH: self._log.epoch}
        )
        await stream.prepare(request)
        while not self._closing and position + 1 >= self._first:
            moved = self._moved
            if lines := self._lines(position):
                position += len(lines)
                await stream.write(b"\n".join(lines) + b"\n")
            elif follow:
                await moved.wait()
            else:
                break
        return stream

    def _check_place(self, after: int, epoch: str, follow: bool) -> None:
        """Refuse a position that this log never reached, or one before its first event."""
        reached = self._head if epoch in ("", self._log.epoch) else self._log.reached(epoch)
        if after > reached and (epoch or follow):
            raise AnotherLog(
                f"The log ends at {self._head}, and event {after} was never in it as you heard it: "
                f"a tail is lost. Read again from after={self._first - 1}, and pass over what you "
                "know by its id.",
                self._first,
            )
        if after + 1 < self._first:
            raise NotKept(
                f"Events {after + 1} to {self._first - 1} are not kept any more (--retain-events): "
                f"the log begins behind after={self._first - 1}.",
                self._first,
            )

    async def behind(self, after: int) -> list[bytes]:
        """The lines after `after`, one for each event; waits until there is one."""
        while not (lines := self._lines(after)):
            await self._moved.wait()
        return lines

    def all_lines(self) -> Iterator[bytes]:
        """All events that are kept, one line each."""
        after = self._first - 1
        while lines := self._lines(after):
            yield from lines
            after += len(lines)

    def _lines(self, after: int) -> list[bytes]:
        """Lines after `after`: from memory near the end of the log, else from disk."""
        behind = self._head - after
        if behind <= 0:
            return []
        if behind <= len(self._newest):
            start = len(self._newest) - behind
            stop = min(len(self._newest), start + _LINES_A_WRITE)
            return [self._newest[index] for index in range(start, stop)]
        return self._log.lines(after, min(behind, _LINES_A_WRITE))

    async def head(self, request: web.BaseRequest) -> web.Response:
        """`GET /head`: the newest sequence number, the epoch, and the first number still kept.

        With `event=N&id=ID`: also `holds`, whether the log contains that event. An event that
        retention has deleted counts as contained.
        """
        told = {"sequence": self.newest, "epoch": self._log.epoch, "first": self._first}
        if "event" in request.query:
            number = sequence_number(request, "event")
            known = number < self._first or self._log.id_of(number) == request.query.get("id")
            told["holds"] = known
        return answer(told)


def at_least_one(given: str) -> int:
    """A whole number from 1, for argparse."""
    if not re.fullmatch("[1-9][0-9]{0,17}", given):
        raise argparse.ArgumentTypeError(f"{given!r}: expected a whole number, 1 or more.")
    return int(given)


async def asyncapi_document(request: web.BaseRequest) -> web.Response:
    """`GET /asyncapi.json`: the AsyncAPI document of the events."""
    return answer(asyncapi(request.host))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bus.log.server",
        description="The event bus, engine log, as a program of its own.",
        epilog=f"Try: curl 'http://127.0.0.1:{BY_HAND_PORTS[ARRANGEMENT][BUS]}/events?after=0'",
    )
    ShellOptions.arguments(parser, BY_HAND_PORTS[ARRANGEMENT][BUS])
    parser.add_argument("--data", type=Path, default=Path("runs/by-hand/async-bus"))
    parser.add_argument(
        "--retain-events",
        type=at_least_one,
        metavar="N",
        help="keep the newest N, and up to a tenth more; by default all are kept",
    )
    arguments = parser.parse_args(argv)
    log = LogFile(arguments.data / "event-bus.db")
    server = LogServer(log, arguments.retain_events)
    tellers = Tellers(server.check_epoch, lambda request: knock(shell.door, request), server.keep)
    routes = [
        Route("POST", "/events", server.append, raw=True),
        Route("GET", "/tell", tellers.tell, raw=True, door=False),  # each message passes it
        Route("GET", "/events", server.read, raw=True),
        Route("GET", "/head", server.head, raw=True),
        Route("GET", "/asyncapi.json", asyncapi_document, raw=True, door=False),
    ]
    shell = Shell(ARRANGEMENT, BUS, routes, ShellOptions.of(arguments))
    shell.state = lambda: {"head": server.newest}
    shell.run(server.commit_in_groups, tellers.until_the_end)


if __name__ == "__main__":
    main()
