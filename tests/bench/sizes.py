"""How the cost grows with the size: each row is the cost at a size, to the cost at the smallest.

Measured only when given by name (`make bench ONLY=size`): the largest need minutes and gigabytes.
`reach` is the growth that the size itself demands (none for a page, n log n for the checker), with
a tenth more; the log's is the promise.
"""

import asyncio
import json
import sqlite3
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from math import log2
from pathlib import Path
from time import perf_counter

from lab.async_bus import query
from lab.bus.log.storage import LogFile
from lab.commands.console import COULD_NOT_RUN
from lab.domain.events import Envelope
from lab.domain.model import new_id
from lab.experiment.checker import StoredState, check
from lab.live.broadcast import ScreenSubscribers
from lab.load.samples import Sample
from lab.service.store import Store
from tests.bench.buses import events
from tests.bench.ratio import Measure, Pair, Row, Skipped, median_ms
from tests.bench.running import lab_run

Opened = Callable[[int], AbstractContextManager[Measure]]


def _constant(size: int) -> float:
    return 1.0


def _n_log_n(size: int) -> float:
    return size * log2(size)


def _curve(
    name: str,
    what: str,
    of: str,
    sizes: Sequence[int],
    opened: Opened,
    grows: Callable[[int], float] = _constant,
    unit: str = "ms",
    pairs: int = 6,
) -> Iterator[Row]:
    smallest = sizes[0]
    for size in sizes[1:]:

        @contextmanager
        def pair(size: int = size) -> Iterator[Pair]:
            with opened(smallest) as small, opened(size) as large:
                yield large, small

        yield Row(
            name=f"size-{name}-{size}",
            what=what,
            ours=f"{size:,} {of}",
            other=f"{smallest:,} {of}",
            unit=unit,
            kind="limit",
            better="less",
            reach=round(1.1 * grows(size) / grows(smallest), 3),
            pairs=pairs,
            measure=pair,
        )


# ── The log

_FILL = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO events SELECT n, printf('%026d', n), ? FROM numbers
"""


@contextmanager
def log_of(size: int) -> Iterator[Measure]:
    """The median time to append 64 events and to read them, in ms, at the end of the log."""
    with tempfile.TemporaryDirectory(dir=".") as place:
        file = Path(place) / "event-bus.db"
        LogFile(file).close()
        if size:
            with closing(sqlite3.connect(file, isolation_level=None)) as database:
                database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
                database.execute(_FILL, (size, events(1)[0].encode()))
        with closing(LogFile(file)) as log:
            assert log.head == size

            def measure() -> float:
                took_ms = []
                for _ in range(20):
                    group = [Envelope.from_json(line) for line in events(64)]
                    begun = perf_counter()
                    log.append(group)
                    assert len(log.read_lines(log.head - 64, 64)) == 64
                    took_ms.append((perf_counter() - begun) * 1_000)
                return statistics.median(took_ms)

            yield measure


# ── Posts and comments


@contextmanager
def feed_of(size: int) -> Iterator[Measure]:
    """A page of 20 posts of `size`, each with a comment, from the middle, read as `query` does."""
    with ExitStack() as held:
        file = Path(held.enter_context(tempfile.TemporaryDirectory(dir="."))) / "query.db"
        store = held.enter_context(closing(Store(file, query.SCHEMA, query.service.source)))
        ids = [new_id() for _ in range(size)]
        with store.transaction() as change:
            for post_id in ids:
                change.execute("INSERT INTO posts VALUES (?, 'A post')", post_id)
                comment = (new_id(), post_id, "A comment", "approved")
                change.execute("INSERT INTO comments VALUES (?, ?, ?, ?)", *comment)
        page = median_ms(lambda: query.get_feed(20, ids[size // 2]), 50)

        def measure() -> float:
            query.service._store = store
            return page()

        yield measure


@contextmanager
def checker_of(size: int) -> Iterator[Measure]:
    """The check of `size` acknowledged posts, all stored."""
    tokens = [f"t{number:08d}" for number in range(size)]
    samples = [
        Sample(
            variant="a",
            phase="during",
            endpoint="create_post",
            intended_s=number / 1_000,
            lag_ms=0.1,
            latency_ms=1.0,
            status=201,
            ok=True,
            token=token,
            id=token,
            visible_ms=5.0,
            text=token,
        )
        for number, token in enumerate(tokens)
    ]
    counted = Counter(tokens)
    stored = StoredState(
        by_owner=counted, in_feed=counted, decided_in_feed=counted, ordered_lists=[tokens]
    )
    yield median_ms(lambda: check(samples, stored), max(1, 10_000 // size))


# ── The live page


@contextmanager
def watchers_of(count: int) -> Iterator[Measure]:
    """A tick to `count` screens, until each has its message encoded."""
    subscribers, tick = ScreenSubscribers(), json.dumps({"t": 1.0, "panes": [0.5] * 200}).encode()
    with ExitStack() as held, asyncio.Runner() as runner:
        screens = [held.enter_context(subscribers.subscribe(True)) for _ in range(count)]

        async def deliver() -> None:
            subscribers.publish("tick", tick)
            for screen in screens:
                await screen.next_messages()

        yield median_ms(lambda: runner.run(deliver()), 50)


# ── Whole runs

_RUN = """
title = "How long does a run take beyond its phases?"
[load]
rate = 40
[phases]
before = {before}
during = 2
after = 1
[[method]]
fault = "latency"
target = "comments"
ms = 50
"""


def _beyond_s(seconds: int, variants: int) -> Measure:
    """Seconds beyond the phases of a run with this many seconds and variants."""

    def measure() -> float:
        with tempfile.TemporaryDirectory(dir=".") as place:
            file = Path(place) / "run.toml"
            named = [f'[variants.chain-{n}]\narrangement = "sync-chain"\n' for n in range(variants)]
            file.write_text(_RUN.format(before=seconds - 3) + "".join(named))
            begun = perf_counter()
            code, _ = lab_run(str(file))
            took_s = perf_counter() - begun
        if code == COULD_NOT_RUN:  # such a run may end before its time
            raise Skipped("a run was no result: this machine was too busy")
        return took_s - seconds

    return measure


@contextmanager
def run_of_variants(count: int) -> Iterator[Measure]:
    yield _beyond_s(5, count)


@contextmanager
def run_of_seconds(seconds: int) -> Iterator[Measure]:
    yield _beyond_s(seconds, 1)


def _linear(size: int) -> float:
    return float(size)


ROWS = [
    *_curve(
        "log",
        "append 64 events and read them, at the end",
        "events in the log",
        (0, 10_000, 100_000, 1_000_000, 10_000_000),
        log_of,
        pairs=9,
    ),
    *_curve(
        "feed", "a page of the feed", "posts", (100, 1_000, 10_000, 100_000, 1_000_000), feed_of
    ),
    *_curve(
        "checker",
        "check of a run",
        "writes",
        (100, 1_000, 10_000, 100_000, 1_000_000),
        checker_of,
        _n_log_n,
    ),
    *_curve(
        "watchers", "a tick to all screens", "screens", (1, 20, 100, 400), watchers_of, _linear
    ),
    *_curve(
        "variants",
        "a run beyond its phases",
        "variants",
        (1, 2, 4, 6),  # a scenario has at most 6
        run_of_variants,
        _linear,
        "s",
    ),
    *_curve(
        "seconds",
        "a run beyond its phases",
        "seconds",
        (10, 60, 600),
        run_of_seconds,
        _linear,
        "s",
        3,
    ),
]
