"""A service's own database: one SQLite file, one transaction for all related changes.

Rows, outbox and offset change in the same commit. That is why no event is lost:

- a service that changes a row and publishes an event commits both or neither (the *outbox*,
  microservices.io/patterns/data/transactional-outbox.html);
- a consumer commits what it learnt together with its *offset* and the event's id (the *inbox*,
  microservices.io/patterns/communication-style/idempotent-consumer.html). So no event is applied
  twice, even after a crash, or when it comes again under another number.

Published events stay in the outbox for a while: if the log loses them, they can be published again.
The ids of consumed events stay for good, because a consumer cannot know when an event will be
published again.

One connection writes. A lock guards it, and it uses `synchronous=FULL`: when `transaction()` has
returned, the data are on disk. A file belongs to the service that created it, and only one process
at a time can open it.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lab.domain.events import Envelope, Event
from lab.service import tracing
from lab.support.files import is_in_place, sync_file, sync_folder

Row = sqlite3.Row

_OWN_TABLES = """
CREATE TABLE IF NOT EXISTS owner (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    envelope TEXT NOT NULL,
    sequence INTEGER
);
CREATE TABLE IF NOT EXISTS heard (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    offset INTEGER NOT NULL,
    mark   TEXT NOT NULL
);
INSERT OR IGNORE INTO heard VALUES (1, 0, '');
CREATE TABLE IF NOT EXISTS heard_ids (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
CACHE_KIB = 512
PUBLISHED_RETENTION = 10_000
"""How many published events stay in the outbox. A service cannot restore a log that has lost more
of its events than that."""


class ForeignDatabase(Exception):
    """The database belongs to another service, or another process has it open."""


def is_machine_error(error: BaseException | None) -> bool:
    """Whether the machine caused an error: a full disk, a locked file, no memory.

    Such an error says nothing about the data, and the same work may succeed later. A statement
    that SQLite rejects, or a broken constraint, is an error of the program or of the data.
    """
    if isinstance(error, sqlite3.DatabaseError):
        # SQLite's message "database or disk is full" comes as an OperationalError, and so does
        # "no such table". The code tells them apart; a damaged file is a plain DatabaseError.
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            return isinstance(error, sqlite3.InternalError)
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
        return code & _PRIMARY_CODE not in _PROGRAM_ERRORS
    return isinstance(error, (OSError, MemoryError))


_PRIMARY_CODE = 0xFF
_PROGRAM_ERRORS = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH)


@dataclass(frozen=True)
class PublishedEvent:
    """An event in the outbox that the bus has acknowledged; `sequence` is its number on the bus."""

    number: int
    sequence: int
    id: str


class Transaction:
    """Changes that are committed together, or not at all.

    `late`: the event that causes them comes after events that were published after it.
    """

    late = False

    def __init__(
        self, connection: sqlite3.Connection, source: str, use_outbox: bool = True
    ) -> None:
        self._connection = connection
        self._source = source
        self._use_outbox = use_outbox
        self.event_count = 0
        self.unsaved: list[str] = []

    def execute(self, sql: str, *values: Any) -> None:
        self._connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def tell(self, event: Event) -> None:
        """Put an event into the outbox; it is published if, and only if, the rows are committed.

        Without an outbox, the event is collected and published after the commit.
        """
        envelope = Envelope.around(event, source=self._source, **tracing.trace_headers())
        if not self._use_outbox:
            self.unsaved.append(envelope.model_dump_json())
            return
        self.execute("INSERT INTO outbox (envelope) VALUES (?)", envelope.model_dump_json())
        self.event_count += 1

    def set_offset(self, sequence: int, cursor: str = "") -> None:
        """Set the offset to `sequence`, and store the bus's cursor for that position."""
        self.execute("UPDATE heard SET offset = ?, mark = ?", sequence, cursor)

    def insert_unseen(self, ids: Sequence[str]) -> set[str]:
        """Record the ids of consumed events; returns those that were not recorded before."""
        insert = "INSERT OR IGNORE INTO heard_ids VALUES (?)"
        self.execute("SAVEPOINT ids")
        if self._connection.executemany(insert, ((event_id,) for event_id in ids)).rowcount == len(
            ids
        ):
            return set(ids)
        self.execute("ROLLBACK TO ids")
        return {
            event_id for event_id in ids if self._connection.execute(insert, (event_id,)).rowcount
        }


