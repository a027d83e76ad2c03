"""The bus compared with other durable buses, with the disk's limit, and with the course's bus.

Every bus but the course's has each event on disk before it acknowledges it. "In flight": one
publisher with this many appends of one event each.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from lab.bus.log.storage import LogFile
from lab.domain.events import Envelope
from tests.bench.buses import events, throughput
from tests.bench.node import node_throughput
from tests.bench.ratio import Measure, Pair, Row

IN_FLIGHT = 64
LOG_AT_ONCE = 10_000  # events a measurement, some 0.3 s
Opened = Callable[[], AbstractContextManager[Measure]]


def group_commits(size: int, count: int) -> Opened:
    """Events per second that one writer in this process commits in groups of `size`, each on disk:
    the log's table and lines, without a log."""

    @contextmanager
    def opened() -> Iterator[Measure]:
        with tempfile.TemporaryDirectory(dir=".") as place:
            file = Path(place) / "limit.db"
            LogFile(file).close()
            with closing(sqlite3.connect(file, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                written = 0

                def rate() -> float:
                    nonlocal written
                    rows = [
                        (number, Envelope.from_json(line.encode()).id, line.encode())
                        for number, line in enumerate(events(count), written)
                    ]
                    written += count
                    begun = perf_counter()
                    for at in range(0, count, size):
                        database.execute("BEGIN IMMEDIATE")
                        group = rows[at : at + size]
                        database.executemany("INSERT INTO events VALUES (?, ?, ?)", group)
                        database.execute("COMMIT")
                    return count / (perf_counter() - begun)

                yield rate

    return opened


def _through(engine: str, count: int, in_flight: int, batch: int = 1) -> Opened:
    return lambda: throughput(engine, count, in_flight, batch)


def _pair(ours: Opened, other: Opened) -> Callable[[], AbstractContextManager[Pair]]:
    @contextmanager
    def pair() -> Iterator[Pair]:
        with other() as theirs, ours() as log:
            yield log, theirs

    return pair


def _row(name: str, other: str, reach: float | None, theirs: Opened, **more: Any) -> Row:
    one = name.startswith("1-")
    ours = _through("log", 1_000, 1) if one else _through("log", LOG_AT_ONCE, IN_FLIGHT)
    return Row(
        name=f"bus-{name}",
        what="durable events to 3 consumers, "
        + ("one by one" if one else f"{IN_FLIGHT} in flight"),
        ours="log",
        other=other,
        unit="events/s",
        reach=reach,
        measure=_pair(ours, theirs),
        **more,
    )


_NATS = "JetStream (sync_interval: always)"
_REDIS = "a Redis stream (appendfsync: always)"
_QUORUM = "RabbitMQ, a quorum queue a consumer, confirmed"
_STREAM = "RabbitMQ, a stream, confirmed"
_LIMIT = "SQLite, one writer in the process, groups of"

ROWS = [
    _row("1-nats", _NATS, 1.2, _through("nats", 1_000, 1)),
    _row("1-redis", _REDIS, 1.0, _through("redis", 1_000, 1)),
    _row("1-quorum", _QUORUM, 2, _through("quorum", 300, 1)),
    _row("1-stream", _STREAM, 2, _through("stream", 300, 1)),
    _row("1-limit", f"{_LIMIT} 1", None, group_commits(1, 1_000), kind="limit"),
    _row("64-nats", _NATS, 10, _through("nats", 2_000, IN_FLIGHT)),
    _row("64-redis", _REDIS, 2, _through("redis", 5_000, IN_FLIGHT)),
    _row("64-quorum", _QUORUM, 5, _through("quorum", 1_500, IN_FLIGHT)),
    _row("64-stream", _STREAM, 5, _through("stream", 3_000, IN_FLIGHT)),
    _row("64-limit", f"{_LIMIT} 64", 0.4, group_commits(64, 20_000), kind="limit"),
    _row(
        "64-node",
        "the course's bus in Node (in memory)",
        8,
        lambda: node_throughput(300, IN_FLIGHT),
    ),
]
