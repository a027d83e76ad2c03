"""Disks in memory: they survive a crash of their process, which may happen at any commit."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from lab.bus.log.storage import LogFile
from lab.service.store import Store

BEFORE, AFTER = "before commit", "after commit"
_CHANGES = ("INSERT", "UPDATE", "DELETE", "COMMIT")


class DiskConnection(sqlite3.Connection):
    """Calls `at_commit` with BEFORE and AFTER around each commit. What it raises kills the process,
    or fails as a full disk does."""

    at_commit: Callable[[str], None] | None = None
    refuse_in = 0
    """The disk refuses the n-th change from now, once; 0: none."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._leaves_open: dict[str, bool] = {}
        self.options: dict[str, str] = {}

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA") and " = " in sql:  # a disk in memory only notes it
            name, _, value = sql.removeprefix("PRAGMA ").partition(" = ")
            self.options[name] = value
            return self.cursor()
        if self.refuse_in and sql.startswith(_CHANGES):
            self._refuse()
        if sql != "COMMIT" or self.at_commit is None:
            return super().execute(sql, *values)
        self.at_commit(BEFORE)
        cursor = super().execute(sql)
        with suppress(sqlite3.OperationalError):  # behind a commit a disk can't be full
            self.at_commit(AFTER)
        return cursor

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        if self.refuse_in:
            self._refuse()
        return super().executemany(sql, values)

    def _refuse(self) -> None:
        self.refuse_in -= 1
        if not self.refuse_in:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def executescript(self, script: str) -> sqlite3.Cursor:
        """Scripts only create what is not there: once for each disk is enough. One that leaves a
        transaction open does so each time."""
        if script not in self._leaves_open:
            cursor = super().executescript(script)
            self._leaves_open[script] = self.in_transaction
            return cursor
        return super().execute("BEGIN IMMEDIATE") if self._leaves_open[script] else self.cursor()


class DiskReader(sqlite3.Connection):
    """Sees what is committed; in a transaction, what was committed at its first query, as with
    SQLite's write-ahead log. The cache that both connections share would lock the writer out."""

    is_in_transaction = False
    _snapshot: sqlite3.Connection | None = None

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "BEGIN":
            self.is_in_transaction = True
            return self.cursor()
        if not self.is_in_transaction:
            return super().execute(sql, *values)
        if self._snapshot is None:
            self._snapshot = sqlite3.connect(":memory:", check_same_thread=False)
            self._snapshot.row_factory = self.row_factory
            self.backup(self._snapshot)
        return self._snapshot.execute(sql, *values)

    def rollback(self) -> None:
        self.is_in_transaction, self._snapshot = False, None


class Disk:
    """The disk of one service: a database in memory with a connection to write and one to read."""

    def __init__(self, name: str) -> None:
        self.name = name
        uri = f"file:{name}-{id(self)}?mode=memory&cache=shared"
        self.writer = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, factory=DiskConnection
        )
        self._reader = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, factory=DiskReader
        )
        self.writer.row_factory = self._reader.row_factory = sqlite3.Row
        self._image = self._synced = self._content()

    def save(self) -> None:
        """Keep what is on the disk now, for `restore`."""
        self._image = self._content()

    def note_sync(self) -> None:
        """A process opens its database: what it commits without a sync, a power cut removes."""
        if self.loses_commits:
            self._synced = self._content()

    def lose_unsynced(self) -> None:
        """What a power cut does."""
        if self.loses_commits:
            self._put_back(self._synced)

    @property
    def loses_commits(self) -> bool:
        return self.writer.options.get("synchronous", "FULL") != "FULL"

    def _content(self) -> dict[str, list[tuple[Any, ...]]]:
        tables = self.writer.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        return {
            name: [tuple(row) for row in self.writer.execute(f'SELECT * FROM "{name}"')]
            for (name,) in tables
        }

    def restore(self) -> None:
        """Put back what `save` kept."""
        self._put_back(self._image)

    def _put_back(self, image: dict[str, list[tuple[Any, ...]]]) -> None:
        self.roll_back()
        self.writer.execute("BEGIN")
        for name, rows in image.items():
            self.writer.execute(f'DELETE FROM "{name}"')
            if rows:
                places = ",".join("?" * len(rows[0]))
                self.writer.executemany(f'INSERT INTO "{name}" VALUES ({places})', rows)
        self.writer.execute("COMMIT")

    def roll_back(self) -> None:
        """End what a killed process had begun."""
        self.writer.at_commit, self.writer.refuse_in = None, 0
        self._reader.rollback()
        if self.writer.in_transaction:
            self.writer.rollback()

    def connect(self, for_reading: bool) -> sqlite3.Connection:
        return self._reader if for_reading else self.writer

    def close(self) -> None:
        self._reader.close()
        self.writer.close()


class MemoryStore(Store):
    """A service's database on a disk in memory."""

    def __init__(
        self, disk: Disk, schema: str, source: str, at_commit: Callable[[str], None] | None = None
    ) -> None:
        self._disk = disk
        disk.writer.at_commit = None  # opening is not interrupted
        super().__init__(Path(disk.name), schema, source)
        disk.note_sync()
        disk.writer.at_commit = at_commit

    def _open_file(self, path: Path) -> BinaryIO:
        return BytesIO()

    def _check_file(self) -> None: ...

    def _lock_for_this_process(self) -> None: ...

    def _sync_what_is_written(self) -> None: ...

    def _open_connection(self) -> sqlite3.Connection:
        return self._disk.connect(for_reading=hasattr(self, "_writer"))


class MemoryLogFile(LogFile):
    """The log's file in memory, on a connection that stays open, or from the bytes of another."""

    def __init__(
        self, connection: DiskConnection | None = None, content: bytes | None = None
    ) -> None:
        self.connection = connection or sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, factory=DiskConnection
        )
        if content:
            self.connection.deserialize(content)
        super().__init__(Path("event-bus.db"))

    def _find_damage(self) -> None:
        """Memory is not damaged."""

    def _lock(self, path: Path) -> BinaryIO:
        return BytesIO()

    def _check_file(self) -> None: ...

    def _connect(self, path: Path) -> sqlite3.Connection:  # type: ignore[override]
        return self.connection

    def close(self) -> None:
        """A crash closes nothing: the disk stays."""

    def content(self) -> bytes:
        return self.connection.serialize()


@contextmanager
def disks(*names: str) -> Iterator[dict[str, Disk]]:
    """A disk for each name, closed at the end."""
    opened = {name: Disk(name) for name in names}
    try:
        yield opened
    finally:
        for disk in opened.values():
            disk.close()
