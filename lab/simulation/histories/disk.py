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


class DiskConnection(sqlite3.Connection):
    """Calls `at_commit` with BEFORE and AFTER around each commit. What it raises kills the process,
    or fails as a full disk does."""

    at_commit: Callable[[str], None] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._leaves_open: dict[str, bool] = {}

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql != "COMMIT" or self.at_commit is None:
            return super().execute(sql, *values)
        self.at_commit(BEFORE)
        cursor = super().execute(sql)
        with suppress(sqlite3.OperationalError):  # behind a commit a disk can't be full
            self.at_commit(AFTER)
        return cursor

    def executescript(self, script: str) -> sqlite3.Cursor:
        """Scripts only create what is not there: once for each disk is enough. One that leaves a
        transaction open does so each time."""
        if script not in self._leaves_open:
            cursor = super().executescript(script)
            self._leaves_open[script] = self.in_transaction
            return cursor
        return super().execute("BEGIN IMMEDIATE") if self._leaves_open[script] else self.cursor()


class Disk:
    """The disk of one service: a database in memory with a connection to write and one to read."""

    def __init__(self, name: str) -> None:
        self.name = name
        uri = f"file:{name}-{id(self)}?mode=memory&cache=shared"
        self.writer = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, factory=DiskConnection
        )
        self._reader = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        self.writer.row_factory = self._reader.row_factory = sqlite3.Row
        self._image: dict[str, list[tuple[Any, ...]]] = {}

    def save(self) -> None:
        """Keep what is on the disk now, for `restore`."""
        tables = self.writer.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        self._image = {
            name: [tuple(row) for row in self.writer.execute(f'SELECT * FROM "{name}"')]
            for (name,) in tables
        }

    def restore(self) -> None:
        """Put back what `save` kept."""
        self.roll_back()
        self.writer.execute("BEGIN")
        for name, rows in self._image.items():
            self.writer.execute(f'DELETE FROM "{name}"')
            if rows:
                places = ",".join("?" * len(rows[0]))
                self.writer.executemany(f'INSERT INTO "{name}" VALUES ({places})', rows)
        self.writer.execute("COMMIT")

    def roll_back(self) -> None:
        """End what a killed process had begun."""
        self.writer.at_commit = None
        for connection in (self._reader, self.writer):
            if connection.in_transaction:
                connection.rollback()

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
        disk.writer.at_commit = at_commit

    def _open_file(self, path: Path) -> BinaryIO:
        return BytesIO()

    def _check_file(self) -> None: ...

    def _lock_for_this_process(self) -> None: ...

    def _sync_what_is_written(self) -> None: ...

    def _connect(self) -> sqlite3.Connection:
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
