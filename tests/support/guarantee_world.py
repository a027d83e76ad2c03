"""The blog on the bus in one thread: real services, relays, inboxes and log, stepped by a test.

Each database is in memory and survives the crash of its service. Nothing sleeps and nothing runs in
the background, so a list of steps always has the same result.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lab.async_bus import comments, moderation, posts, query
from lab.async_bus.consumer import Alerts, Consumer
from lab.async_bus.dead_letters import read_dead_letters, redrive
from lab.async_bus.inbox import ATTEMPTS, DeliveryFailed, Inbox
from lab.async_bus.outbox import OutboxRelay
from lab.async_bus.stack import BusService
from lab.bus.base import Batch, BusUnavailable, LogTruncated, OffsetExpired
from lab.bus.log.server import LogServer
from lab.bus.log.wire import DeletedPosition, UnknownPosition
from lab.domain.errors import NotFound
from lab.domain.events import Envelope
from lab.domain.model import CommentDraft, PostDraft
from lab.faults.filter import FaultFilter
from lab.service.http import Route
from lab.service.store import Transaction
from lab.service.tracing import SpanLog
from lab.simulation.histories.disk import Disk, MemoryLogFile, MemoryStore
from lab.simulation.histories.loop import Crash

SERVICES: dict[str, BusService] = {
    one.name: one for one in (posts.service, comments.service, moderation.service, query.service)
}
PUBLISHERS = ("posts", "comments", "moderation")
CONSUMERS = ("comments", "moderation", "query")

_HISTORY = """
CREATE TABLE IF NOT EXISTS ever_told (number INTEGER PRIMARY KEY, id TEXT);
CREATE TRIGGER IF NOT EXISTS tell AFTER INSERT ON outbox BEGIN
    INSERT INTO ever_told VALUES (new.number, json_extract(new.envelope, '$.id'));
END;
CREATE TABLE IF NOT EXISTS ever_consumed (number INTEGER PRIMARY KEY, id TEXT);
CREATE TRIGGER IF NOT EXISTS consume AFTER INSERT ON heard_ids BEGIN
    INSERT INTO ever_consumed (id) VALUES (new.id);
END;
CREATE TABLE IF NOT EXISTS ever_dead (id TEXT);
CREATE TRIGGER IF NOT EXISTS lay_aside AFTER INSERT ON dead_letters BEGIN
    INSERT INTO ever_dead VALUES (new.id);
END;
"""
"""All that a service ever told, consumed and stored as a dead letter, in order."""


class Interruption:
    """Kills the process, or fails as a full disk does, at the n-th commit from now."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._countdown = 0

    def plan(self, error: BaseException, countdown: int) -> None:
        self._error, self._countdown = error, countdown

    def cancel(self) -> None:
        self._error = None

    def pass_point(self, point: str) -> None:
        """Called before and after each commit."""
        if self._error is None:
            return
        if self._countdown == 0:
            error, self._error = self._error, None
            raise error
        self._countdown -= 1


class SteppedBus:
    """One service's connection to the log: answers as the log's process and its client do."""

    routes: Sequence[Route] = ()

    def __init__(self, world: "GuaranteeWorld") -> None:
        self._world = world
        self._epoch: str | None = None
        self.down = False
        self.acknowledges = True
        self.batch_size = 1

    @property
    def _log(self) -> MemoryLogFile:
        if self.down:
            raise BusUnavailable("The bus is down.")
        return self._world.log

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        if self._epoch not in (None, self._log.epoch):
            raise BusUnavailable("The log has been opened anew.")
        sequences, _ = self._log.append([Envelope.from_json(line) for line in envelopes])
        if not self.acknowledges:
            raise BusUnavailable("The acknowledgement was lost.")
        return sequences

    async def contains(self, sequence: int, event_id: str) -> bool:
        self._epoch = self._log.epoch
        return self._world.holds(sequence, event_id)

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        log = self._log
        try:
            LogServer(log)._check_position(after, cursor, follow=True)
        except UnknownPosition as error:
            raise LogTruncated(error.detail, error.first - 1, error.epoch) from None
        except DeletedPosition as error:
            raise OffsetExpired(error.detail) from None
        while lines := log.read_lines(after, self.batch_size):
            after += len(lines)
            yield [Envelope.from_json(line).set_cursor(log.epoch) for line in lines]
        raise BusUnavailable("No more for now.")

    async def head(self) -> int:
        return self._log.head

    async def close(self) -> None: ...


class CheckedAlerts(Alerts):
    """Alerts of a relay; each must be true when it is raised."""

    def __init__(self, world: "GuaranteeWorld", name: str) -> None:
        super().__init__()
        self._world = world
        self._name = name

    def add(self, message: str) -> None:
        self._world.alerts.append((self._name, message))
        if message.startswith("The log does not contain"):
            self._world.check_relay_alert(self._name, message)


