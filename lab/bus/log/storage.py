"""The log on disk: an append-only SQLite table with a gapless sequence.

Each opening of the file begins a new *epoch*, a unique name that is stored in the file (the idea is
Kafka's leader epoch, KIP-101). Once a file has been copied, the two copies have no later epoch in
common. Suppose a consumer read event 17 in some epoch. If this file knows the epoch, and the epoch
reached 17 in this file, then the consumer has read what the file contains. Otherwise it has read a
tail that is lost.
"""

import fcntl
import itertools
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lab.domain.events import Envelope
from lab.domain.model import new_id
from lab.support.files import create_private_folder, is_in_place

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


MAX_LINES_BYTES = 1024 * 1024
KEPT_IDS = 100_000
"""Retention keeps the ids of this many deleted events. A publisher that has crashed repeats the
10,000 newest that it published: stored again, they would come behind their successors."""


class LogUnusable(Exception):
    """The log's file can't be opened; the message says why, and what to try."""


def explain_disk_error(error: sqlite3.DatabaseError, path: Path) -> str:
    """A sentence about an error of the machine: what it means for the log, and what to try."""
    if is_damage(error):
        return (
            f"{path} is damaged ({error}). Stop the bus, then put back a copy of the file, or "
            "remove it: with an empty log each service publishes again what it still keeps."
        )
    return (
        f"{path} can't be read or written ({error}). Free space on that disk, repair it, or put "
        "the file back."
    )


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the content of the file is wrong, not the disk below it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_log(path: Path) -> "LogFile":
    """Open the log of a program; exit with status 3 and a sentence when that is impossible."""
    try:
        return LogFile(path)
    except LogUnusable as error:
        sys.stderr.write(f"{error} Or choose another folder with --data.\n")
        sys.exit(3)


class LogFile:
    """One file, one writer. A line is an envelope as JSON with its sequence, without newline.

    The file is locked before anything is written: a second bus on the same folder is refused and
    changes nothing. `damage`: a sentence when the content of the file is wrong; then nothing is
    written, and reading may fail. Raises LogUnusable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        self.epoch = new_id()
        self._epoch_ends: dict[str, int] = {}
        self._lock_file = self._lock(path)
        self._connections: list[sqlite3.Connection] = []
        try:
            self._writer = self._connect(path)
            self._connections.append(self._writer)
            self._reader = self._connect(path)
            self._connections.append(self._reader)
            self._open()
        except sqlite3.DatabaseError as error:
            self.close()
            raise LogUnusable(explain_disk_error(error, path)) from None

    def _open(self) -> None:
        self._find_damage()
        if self.damage is None:
            self._writer.executescript(_SCHEMA)
        (head,) = self._reader.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
        kept = "SELECT sequence FROM events WHERE line != x'' ORDER BY sequence LIMIT 1"
        (first,) = self._reader.execute(kept).fetchone() or (head + 1,)
        self.first, self.head = int(first), int(head)
        if self.damage is None:
            self._begin_epoch()

    def _lock(self, path: Path) -> BinaryIO:
        try:
            create_private_folder(path.parent)
            # Not `touch`, which changes the time of a file that exists.
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb")
        except OSError as error:
            raise LogUnusable(
                f"{path} can't be written ({error.strerror}). Is the disk full, or read-only?"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise LogUnusable(
                f"{path} is open in another process: a log has one bus. Stop that bus."
            ) from None
        return file

    def _check_file(self) -> None:
        # What is written to a file without a name is gone at the next start.
        if not is_in_place(self.path, self._lock_file):
            error = sqlite3.OperationalError("it was removed or replaced while it was open")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # no damage: it may be put back
            raise error

    def _find_damage(self) -> None:
        # It reads the whole file: 50 ms for 100,000 small events.
        (found,) = self._reader.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            error = sqlite3.DatabaseError(found.replace("\n", " "))
            self.damage = explain_disk_error(error, self.path)

    def _begin_epoch(self) -> None:
        insert = "INSERT INTO epochs (epoch, after) VALUES (?, ?)"
        self._writer.execute(insert, (self.epoch, self.head))
        epochs = self._reader.execute("SELECT epoch, after FROM epochs ORDER BY number").fetchall()
        # An epoch ends where the next one begins.
        self._epoch_ends = {epoch: after for (epoch, _), (_, after) in itertools.pairwise(epochs)}

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
            envelope.numbered_json(sequence) for sequence, envelope in enumerate(envelopes, first)
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
                line = envelope.numbered_json(head + 1)
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
        self._check_file()
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def read_lines(self, after: int, limit: int) -> list[bytes]:
        """The lines after sequence number `after`: at most `limit`, and no more after
        MAX_LINES_BYTES."""
        rows = self._reader.execute(
            "SELECT line FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        )
        return take_lines(row[0] for row in rows)

    def id_of(self, sequence: int) -> str | None:
        """The id of an event; None when the log does not contain it."""
        row = self._reader.execute("SELECT id FROM events WHERE sequence = ?", (sequence,))
        found = row.fetchone()
        return str(found[0]) if found else None

    def delete_before(self, first: int) -> None:
        """Delete the events before number `first`; the other numbers, and the ids of the newest of
        these, stay."""
        empty = "UPDATE events SET line = x'' WHERE sequence >= ? AND sequence < ?"
        with self._transaction():
            self._writer.execute(empty, (self.first, first))
            self._writer.execute("DELETE FROM events WHERE sequence < ?", (first - KEPT_IDS,))
        self.first = first

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._lock_file.close()


def take_lines(lines: Iterable[bytes]) -> list[bytes]:
    """The first lines, until they have MAX_LINES_BYTES: at least one, if there is one."""
    taken: list[bytes] = []
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line)
        if size >= MAX_LINES_BYTES:
            break
    return taken
