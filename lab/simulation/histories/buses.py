"""The buses of a world: the real engines, with the world's network instead of sockets."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from lab.async_bus.dual_write import DualWrite
from lab.bus.base import Batch, BusUnavailable, LogTruncated, OffsetExpired, check_gapless
from lab.bus.course.client import CourseBus, CourseEvent
from lab.bus.course.server import CourseServer
from lab.bus.log.client import ACKNOWLEDGED_WITHIN_S, LogBus
from lab.bus.log.server import LogServer
from lab.bus.log.wire import DeletedPosition, UnknownPosition
from lab.domain.errors import ServiceError
from lab.domain.events import Envelope
from lab.domain.services import BUS, SUBSCRIBERS
from lab.simulation.histories.disk import MemoryLogFile
from lab.simulation.histories.history import MessageKind
from lab.simulation.histories.loop import VirtualLoop
from lab.simulation.histories.network import Exchange, Node

if TYPE_CHECKING:
    from lab.simulation.histories.world import World

Work = Callable[[], Any]
"""What the receiver does: its result, or a coroutine."""


class _Call:
    """A request whose result is awaited. `work`: what the receiver does."""

    __slots__ = ("_answered", "_loop", "_work")

    def __init__(self, loop: VirtualLoop, work: Work) -> None:
        self._loop, self._work = loop, work
        self._answered: asyncio.Future[Any] = loop.create_future()

    async def answer(self, exchange: Exchange, timeout_s: float | None) -> Any:
        timer = self._loop.call_later(timeout_s, self._give_up, timeout_s) if timeout_s else None
        try:
            return await self._answered
        finally:
            exchange.give_up()
            if timer is not None:
                timer.cancel()

    def serve(self, exchange: Exchange) -> None:
        try:
            result = self._work()
        except (ServiceError, BusUnavailable) as error:
            exchange.answer(None, "failed", error)
            return
        if isinstance(result, Coroutine):
            self._loop.create_task(self._respond(exchange, result))
        else:
            exchange.answer(result, "ok")

    async def _respond(self, exchange: Exchange, pending: Coroutine[Any, Any, Any]) -> None:
        try:
            exchange.answer(await pending, "ok")
        except (ServiceError, BusUnavailable) as error:
            exchange.answer(None, "failed", error)

    def finish(self, value: Any, error: Exception | None) -> None:
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(value)
        elif isinstance(error, BusUnavailable):
            self._answered.set_exception(error)
        else:
            self._answered.set_exception(BusUnavailable(str(error)))

    def _give_up(self, timeout_s: float) -> None:
        self.finish(None, BusUnavailable(f"No acknowledgement in {timeout_s:g} s."))


def request(
    world: "World",
    sender: Node,
    receiver: str,
    work: Work,
    timeout_s: float | None = None,
    kind: MessageKind = "publish",
    label: str = "",
    write: int = 0,
) -> Awaitable[Any]:
    """Have `work` done by the receiver, and await its result: it or a coroutine. Raises
    BusUnavailable, also after the timeout."""
    call = _Call(world.loop, work)
    exchange = world.network.request(sender, receiver, call.serve, call.finish, kind, label, write)
    return call.answer(exchange, timeout_s)


class WorldDualWrite(DualWrite):
    """Publishes after the commit; the worker waits while the world goes on."""

    world: "World"

    def _wait_for(self, append: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(append, context=contextvars.copy_context())
        self.world.block_until(task.done)
        task.result()


# ── The log


class LogProcess(Node):
    """The process of the log: the real server on the real storage."""

    def __init__(self, world: "World") -> None:
        super().__init__(BUS)
        self.world = world
        connection = world.stage.log_disk.writer
        connection.at_commit = None
        self.log = MemoryLogFile(connection)
        connection.at_commit = world.commit_point(self)
        self.server = LogServer(self.log)
        self.streams: list[LogStream] = []
        world.loop.start(self.state, self.server.group_commit_loop())

    def is_quiet(self) -> bool:
        return True

    def open_stream(self, stream: "LogStream") -> None:
        self.streams.append(stream)
        self.world.loop.start(self.state, stream.pump(self.server))

    def crashed(self) -> None:
        for stream in self.streams:
            stream.break_off()


class LogStream:
    """What the log sends to one reader, in order, as a TCP connection does."""

    def __init__(self, world: "World", reader: Node, after: int) -> None:
        self._world, self._reader, self._position = world, reader, after
        self.arrived: asyncio.Queue[list[bytes] | None] = asyncio.Queue()
        self._early: dict[int, list[bytes] | None] = {}
        self._sent = self._received = 0
        self.is_closed = False

    async def pump(self, server: LogServer) -> None:
        while not self.is_closed and self._reader.state.alive:
            lines = await server.wait_for_events(self._position)
            self._position += len(lines)
            self._send(lines)

    def break_off(self) -> None:
        self._send(None)

    def _send(self, lines: list[bytes] | None) -> None:
        self._world.network.carry(
            BUS, self._reader.name, self._arrive, self._sent, lines, self._world.loop.now_s
        )
        self._sent += 1

    def _arrive(self, number: int, lines: list[bytes] | None, sent_s: float) -> None:
        self._early[number] = lines
        while self._received in self._early:
            self.arrived.put_nowait(self._early.pop(self._received))
            self._received += 1
        if lines and self._world.recorder and self._reader.state.alive and not self.is_closed:
            self._world.recorder.received_events(self._reader.name, lines, sent_s)


class WorldLogBus(LogBus):
    """The client of the log, over the world's network."""

    def __init__(self, world: "World", node: Node) -> None:
        super().__init__(f"http://{BUS}")
        self._world, self._node = world, node

    async def _publish(self, envelopes: Sequence[str]) -> list[int]:
        epoch = self._epoch

        def commit() -> Coroutine[Any, Any, list[int]]:
            process = self._process()
            if epoch not in (None, process.log.epoch):
                raise BusUnavailable("The log has been opened anew.")
            return process.server.commit([Envelope.from_json(line) for line in envelopes])

        label, write = self._world.describe(envelopes)
        return await self._request(commit, label, write)  # type: ignore[no-any-return]

    async def _get_head(self, query: Any) -> dict[str, Any]:
        def head() -> dict[str, Any]:
            process = self._process()
            server, log = process.server, process.log
            body: dict[str, Any] = {"sequence": server.newest, "epoch": log.epoch}
            if query:
                number = int(query["event"])
                body["holds"] = number < log.first or log.id_of(number) == query["id"]
            return body

        return await self._request(head, timeout_s=ACKNOWLEDGED_WITHIN_S)  # type: ignore[no-any-return]

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        stream = LogStream(self._world, self._node, after)

        def open_stream() -> str:
            process = self._process()
            try:
                process.server._check_position(after, cursor, follow=True)
            except UnknownPosition as error:
                raise LogTruncated(error.detail, error.first - 1, error.epoch) from None
            except DeletedPosition as error:
                raise OffsetExpired(error.detail) from None
            process.open_stream(stream)
            return process.log.epoch

        epoch = await self._request(open_stream, timeout_s=ACKNOWLEDGED_WITHIN_S)
        try:
            while (lines := await stream.arrived.get()) is not None:
                batch = [self._parse(line, epoch) for line in lines]
                for envelope in batch:
                    after = check_gapless(after, envelope)
                yield batch
        finally:
            stream.is_closed = True
        raise BusUnavailable("The bus ended the stream.")

    def _parse(self, line: bytes, epoch: str) -> Envelope:
        """The envelope in a line: one for all readers, which change nothing in it."""
        known = self._world.envelopes
        if (envelope := known.get((line, epoch))) is None:
            envelope = known[line, epoch] = Envelope.from_json(line).set_cursor(epoch)
        return envelope

    def _process(self) -> LogProcess:
        process = self._world.network.nodes[BUS]
        assert isinstance(process, LogProcess)
        return process

    def _request(
        self, work: Work, label: str = "", write: int = 0, timeout_s: float | None = None
    ) -> Awaitable[Any]:
        return request(self._world, self._node, BUS, work, timeout_s, label=label, write=write)


