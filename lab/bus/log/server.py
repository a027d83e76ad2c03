"""The process of the `log` engine: takes events, commits them in groups, streams them to readers.

Group commit: the first event is committed at once; events that arrive while the disk is busy wait
and are committed together. So a single publisher is answered as fast as the disk allows, and 64
share the cost of a commit. No event is acknowledged before it is on disk.

Streams and `/head` name the log's epoch (`lab/bus/log/storage.py`). A publisher that sends an epoch
along is refused, with a 409, once the file has been opened again or replaced: then it has to
compare.

An error of the disk is answered with a sentence, and the log goes on: a full disk may have space
again. Damage in the file makes the process not ready, and it stores nothing more: what it
acknowledged then, no new consumer could read.
"""

import argparse
import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import HttpVersion11, web

from lab.bus.log.storage import (
    LogFile,
    explain_disk_error,
    is_damage,
    open_log,
    take_lines,
)
from lab.bus.log.wire import (
    DeletedPosition,
    LogDamaged,
    PublishServer,
    UnknownPosition,
    parse_read_query,
    parse_sequence_number,
    read_envelopes,
)
from lab.bus.moments import Moments
from lab.domain import headers
from lab.domain.errors import Conflict, DiskFailed
from lab.domain.events import Envelope
from lab.domain.services import BUS, BY_HAND_PORTS
from lab.service.fault_api import admit
from lab.service.http import Route, answer
from lab.service.openapi import asyncapi
from lab.service.options import whole_number
from lab.service.server import Shell, ShellOptions
from lab.service.store import is_machine_error

ARRANGEMENT = "async-bus"
_CACHED_LINES = 10_000
_CACHED_BYTES = 64 * 1024 * 1024  # an event may have 4 MiB
_LINES_PER_WRITE = 2_000
# Up to a tenth more than `retain` is kept: a deletion for each event would double the commits.
_RETENTION_SLACK_DIVISOR = 10