@dataclass
class Running:
    """One service's process."""

    store: MemoryStore
    bus: SteppedBus
    relay: OutboxRelay
    inbox: Inbox
    consumer: Consumer


@dataclass
class GuaranteeWorld:
    dead_letter: bool = True
    apply_ms: float = 0.0
    alerts: list[tuple[str, str]] = field(default_factory=list)
    machine_errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interruption = Interruption()
        self.poisoned: set[tuple[str, str]] = set()
        self.poisonings = 0
        self.copies: list[bytes | None] = [None]
        self.log = MemoryLogFile()
        self._disks = {name: Disk(name) for name in SERVICES}
        self.running: dict[str, Running] = {}
        self._written = 0
        for name in SERVICES:
            self.start(name)

    # ── Processes

    def start(self, name: str) -> None:
        service = SERVICES[name]
        schema = service.schema + _HISTORY
        store = MemoryStore(self._disks[name], schema, service.source, self.interruption.pass_point)
        service.use_store(store)
        bus = SteppedBus(self)
        alerts = CheckedAlerts(self, name)
        inbox = Inbox(
            store,
            {
                kind: self._listener(name, kind.type, listener)
                for kind, listener in _listeners(name)
            },
            SpanLog(None, name),
            dead_letter=self.dead_letter,
            apply_ms=self.apply_ms,
        )
        consumer = Consumer(bus, inbox, FaultFilter(), alerts=alerts)  # type: ignore[arg-type]

        async def work_here(work: Callable[[], Any]) -> Any:
            return work()

        consumer.between_batches = work_here  # type: ignore[method-assign]
        relay = OutboxRelay(store, bus, alerts)  # type: ignore[arg-type]
        self.running[name] = Running(store, bus, relay, inbox, consumer)
        assert not store.offset() or store.cursor(), "an offset without its cursor"

    def kill(self, name: str) -> None:
        self.interruption.cancel()
        self._disks[name].roll_back()
        self.start(name)

    def _listener(self, name: str, kind: str, listener: Callable[..., None]) -> Callable[..., None]:
        def apply(event: Any, change: Transaction) -> None:
            if (name, kind) in self.poisoned:
                raise ValueError("the listener has a bug")
            if self.machine_errors:
                raise sqlite3.OperationalError(self.machine_errors.pop())
            listener(event, change)

        return apply

    def close(self) -> None:
        for running in self.running.values():
            running.store.close()
        for disk in self._disks.values():
            disk.close()
        for service in SERVICES.values():
            service._store = None

    # ── Steps

    @contextmanager
    def _killable(self, name: str) -> Iterator[None]:
        try:
            yield
        except Crash:
            self.kill(name)
        finally:
            self.interruption.cancel()
            self.machine_errors.clear()

    def write_post(self) -> None:
        self._written += 1
        posts.create_post(PostDraft(title=f"post {self._written}"))

    def write_comment(self, number: int, forbidden: bool) -> None:
        """A comment on one of the posts; refused where `comments` does not know it yet."""
        if not (known := posts.list_posts(limit=100)):
            return
        self._written += 1
        content = f"{'orange' if forbidden else 'apple'} {self._written}"
        with suppress(NotFound):
            comments.create_comment(known[number % len(known)].id, CommentDraft(content=content))

    async def publish(self, name: str, *, down: bool = False, acknowledges: bool = True) -> None:
        """Check the log and publish what waits."""
        running = self.running[name]
        running.bus.down, running.bus.acknowledges = down, acknowledges
        running.relay.log_checked = False
        with suppress(BusUnavailable):
            while await running.relay.step():
                pass
        running.bus.down, running.bus.acknowledges = False, True

    async def consume(self, name: str, batch_size: int = 500, attempts: int = 1) -> None:
        """Read to the end of the log, or until an event fails `attempts` times."""
        running = self.running[name]
        running.bus.batch_size = batch_size
        with self._killable(name):
            for _ in range(attempts):
                with suppress(BusUnavailable, DeliveryFailed):
                    await running.consumer.step()

    def redrive(self, name: str) -> None:
        running = self.running[name]
        with self._killable(name), suppress(sqlite3.OperationalError):
            redrive(running.store, running.inbox.redrive)

    def commit(self, name: str) -> None:
        """A commit of the service that has nothing to do with the bus."""
        with self.running[name].store.transaction():
            pass

    def copy_log(self) -> None:
        self.copies.append(self.log.content())

    def restart_bus(self) -> None:
        self._open_log(self.log.content())

    def restore_log(self, number: int) -> None:
        """Put an old copy in the log's place; copy 0 is the empty log."""
        self._open_log(self.copies[number % len(self.copies)])

    def _open_log(self, content: bytes | None) -> None:
        self.log.connection.close()
        self.log = MemoryLogFile(content=content)

    def expire(self, keep: int) -> None:
        if self.log.head - keep + 1 > self.log.first:
            self.log.delete_before(self.log.head - keep + 1)

    def poison(self, name: str, kind: str) -> None:
        self.poisoned.add((name, kind))
        self.poisonings += 1

    async def flow(self) -> None:
        """All is well for a while: each service publishes and consumes."""
        for name in PUBLISHERS:
            await self.publish(name)
        for name in CONSUMERS:
            await self.consume(name)

    async def begin(self) -> None:
        """Let there be two posts and a comment that everybody knows, and a copy of the log."""
        self.write_post()
        self.write_post()
        await self.flow()
        self.write_comment(0, forbidden=False)
        self.copy_log()
        for _ in range(3):  # created, moderated, updated
            await self.flow()

    async def settle(self) -> None:
        """Mend everything, and go on until nothing changes; then redrive, and once more."""
        self.poisoned.clear()
        for redriving in (False, True):
            before = None
            while before != (before := self._progress()):
                await self.flow()
                await self.flow()  # a log that is read again needs a second reading
                if redriving:
                    for name in CONSUMERS:
                        self.redrive(name)

    def _progress(self) -> list[Any]:
        services = [
            (
                one.inbox.position,
                one.inbox.cursor,
                one.store.count_outbox(0),
                one.relay.published_up_to,
            )
            for one in self.running.values()
        ]
        return [self.log.head, *services]

    # ── What came of it

    def holds(self, sequence: int, event_id: str) -> bool:
        """As the log's process answers `GET /head?event=N&id=ID`."""
        return sequence < self.log.first or self.log.id_of(sequence) == event_id

    def rows(self, name: str, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.running[name].store.rows(sql)]

    def told(self, name: str) -> list[str]:
        """The ids of all events that a service ever published, in its order."""
        return [row[0] for row in self.rows(name, "SELECT id FROM ever_told ORDER BY number")]

    def consumed(self, name: str) -> list[str]:
        """The ids of all events that a service ever took from the bus, in that order."""
        return [row[0] for row in self.rows(name, "SELECT id FROM ever_consumed ORDER BY number")]

    def log_ids(self) -> list[tuple[str]]:
        return self.log._reader.execute(
            "SELECT id FROM events WHERE line != x'' ORDER BY sequence"
        ).fetchall()

    @property
    def ever_dead(self) -> int:
        """How many dead letters there ever were, in all services."""
        count = "SELECT count(*) FROM ever_dead"
        return sum(self.rows(name, count)[0][0] for name in CONSUMERS)

    def dead_letters(self) -> dict[str, list[Any]]:
        return {name: read_dead_letters(one.store) for name, one in self.running.items()}

    def alerts_with(self, *texts: str) -> list[str]:
        return [message for _, message in self.alerts if any(text in message for text in texts)]

    def check_relay_alert(self, name: str, message: str) -> None:
        """Whether the figures of the alert are true at this moment."""
        told = self.told(name)
        words = message.split()
        waiting = int(words[words.index("events") - 1])
        outbox = self.running[name].store.count_outbox(0)
        assert waiting in (outbox, outbox - 1), message
        in_log = {event_id for (event_id,) in self.log_ids()}
        if "for good" in message:
            assert f"The {len(told) - waiting} events before them" in message, message
        elif self.log.first == 1 and not self.alerts_with("for good"):
            assert set(told[: len(told) - waiting]) <= in_log, message