# ── The course's bus


class CourseProcess(Node):
    """The process of the course's bus: the real server, in memory."""

    def __init__(self, world: "World", delivery: str) -> None:
        super().__init__(BUS)
        self.server = CourseServer(SUBSCRIBERS, delivery)
        self.server._post = WorldPoster(world, self)  # type: ignore[assignment]

    def is_quiet(self) -> bool:
        return not self.server._deliveries

    def crashed(self) -> None: ...


class WorldPoster:
    """POSTs a course event to a node, without a timeout."""

    def __init__(self, world: "World", node: Node) -> None:
        self._world, self._node = world, node
        self._acknowledged = set[str]()

    async def __call__(self, url: str, event: CourseEvent) -> None:
        receiver = url.rpartition("/")[2]

        def take() -> Coroutine[Any, Any, None]:
            node = self._world.network.nodes[receiver]
            if isinstance(node, CourseProcess):
                return node.server.accept(event)
            return node.bus.receive(event)  # type: ignore[attr-defined, no-any-return]

        text = event.model_dump_json()
        kind: MessageKind = "publish" if receiver == BUS else "event"
        if kind == "publish" and event.type.endswith("Created") and text in self._acknowledged:
            self._world.sent_again += 1
        write = self._world.write_of(text)
        await request(self._world, self._node, receiver, take, None, kind, event.type, write)
        self._acknowledged.add(text)


def course_bus(world: "World", node: Node) -> CourseBus:
    bus = CourseBus(f"http://{BUS}")
    bus._post = WorldPoster(world, node)  # type: ignore[assignment]
    return bus
