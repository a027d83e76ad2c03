"""A service's own database: one SQLite file, one transaction for all that belongs together.

Rows, outbox and offset change in the same commit, and that is the whole secret of losing nothing:

- a service that changes a row and tells others about it commits both or neither (the *outbox*,
  microservices.io/patterns/data/transactional-outbox.html);
- a service that hears an event commits what it learnt together with how far it has heard (the
  *offset*), so that applying an event twice is impossible, whatever dies when.

There is one writing connection, guarded by a lock, and `synchronous=FULL`: when `transaction()`
has returned, the disk has said that it holds the data. Nobody opens another service's file: the
file belongs to the name that made it, and to one process at a time.
"""

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import spans
from lab.domain.events import Envelope, Event

Row = sqlite3.Row

_OWN_TABLES = """
CREATE TABLE IF NOT EXISTS owner (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    envelope TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS heard (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    offset INTEGER NOT NULL
);
INSERT OR IGNORE INTO heard VALUES (1, 0);
"""


class NotYours(Exception):
    """Somebody reached for a database that another service owns."""


class Transaction:
    """What may be changed together. Ends in one commit, or leaves nothing."""

    def __init__(self, connection: sqlite3.Connection, source: str, outbox: bool = True) -> None:
        self._connection = connection
        self._source = source
        self._outbox = outbox
        self.told = 0
        self.loose: list[str] = []

    def execute(self, sql: str, *values: Any) -> None:
        self._connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def tell(self, event: Event) -> None:
        """Put an event into the outbox; it is told if, and only if, the rows are committed."""
        envelope = Envelope.around(event, source=self._source, traceparent=spans.traceparent())
        if not self._outbox:
            self.loose.append(envelope.model_dump_json())
            return
        self.execute("INSERT INTO outbox (envelope) VALUES (?)", envelope.model_dump_json())
        self.told += 1

    def heard(self, sequence: int) -> None:
        """Note that everything up to `sequence` has been applied."""
        self.execute("UPDATE heard SET offset = ?", sequence)


class Store:
    """One service's file. `source` names the service as its events do: `/async-bus/comments`."""

    def __init__(self, path: Path, schema: str, source: str) -> None:
        self._path = path
        self._source = source
        self._lock = threading.Lock()
        self._readers = threading.local()
        self._open_connections: list[sqlite3.Connection] = []
        self._published = 0
        self._cleared = 0
        self.on_told: Callable[[], None] = lambda: None
        self.tell_loose: Callable[[Sequence[str]], None] | None = None
        """Where it is set there is no outbox: events are handed to it once the rows are committed,
        and a crash in between loses them."""
        path.touch(mode=0o600)
        self._claim = path.open("rb")
        try:
            self._claim_for_this_process()
            self._writer = self._connect()
            self._writer.executescript(_OWN_TABLES + schema)
            self._claim_for(source)
        except BaseException:
            self.close()
            raise

    def _claim_for_this_process(self) -> None:
        # flock, not fcntl's record locks: SQLite uses those on the same file, and closing any
        # descriptor of it would drop them all. This one ends with the process, however it ends.
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotYours(
                f"{self._path.name} is open in another process: a database has one service, "
                "and a service runs once. Ask that service for what you need."
            ) from None

    def _claim_for(self, source: str) -> None:
        row = self._writer.execute("SELECT name FROM owner").fetchone()
        if row is None:
            self._writer.execute("INSERT INTO owner VALUES (?)", (source,))
        elif row["name"] != source:
            raise NotYours(
                f"{self._path.name} belongs to {row['name']}, not to {source}: no service touches "
                "another's database. Ask its owner, or keep a copy of your own."
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "PRAGMA fullfsync = ON"
        )  # macOS: a plain fsync stops at the disk's cache
        self._open_connections.append(connection)
        return connection

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change rows, tell events and move the offset in one commit, on disk on return."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                change = Transaction(self._writer, self._source, self.tell_loose is None)
                yield change
                published = self._published
                if published > self._cleared:
                    change.execute("DELETE FROM outbox WHERE number <= ?", published)
                self._writer.execute("COMMIT")
                self._cleared = max(self._cleared, published)
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        if change.told:
            self.on_told()
        if change.loose and self.tell_loose:
            self.tell_loose(change.loose)

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Read, without waiting for any writer."""
        reader = getattr(self._readers, "connection", None)
        if reader is None:
            reader = self._readers.connection = self._connect()
            reader.execute("PRAGMA query_only = ON")
        found: list[Row] = reader.execute(sql, values).fetchall()
        return found

    def offset(self) -> int:
        """The sequence number of the last event applied; 0 when none was."""
        return int(self.rows("SELECT offset FROM heard")[0]["offset"])

    def untold(self, after: int, most: int) -> list[tuple[int, str]]:
        """Events waiting in the outbox behind number `after`: (number, envelope as JSON)."""
        rows = self.rows(
            "SELECT number, envelope FROM outbox WHERE number > ? ORDER BY number LIMIT ?",
            after,
            most,
        )
        return [(row["number"], row["envelope"]) for row in rows]

    def count_untold(self, after: int) -> int:
        """How many events wait in the outbox behind number `after`."""
        return int(self.rows("SELECT count(*) AS n FROM outbox WHERE number > ?", after)[0]["n"])

    def published(self, number: int) -> None:
        """The bus holds everything up to `number`: the next commit, whoever's, clears it away.

        A commit of its own would cost a disk write for an event. A crash before the next commit
        publishes once more what the bus already has, and the bus knows it by its id.
        """
        self._published = max(self._published, number)

    def close(self) -> None:
        for connection in reversed(self._open_connections):  # the writer last: it checkpoints
            connection.close()
        self._claim.close()
