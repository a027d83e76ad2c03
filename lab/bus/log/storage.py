"""The log on disk: an append-only SQLite table with a gapless sequence.

Each opening of the file begins a new *epoch*, a unique name that is stored in the file (the idea is
Kafka's leader epoch, KIP-101). Once a file has been copied, the two copies have no later epoch in
common. Suppose a consumer read event 17 in some epoch. If this file knows the epoch, and the epoch
reached 17 in this file, then the consumer has read what the file contains. Otherwise it has read a
tail that is lost.
"""

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import to_json

from lab.domain.events import Envelope
from lab.domain.model import new_id

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    sequence INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    line     BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS epochs (
    number INTEGER PRIMARY KEY,
    epoch  TEXT NOT NULL,
    after  INTEGER NOT NULL
);
"""


class LogFile:
    """One file, one writer. A line is an envelope as JSON with its sequence, without newline."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._writer = self._connect(path)
        self._writer.executescript(_SCHEMA)
        self._reader = self._connect(path)
        ends = "SELECT coalesce(min(sequence), 1), coalesce(max(sequence), 0) FROM events"
        first, head = self._reader.execute(ends).fetchone()
        self.first, self.head = int(first), int(head)
        self.epoch = new_id()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        insert = "INSERT INTO epochs (epoch, after) VALUES (?, ?)"
        self._writer.execute(insert, (self.epoch, self.head))
        epochs = self._reader.execute("SELECT epoch, after FROM epochs ORDER BY number").fetchall()
        # An epoch ends where the next one begins.
        self._epoch_ends: dict[str, int] = {
            epoch: after for (epoch, _), (_, after) in itertools.pairwise(epochs)
        }

    def end_of_epoch(self, epoch: str) -> int:
        """The last sequence number of an earlier epoch; -1 for an unknown epoch."""
        return self._epoch_ends.get(epoch, -1)

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        return connection

    def append(self, envelopes: Sequence[Envelope]) -> tuple[list[int], list[bytes]]:
        """Append events in one commit, which is on disk on return.

        Returns the sequence number of each event (the old one for an id that exists already), and
        the lines that are new.
        """
        first = self.head + 1
        lines = [
            to_json(envelope.model_copy(update={"sequence": sequence}))
            for sequence, envelope in enumerate(envelopes, first)
        ]
        ids = [envelope.id for envelope in envelopes]
        rows = zip(range(first, first + len(ids)), ids, lines, strict=True)
        try:
            with self._transaction():
                self._writer.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
        except sqlite3.IntegrityError:
            return self._append_new_only(envelopes)
        self.head += len(ids)
        return list(range(first, first + len(ids))), lines

    def _append_new_only(self, envelopes: Sequence[Envelope]) -> tuple[list[int], list[bytes]]:
        """The slow path, one event at a time, for a group with an id that exists already."""
        sequences: list[int] = []
        lines: list[bytes] = []
        with self._transaction():
            for envelope in envelopes:
                head = self.head + len(lines)
                line = to_json(envelope.model_copy(update={"sequence": head + 1}))
                added = self._writer.execute(
                    "INSERT OR IGNORE INTO events VALUES (?, ?, ?)", (head + 1, envelope.id, line)
                )
                if added.rowcount:
                    sequences.append(head + 1)
                    lines.append(line)
                else:
                    known = "SELECT sequence FROM events WHERE id = ?"
                    sequences.append(self._writer.execute(known, (envelope.id,)).fetchone()[0])
        self.head += len(lines)
        return sequences, lines

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def read_lines(self, after: int, limit: int) -> list[bytes]:
        """The lines after sequence number `after`, at most `limit`."""
        rows = self._reader.execute(
            "SELECT line FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        )
        return [row[0] for row in rows]

    def id_of(self, sequence: int) -> str | None:
        """The id of an event; None when the log does not contain it."""
        row = self._reader.execute("SELECT id FROM events WHERE sequence = ?", (sequence,))
        found = row.fetchone()
        return str(found[0]) if found else None

    def delete_before(self, first: int) -> None:
        """Delete the events before number `first`, and their ids; the other numbers stay."""
        with self._transaction():
            self._writer.execute("DELETE FROM events WHERE sequence < ?", (first,))
        self.first = first

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
