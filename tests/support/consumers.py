"""Shared by the tests of publishing and consuming: an in-memory bus and a recording consumer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.async_bus.consumer import Consumer
from lab.async_bus.dead_letters import TABLE
from lab.async_bus.inbox import Inbox
from lab.bus.base import Batch, BusUnavailable, LogTruncated
from lab.domain import headers
from lab.domain.events import CommentCreated, CommentModerated, Envelope, Event, PostCreated
from lab.faults.filter import FaultFilter
from lab.service.http import Route
from lab.service.store import Store, Transaction
from lab.service.tracing import SpanLog
from tests.support.laboratory import PATIENCE_S, RunningBlog

SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (line TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS posts (id TEXT PRIMARY KEY);
"""


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.001)


def evidence_now(blog: RunningBlog, target: str) -> dict[str, Any]:
    """The evidence so far of the fault in a program's fault filter."""
    with_token = {headers.TOKEN: blog.stack.token}
    active = blog.ask("GET", target, "/_lab/faults", headers=with_token).json()
    evidence: dict[str, Any] = active["fault"]
    return evidence


def envelope(event: Event, sequence: int = 0) -> Envelope:
    return Envelope.around(event, source="/tests/teller").model_copy(update={"sequence": sequence})


def comment(number: int) -> Envelope:
    """Event `number`: a comment whose content is the number."""
    event = CommentCreated(id=f"c{number}", post_id="p", content=str(number))
    return envelope(event, number)


def post(number: int) -> Envelope:
    return envelope(PostCreated(id=f"p{number}", title="A post"), number)


def poison(number: int) -> Envelope:
    return Envelope.create(
        "CommentCreated", subject=f"poison-{number}", data={}, source="/tests/teller"
    ).model_copy(update={"sequence": number})


@dataclass
class MemoryBus:
    """An in-memory log, numbered from 1; refuses calls while `down`. A cursor is an event's id."""

    log: list[Envelope] = field(default_factory=list)
    down: bool = False
    routes: list[Route] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._appended = asyncio.Event()

    def publish(self, *events: Envelope) -> None:
        for event in events:
            self.log.append(event.model_copy(update={"sequence": len(self.log) + 1}))
        self._appended.set()

    async def append(self, envelopes: Sequence[str]) -> list[int]:
        if self.down:
            raise BusUnavailable("The bus is down.")
        first = len(self.log) + 1
        self.publish(*map(Envelope.from_json, envelopes))
        return list(range(first, len(self.log) + 1))

    async def contains(self, sequence: int, event_id: str) -> bool:
        if self.down:
            raise BusUnavailable("The bus is down.")
        return not sequence or event_id in [one.id for one in self.log[sequence - 1 : sequence]]

    async def read(self, after: int, cursor: str = "") -> AsyncIterator[Batch]:
        if after > len(self.log) or (cursor and not await self.contains(after, cursor)):
            raise LogTruncated(f"Event {after} is not in the log as it was heard.")
        while True:
            self._appended.clear()
            for event in self.log[after:]:
                after += 1
                yield [event.set_cursor(event.id)]
            if after == len(self.log):
                await self._appended.wait()

    async def head(self) -> int:
        return len(self.log)

    async def close(self) -> None: ...


class RecordingConsumer:
    """A store with consumers: each comment becomes a note, each post a row; verdicts raise."""

    def __init__(
        self,
        folder: Path,
        *,
        dedupe: bool = True,
        dead_letter: bool = False,
        apply_ms: float = 0.0,
    ) -> None:
        self.store = Store(folder / "consumer.db", TABLE + SCHEMA, "/tests/consumer")
        self.healthy = False
        self.inbox = Inbox(
            self.store,
            {
                CommentCreated: self._record_comment,
                PostCreated: self._insert_post,
                CommentModerated: self._fail_if_unhealthy,
            },
            SpanLog(None, "consumer"),
            dedupe=dedupe,
            dead_letter=dead_letter,
            apply_ms=apply_ms,
        )
        self.fault_filter = FaultFilter()

    def _record_comment(self, comment: CommentCreated, change: Transaction) -> None:
        change.execute("INSERT INTO notes VALUES (?)", comment.content)

    def _insert_post(self, post: PostCreated, change: Transaction) -> None:
        change.execute("INSERT INTO posts VALUES (?)", post.id)

    def _fail_if_unhealthy(self, verdict: CommentModerated, change: Transaction) -> None:
        if not self.healthy:
            raise ValueError("no verdicts, please")
        change.execute("INSERT INTO notes VALUES (?)", f"verdict {verdict.content}")

    def notes(self) -> list[str]:
        return [row["line"] for row in self.store.rows("SELECT line FROM notes ORDER BY rowid")]

    def make_consumer(self, bus: MemoryBus) -> Consumer:
        return Consumer(bus, self.inbox, self.fault_filter)