class NewestLines:
    """The newest lines of the log, in memory: at most _CACHED_LINES with _CACHED_BYTES."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []  # not a deque: that one is slow in its middle
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def extend(self, lines: Sequence[bytes]) -> None:
        self._lines += lines
        self.size_bytes += sum(map(len, lines))
        drop = 0
        if len(self._lines) > _CACHED_LINES:
            # More than needed: a list moves all that stays, so not at each event.
            drop = len(self._lines) - _CACHED_LINES + _CACHED_LINES // 10
            self.size_bytes -= sum(map(len, self._lines[:drop]))
        while self.size_bytes > _CACHED_BYTES:
            self.size_bytes -= len(self._lines[drop])
            drop += 1
        del self._lines[:drop]

    def last(self, count: int, limit: int) -> list[bytes]:
        """The first of the last `count` lines: at most `limit`, with the size of one write."""
        start = len(self._lines) - count
        return take_lines(self._lines[start : start + limit])


@dataclass(eq=False)
class _LiveReader:
    """A reader that has every event up to `position`; `left` is done when it has to catch up."""

    name: str
    transport: asyncio.WriteTransport
    chunked: bool
    position: int
    left: asyncio.Future[None]

    @property
    def is_ready(self) -> bool:
        """Whether its connection takes more at once."""
        return not (self.transport.is_closing() or self.transport.get_write_buffer_size())


class LogServer:
    """Groups appends into commits, and writes the events of each to the readers.

    A reader that has all events is *live*: each commit is encoded once, and the same bytes go to
    the connections of all of them, without a task in between. A live reader whose connection is
    full, or that has gone, is handed back to the task of its request.

    `retain`: how many of the newest events are kept at least; None keeps all.
    """

    def __init__(self, log: LogFile, retain: int | None = None) -> None:
        self._log = log
        self._retain = retain
        self._waiting: list[tuple[list[Envelope], asyncio.Future[list[int]]]] = []
        self._work_available = asyncio.Event()
        self._head = log.head
        self._first = log.first
        self._newest = NewestLines()
        self._damage = log.damage
        self._reported = ""
        if self._damage:
            self._report(self._damage)
        self._head_changed = asyncio.Event()
        self._live: set[_LiveReader] = set()
        self._closing = False
        self.moments = Moments()

    async def group_commit_loop(self) -> None:
        """Commit waiting events in a loop; on cancellation end the streams."""
        try:
            while True:
                await self._work_available.wait()
                self._work_available.clear()
                group, self._waiting = self._waiting, []
                try:
                    self._commit_group(group)
                    await self._apply_retention()
                except DiskFailed as error:
                    for _, future in group:
                        if not future.done():
                            future.set_exception(error)
        finally:
            self._closing = True
            self._wake_streams()

    def _commit_group(
        self, group: Sequence[tuple[list[Envelope], asyncio.Future[list[int]]]]
    ) -> None:
        """Acknowledge what is on disk. Raises DiskFailed."""
        batch = [envelope for envelopes, _ in group for envelope in envelopes]
        # In this loop, as in Redis with `appendfsync always`: another thread would cost two
        # wake-ups, as much as the disk does, and no response can be sent meanwhile.
        with self._disk():
            sequences, lines = self._log.append(batch)
        self._reported = ""
        self._newest.extend(lines)
        self._head += len(lines)
        done = 0
        for envelopes, future in group:
            if not future.done():
                future.set_result(sequences[done : done + len(envelopes)])
            done += len(envelopes)
        self._wake_streams()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Report an error of the disk or of the file. Raises DiskFailed."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_machine_error(error):
                raise
            reason = explain_disk_error(error, self._log.path)
            if is_damage(error):
                self._damage = reason = self._damage or reason
            self._report(reason)
            error_class = LogDamaged if is_damage(error) else DiskFailed
            raise error_class(reason, definite=False) from None

    def _report(self, reason: str) -> None:
        if reason != self._reported:
            self._reported = reason
            sys.stderr.write(f"{reason}\n")
            sys.stderr.flush()

    def not_ready_because(self) -> str | None:
        """What the log needs before it stores events again; None when it does."""
        return f"a log file that is whole: {self._damage}" if self._damage else None

    async def _apply_retention(self) -> None:
        if self._retain is None:
            return
        first = self._head - self._retain + 1
        if first - self._first > self._retain // _RETENTION_SLACK_DIVISOR:
            self._first = first  # before the deletion: no stream may read on into a gap
            with self._disk():
                await asyncio.to_thread(self._log.delete_before, first)  # may be thousands

    @property
    def newest(self) -> int:
        """The sequence number of the last event that is on disk."""
        return self._head

    def _wake_streams(self) -> None:
        self._head_changed.set()
        self._head_changed = asyncio.Event()
        if self._live:  # Not now: the publisher that waits for its response is first.
            asyncio.get_running_loop().call_soon(self._write_to_live_readers)

    def _write_to_live_readers(self) -> None:
        encoded: dict[int, tuple[int, bytes, bytes]] = {}
        for live in list(self._live):
            behind = self._head - live.position
            if self._closing or not live.is_ready or behind > len(self._newest):
                self._hand_back(live)
                continue
            if live.position not in encoded:
                lines = self._read_lines(live.position)
                data = b"".join(line + b"\n" for line in lines)
                encoded[live.position] = len(lines), data, b"%x\r\n%b\r\n" % (len(data), data)
            count, data, chunk = encoded[live.position]
            if count:
                last = live.position + count
                self.moments.note_delivery(live.name, live.position + 1, last, time.time())
                live.transport.write(chunk if live.chunked else data)
                live.position = last
            if count < behind:
                self._hand_back(live)

    def _hand_back(self, live: _LiveReader) -> None:
        self._live.discard(live)
        if not live.left.done():
            live.left.set_result(None)

    async def _stay_live(self, name: str, request: web.BaseRequest, position: int) -> int:
        """Have each commit written to a reader that has all events; returns its last event once it
        has to catch up."""
        if request.transport is None:
            raise ConnectionResetError("The reader has gone.")
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        chunked = request.version >= HttpVersion11
        live = _LiveReader(name, request.transport, chunked, position, left)
        self._live.add(live)
        try:
            await left
        finally:
            self._live.discard(live)
        return live.position

    async def append(self, request: web.BaseRequest) -> web.Response:
        """`POST /events`: one envelope, or a list of them; 201 with their sequence numbers.

        Raises Conflict when the header `Log-Epoch` names another epoch; Invalid.
        """
        self.check_epoch(request)
        return answer({"sequences": await self.commit(await read_envelopes(request))}, 201)

    def check_epoch(self, request: web.BaseRequest) -> None:
        """Refuse a request that names another epoch. Raises Conflict."""
        if request.headers.get(headers.EPOCH, self._log.epoch) != self._log.epoch:
            raise Conflict(
                "The log has been opened anew, and may be another one: ask GET /head?event=N&id=ID "
                "whether it contains the last event that you published, and publish again what it "
                "lost."
            )

    async def commit(self, envelopes: list[Envelope]) -> list[int]:
        """Have events committed; returns their sequence numbers once they are on disk.

        Raises DiskFailed.
        """
        if self._damage:
            raise LogDamaged(self._damage)
        received_s = time.time()
        committed: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((envelopes, committed))
        self._work_available.set()
        sequences = await committed
        committed_s = time.time()
        for sequence, event in zip(sequences, envelopes, strict=True):
            self.moments.note_event(sequence, event.type, event.subject, received_s, committed_s)
        return sequences

    async def read(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /events?after=N`: NDJSON of all events after N; with `follow=1` it never ends.

        With `epoch`, as named by the response that led to N: refused with 409 when event N was
        another one in that response. Refused with 410 when retention has deleted the next event,
        with 503 when the next events can't be read.

        Without `follow`, a response that lacks events which the log had when it was asked breaks
        off: a reader would take a stream that ends properly for the whole.
        """
        position, follow = parse_read_query(request)
        self._check_position(position, request.query.get("epoch", ""), follow)
        lines = self._read_lines(position)
        asked_head, reader = self._head, request.headers.get(headers.CALLER, "")
        stream = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", headers.EPOCH: self._log.epoch}
        )
        await stream.prepare(request)
        with suppress(DiskFailed):
            while not self._closing and position + 1 >= self._first:
                if lines:
                    first, sent_s = position + 1, time.time()
                    position += len(lines)
                    await stream.write(b"\n".join(lines) + b"\n")  # raises if the reader has gone
                    self.moments.note_delivery(reader, first, position, sent_s)
                elif follow:
                    position = await self._stay_live(reader, request, position)
                else:
                    break
                lines = self._read_lines(position)
        if position < asked_head and not follow and request.transport is not None:
            request.transport.abort()
        return stream

    def _check_position(self, after: int, epoch: str, follow: bool) -> None:
        """Refuse a position that this log never reached, or one before its first event."""
        end = self._head if epoch in ("", self._log.epoch) else self._log.end_of_epoch(epoch)
        if after > end and (epoch or follow):
            raise UnknownPosition(
                f"The log ends at {self._head}, and event {after} was never in it as you read it: "
                f"a tail is lost. Read again from after={self._first - 1}, and skip the events "
                "whose ids you know.",
                self._first,
                self._log.epoch,
            )
        if after + 1 < self._first:
            raise DeletedPosition(
                f"Events {after + 1} to {self._first - 1} are not kept any more (--retain-events): "
                f"the log begins with after={self._first - 1}.",
                self._first,
                self._log.epoch,
            )

    async def wait_for_events(self, after: int) -> list[bytes]:
        """The lines after `after`, one for each event; waits until there is one."""
        while True:
            with suppress(DiskFailed):
                if lines := self._read_lines(after):
                    return lines
            await self._head_changed.wait()

    def all_lines(self) -> Iterator[bytes]:
        """All events that are kept, one line each. Raises DiskFailed."""
        after = self._first - 1
        while lines := self._read_lines(after):
            yield from lines
            after += len(lines)

    def _read_lines(self, after: int) -> list[bytes]:
        """Lines after `after`: from memory near the end of the log, else from disk.

        Raises DiskFailed.
        """
        behind = self._head - after
        if behind <= 0:
            return []
        if behind <= len(self._newest):
            return self._newest.last(behind, _LINES_PER_WRITE)
        with self._disk():
            return self._log.read_lines(after, min(behind, _LINES_PER_WRITE))

    async def head(self, request: web.BaseRequest) -> web.Response:
        """`GET /head`: the newest sequence number, the epoch, and the first number still kept.

        With `event=N&id=ID`: also `holds`, whether the log contains that event. An event that
        retention has deleted counts as contained.
        """
        body = {"sequence": self.newest, "epoch": self._log.epoch, "first": self._first}
        if "event" in request.query:
            number = parse_sequence_number(request, "event")
            with self._disk():
                known = number < self._first or self._log.id_of(number) == request.query.get("id")
            body["holds"] = known
        return answer(body)


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
        type=whole_number(1, 10**18 - 1),
        metavar="N",
        help="keep the newest N, and up to a tenth more; by default all are kept",
    )
    arguments = parser.parse_args(argv)
    log = open_log(arguments.data / "event-bus.db")
    server = LogServer(log, arguments.retain_events)
    publish_server = PublishServer(
        server.check_epoch, lambda request: admit(shell.fault_filter, request), server.commit
    )
    routes = [
        Route("POST", "/events", server.append, raw=True),
        # Not faultable: each message passes the fault filter instead of the connection.
        Route("GET", "/tell", publish_server.handle, raw=True, faultable=False),
        Route("GET", "/events", server.read, raw=True),
        Route("GET", "/head", server.head, raw=True),
        Route("GET", "/asyncapi.json", asyncapi_document, raw=True, faultable=False),
        server.moments.route,
    ]
    shell = Shell(ARRANGEMENT, BUS, routes, ShellOptions.of(arguments))
    shell.state = lambda: {"head": server.newest}
    shell.not_ready_because = server.not_ready_because
    shell.run(server.group_commit_loop, publish_server.close_on_cancellation)


if __name__ == "__main__":
    main()