class Store:
    """One service's file. `source` is the service's name in its events: `/async-bus/comments`.

    Raises ForeignDatabase when the file belongs to another service or another process has it open.
    """

    def __init__(self, path: Path, schema: str, source: str) -> None:
        self._path = path
        self._name = path.resolve().name  # the file's own name, not that of a link to it
        self.source = source
        self._lock = threading.Lock()
        self._readers = threading.local()
        self._open_connections: list[tuple[sqlite3.Connection, threading.Lock]] = []
        self._acknowledged: list[tuple[int, int]] = []
        self.on_outbox_append: Callable[[], None] = lambda: None
        self.publish_directly: Callable[[Sequence[str]], None] | None = None
        """If it is set, there is no outbox: it gets the events after the commit, and a crash in
        between loses them."""
        self._lock_file = self._open_file(path)
        try:
            self._lock_for_this_process()
            self._writer = self._connect(self._lock)
            # Two commits, not one for each table: nine services start at once on one disk.
            self._writer.executescript(f"BEGIN IMMEDIATE; {_OWN_TABLES}")
            self._check_owner(source)  # before `schema` adds tables to another's file
            self._writer.execute("COMMIT")
            self._writer.executescript(f"BEGIN IMMEDIATE; {schema}; COMMIT")
            self._sync_what_is_written()
        except BaseException:
            self.close()
            raise

    def _open_file(self, path: Path) -> BinaryIO:
        path.touch(mode=0o600)
        return path.open("rb")

    def _check_file(self) -> None:
        # What is written to a file without a name is gone at the next start.
        if not is_in_place(self._path, self._lock_file):
            raise sqlite3.OperationalError(
                f"{self._name} was removed or replaced while it was open"
            )

    def _lock_for_this_process(self) -> None:
        # flock, not fcntl's record locks: SQLite uses those on the same file, and closing any
        # descriptor of it would drop them all. The kernel releases this lock with the process.
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ForeignDatabase(
                f"{self._name} is open in another process: a database has one service, "
                "and a service runs once. Ask that service for what you need."
            ) from None

    def _sync_what_is_written(self) -> None:
        # A process killed between the write and the sync of a commit leaves a commit that everyone
        # sees and that the next power cut removes. Its event must not be published before.
        database = self._path.resolve()
        log = database.with_name(f"{database.name}-wal")
        if log.exists():
            sync_file(log)
            sync_folder(log.parent)

    def _check_owner(self, source: str) -> None:
        row = self._writer.execute("SELECT name FROM owner").fetchone()
        if row is None:
            self._writer.execute("INSERT INTO owner VALUES (?)", (source,))
        elif row["name"] != source:
            raise ForeignDatabase(
                f"{self._name} belongs to {row['name']}, not to {source}: no service touches "
                "another's database. Ask its owner, or keep a copy of your own."
            )

    def _connect(self, lock: threading.Lock) -> sqlite3.Connection:
        connection = self._open_connection()
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # A connection for each worker: with SQLite's usual 2 MB each, a service grows for an hour.
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # macOS: a plain fsync stops at the disk's cache.
        connection.execute("PRAGMA fullfsync = ON")
        self._open_connections.append((connection, lock))
        return connection

    def _open_connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change rows, outbox and offset in one commit, which is on disk on return."""
        self._check_file()
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                change = Transaction(self._writer, self.source, self.publish_directly is None)
                acknowledged_count = len(self._acknowledged)
                self._record_published(self._acknowledged[:acknowledged_count])
                yield change
                self._writer.execute("COMMIT")
                del self._acknowledged[:acknowledged_count]
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        if change.event_count:
            self.on_outbox_append()
        if change.unsaved and self.publish_directly:
            self.publish_directly(change.unsaved)

    def _record_published(self, published: Sequence[tuple[int, int]]) -> None:
        if published:
            update = "UPDATE outbox SET sequence = ? WHERE number = ?"
            self._writer.executemany(update, ((sequence, number) for number, sequence in published))
            delete = "DELETE FROM outbox WHERE number <= ?"
            self._writer.execute(delete, (published[-1][0] - PUBLISHED_RETENTION,))

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Query on a read-only connection of this thread, without waiting for a writer."""
        reader = getattr(self._readers, "connection", None)
        if reader is None:
            self._check_file()  # SQLite would create an empty one
            self._readers.lock = threading.Lock()
            reader = self._readers.connection = self._connect(self._readers.lock)
            reader.execute("PRAGMA query_only = ON")
        with self._readers.lock:
            result: list[Row] = reader.execute(sql, values).fetchall()
        return result

    def newest_ids(self) -> list[str]:
        """The greatest id in each table that has ids."""
        tables = self.rows(
            "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c "
            "WHERE m.type = 'table' AND c.name = 'id' AND c.type = 'TEXT'"
        )
        ids = (self.rows(f'SELECT max(id) AS id FROM "{row["name"]}"')[0]["id"] for row in tables)
        return [str(newest) for newest in ids if newest is not None]

    def offset(self) -> int:
        """The sequence number of the last event consumed; 0 when there is none."""
        return int(self.rows("SELECT offset FROM heard")[0]["offset"])

    def cursor(self) -> str:
        """The bus's cursor for the position after the last event consumed; "" when it gave none."""
        return str(self.rows("SELECT mark FROM heard")[0]["mark"])

    def read_outbox(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Up to `limit` events in the outbox after number `after`, published or not.

        Returns pairs of number and envelope (JSON).
        """
        rows = self.rows(
            "SELECT number, envelope FROM outbox WHERE number > ? ORDER BY number LIMIT ?",
            after,
            limit,
        )
        return [(row["number"], row["envelope"]) for row in rows]

    def count_outbox(self, after: int) -> int:
        """How many events are in the outbox after number `after`."""
        return int(self.rows("SELECT count(*) AS n FROM outbox WHERE number > ?", after)[0]["n"])

    def newest_in_outbox(self) -> int:
        """The number of the newest event in the outbox; 0 for an empty one."""
        return int(self.rows("SELECT coalesce(max(number), 0) AS n FROM outbox")[0]["n"])

    def first_published(self) -> PublishedEvent | None:
        """The first event in the outbox, if the bus has acknowledged it, recorded or not yet."""
        with self._lock:  # no commit may move it from `_acknowledged` to the table meanwhile
            for row in self.rows("SELECT * FROM outbox ORDER BY number LIMIT 1"):
                sequence = row["sequence"] or dict(self._acknowledged).get(row["number"])
                return _published(row, sequence) if sequence else None
        return None

    def last_published(self) -> PublishedEvent | None:
        """The last event in the outbox that is recorded as published."""
        select = "SELECT * FROM outbox WHERE sequence IS NOT NULL ORDER BY number DESC LIMIT 1"
        for row in self.rows(select):
            return _published(row, row["sequence"])
        return None

    def mark_unpublished(self, after: int) -> None:
        """Mark the events in the outbox after number `after` as unpublished."""
        with self._lock:
            self._acknowledged[:] = [pair for pair in self._acknowledged if pair[0] <= after]
        with self.transaction() as change:
            change.execute("UPDATE outbox SET sequence = NULL WHERE number > ?", after)

    def mark_published(self, numbers: Sequence[int], sequences: Sequence[int]) -> None:
        """Mark these events of the outbox as published; the next commit of the service records it.

        A separate commit would cost a disk write for each event. After a crash before the next
        commit, the events are published again, and the bus recognizes them by their ids.
        """
        self._acknowledged.extend(list(zip(numbers, sequences, strict=True)))

    def close(self) -> None:
        """Close all connections, each once its thread has ended its statement or transaction."""
        for connection, lock in reversed(self._open_connections):  # the writer last: it checkpoints
            with lock:  # sqlite3 crashes when a connection in use is closed
                connection.close()
        self._lock_file.close()


def _published(row: Row, sequence: int) -> PublishedEvent:
    return PublishedEvent(row["number"], sequence, Envelope.from_json(row["envelope"]).id)
