"""A consumer that starts from far behind: what is history to it leaves rows, and no spans."""

import asyncio
import json
from pathlib import Path

import pytest

from lab.async_bus import hear
from lab.async_bus.apply import Applier
from lab.domain.events import CommentCreated
from lab.faults.door import Door
from lab.spans import SpanLog
from lab.store import Store, Transaction
from tests.support.consumers import SCHEMA, MemoryBus, comment, until


def note(comment: CommentCreated, change: Transaction) -> None:
    change.execute("INSERT INTO notes VALUES (?)", comment.content)


async def test_only_news_leave_spans_and_history_is_applied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hear, "NEWS", 2)
    bus = MemoryBus()
    bus.tell(*(comment(number) for number in range(1, 6)))
    store = Store(tmp_path / "consumer.db", SCHEMA, "/tests/consumer")
    spans = SpanLog(tmp_path / "spans.ndjson", "consumer")
    applier = Applier(store, {CommentCreated: note}, spans)
    hearing = asyncio.create_task(hear.Inbox(bus, applier, Door()).run())
    await until(lambda: applier.position == 5)
    bus.tell(comment(6))
    await until(lambda: applier.position == 6)
    hearing.cancel()
    await asyncio.wait([hearing])
    spans.close()
    lines = (tmp_path / "spans.ndjson").read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [4, 5, 6]
    assert [row["line"] for row in store.rows("SELECT line FROM notes")] == list("123456")
    store.close()
