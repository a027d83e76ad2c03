"""The rebuild of `query` from all events on the bus, compared with SQLite's own limit.

The bus holds the events of a blog with three comments per post. `query` starts with an empty
database; the clock runs from the start of its interpreter until its offset is the last event. The
limit: one SQLite connection in a process that writes the same rows, read from memory, in commits
of 1,000 events: posts, comments with their updates, the ids of the events consumed, and the
offset.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import requests

from lab.async_bus.query import SCHEMA
from lab.bus.log.storage import LogFile
from lab.domain import headers
from lab.domain.events import (
    CommentCreated,
    CommentModerated,
    CommentUpdated,
    Envelope,
    Event,
    PostCreated,
)
from lab.domain.model import new_id
from lab.service.store import Store
from tests.bench.buses import TOKEN, lab_program, until
from tests.bench.ratio import Pair, Row

EVENTS = 1_000_000
_A_COMMIT = 20_000
_LIMIT_COMMIT = 1_000
_COMMENTS_A_POST = 3
_WITHIN_S = 600.0


def fill(folder: Path, count: int) -> None:
    """Append `count` events to an empty log, without a server."""
    with closing(LogFile(folder / "event-bus.db")) as log:
        group: list[Envelope] = []
        for event, _ in zip(_story(), range(count), strict=False):
            group.append(Envelope.around(event, source="/bench", traceparent=_TRACE))
            if len(group) == _A_COMMIT:
                log.append(group)
                group = []
        if group:
            log.append(group)


def rebuilt(bus: str, count: int) -> float:
    """Events per second from the start of a new `query` until its offset is `count`."""
    with tempfile.TemporaryDirectory(dir=".") as place:
        begun = perf_counter()
        with lab_program(
            "lab.async_bus.query", "--port", "0", "--data", place, "--bus", bus
        ) as url:

            def has_heard_all() -> bool:
                with_token = {headers.TOKEN: TOKEN}
                state = requests.get(f"{url}/_lab/state", headers=with_token, timeout=30).json()
                return bool(state["offset"] == count)

            until(has_heard_all, _WITHIN_S, every_s=0.05)
            seconds = perf_counter() - begun
            oldest = requests.get(f"{url}/feed", {"limit": 20}, timeout=30).json()[-1]
    if [one["status"] for one in oldest["comments"]] != ["approved"] * _COMMENTS_A_POST:
        raise RuntimeError(f"the copy is not whole: {oldest}")
    return count / seconds


def written_by_sqlite(log: Path, count: int) -> float:
    """Events per second that SQLite alone writes as `query` stores them."""
    read = "SELECT line FROM events ORDER BY sequence LIMIT ?"
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as source:
        envelopes = [Envelope.from_json(line) for (line,) in source.execute(read, (count,))]
    rows = [_row_of(envelope) for envelope in envelopes]
    with tempfile.TemporaryDirectory(dir=".") as place:
        file = Path(place) / "limit.db"
        Store(file, SCHEMA, "/bench").close()
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = FULL")
            begun = perf_counter()
            for at in range(0, count, _LIMIT_COMMIT):
                database.execute("BEGIN IMMEDIATE")
                for event_id, sql, values in rows[at : at + _LIMIT_COMMIT]:
                    if sql:
                        database.execute("INSERT INTO heard_ids VALUES (?)", (event_id,))
                        database.execute(sql, values)
                database.execute("UPDATE heard SET offset = ?", (at + _LIMIT_COMMIT,))
                database.execute("COMMIT")
            return count / (perf_counter() - begun)


def _row_of(envelope: Envelope) -> tuple[str, str, tuple[Any, ...]]:
    event = envelope.event()
    if isinstance(event, PostCreated):
        return envelope.id, "INSERT INTO posts VALUES (?, ?)", (event.id, event.title)
    if isinstance(event, CommentCreated | CommentUpdated):
        values = (event.id, event.post_id, event.content, event.status)
        return envelope.id, "INSERT OR REPLACE INTO comments VALUES (?, ?, ?, ?)", values
    return envelope.id, "", ()


_TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def _story() -> Iterator[Event]:
    """Endless events: a post, then each of its comments created, moderated, and updated."""
    while True:
        post = PostCreated(id=new_id(), title="A post about nothing in particular")
        yield post
        for _ in range(_COMMENTS_A_POST):
            fields: Any = {"id": new_id(), "post_id": post.id, "content": "A comment of a length"}
            yield CommentCreated(**fields)
            yield CommentModerated(**fields, status="approved")
            yield CommentUpdated(**fields, status="approved")


@contextmanager
def rebuild() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(dir=".") as place:
        fill(Path(place), EVENTS)
        with lab_program("lab.bus.log.server", "--port", "0", "--data", place) as bus:
            log = Path(place) / "event-bus.db"
            yield lambda: rebuilt(bus, EVENTS), lambda: written_by_sqlite(log, EVENTS)


ROWS = [
    Row(
        name="rebuild",
        what=f"read model rebuilt from {EVENTS:,} events",
        ours="`query`, from the bus",
        other="SQLite, the same rows from memory",
        unit="events/s",
        kind="limit",
        reach=0.4,
        pairs=6,
        measure=rebuild,
    )
]