def _listeners(name: str) -> list[tuple[Any, Callable[..., None]]]:
    return list(SERVICES[name].listeners.items())


Step = tuple[Any, ...]


async def take_step(world: GuaranteeWorld, step: Step) -> None:
    """Take one step of a history: `(name of the step, service, details...)`."""
    kind, name, *details = step
    match kind:
        case "nothing":
            pass
        case "post":
            world.write_post()
        case "comment":
            world.write_comment(*details)
        case "publish":
            await world.publish(name, **details[0])
        case "consume":
            batch_size, attempts, error, countdown = details
            if error == "crash":
                world.interruption.plan(Crash(), countdown)
            elif error == "full":
                full = sqlite3.OperationalError("database or disk is full")
                world.interruption.plan(full, countdown)
            elif error == "locked":
                world.machine_errors[:] = ["database is locked"] * attempts
            await world.consume(name, batch_size, attempts)
        case "redrive":
            error, countdown = details
            if error == "crash":
                world.interruption.plan(Crash(), countdown)
            world.redrive(name)
        case "flow":
            await world.flow()
        case "commit":
            world.commit(name)
        case "kill":
            world.kill(name)
        case "copy":
            world.copy_log()
        case "restart":
            world.restart_bus()
        case "restore":
            world.restore_log(*details)
        case "expire":
            world.expire(*details)
        case "poison":
            world.poison(name, *details)
        case "poison one":
            world.poison(name, *details)
            await world.consume(name, attempts=ATTEMPTS)
            world.poisoned.clear()
        case "mend":
            world.poisoned.clear()
        case _:
            raise ValueError(f"no such step: {kind}")
