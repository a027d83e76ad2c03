"""Bugs that only a power cut shows: data that a program takes for stored, and the disk has not."""

import sqlite3
from collections.abc import Callable
from types import ModuleType

from lab.bus.log.storage import LogFile
from lab.service.store import Store


def _without_sync(connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    def connect_without_sync(*where: object) -> sqlite3.Connection:
        connection = connect(*where)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    return connect_without_sync


def syncs_nothing(program: ModuleType) -> None:
    LogFile._connect = staticmethod(_without_sync(LogFile._connect))  # type: ignore[method-assign,assignment]
    Store._connect = _without_sync(Store._connect)  # type: ignore[method-assign]


BUGS: dict[str, Callable[[ModuleType], None]] = {"syncs nothing": syncs_nothing}
