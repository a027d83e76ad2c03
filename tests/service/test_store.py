"""A service's own database: one commit for what belongs together, no other program's writes."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lab.async_bus.outbox import _limit_batch
from lab.bus.base import MAX_APPEND_BYTES
from lab.domain.events import CommentCreated, Envelope, PostCreated
from lab.service.store import (
    ForeignDatabase,
    PublishedEvent,
    Store,
    Transaction,
    is_machine_error,
)
from tests.support.laboratory import PATIENCE_S

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT PRIMARY KEY)"
SOURCE = "/tests/notes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path, SCHEMA, SOURCE)) as opened:
        yield opened


def notes(store: Store) -> list[str]:
    return [row["text"] for row in store.rows("SELECT text FROM notes ORDER BY text")]


def write(store: Store, text: str, *, heard: int | None = None) -> None:
    """Write a row, an event about it and, if given, an offset, in one transaction."""
    with store.transaction() as change:
        change.execute("INSERT INTO notes VALUES (?)", text)
        change.tell(PostCreated(id=text, title=text))
        if heard is not None:
            change.set_offset(heard)


def test_row_event_and_offset_are_there_after_the_commit(store: Store, path: Path) -> None:
    write(store, "one", heard=7)
    assert notes(store) == ["one"]
    assert store.offset() == 7
    ((number, envelope),) = store.read_outbox(0, 10)
    event = Envelope.from_json(envelope)
    assert (number, event.source, event.subject, event.type) == (1, SOURCE, "one", "PostCreated")
    with closing(sqlite3.connect(path)) as another:  # other connections see what is committed
        assert another.execute("SELECT count(*) FROM outbox").fetchone() == (1,)


def _breaks(change: Transaction) -> None:
    raise ValueError("the handler has a bug")


def _breaks_the_schema(change: Transaction) -> None:
    change.execute("INSERT INTO notes VALUES ('first')")


def _is_interrupted(change: Transaction) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("then", [_breaks, _breaks_the_schema, _is_interrupted])
def test_of_a_transaction_that_breaks_nothing_is_left(
    store: Store, then: Callable[[Transaction], None]
) -> None:
    write(store, "first", heard=3)
    appends = []
    store.on_outbox_append = lambda: appends.append(True)

    def second() -> None:
        with store.transaction() as change:
            change.execute("INSERT INTO notes VALUES ('second')")
            change.tell(PostCreated(id="second", title="second"))
            change.set_offset(4)
            then(change)

    with pytest.raises((ValueError, sqlite3.IntegrityError, KeyboardInterrupt)):
        second()
    assert (notes(store), store.offset(), store.count_outbox(0), appends) == (["first"], 3, 1, [])
    write(store, "third", heard=5)  # the next one is not affected
    assert (notes(store), store.offset(), appends) == (["first", "third"], 5, [True])


def run(script: str, path: Path) -> int:
    """The exit status of a program that has a `store` on the file."""
    begin = f"""
import os
from pathlib import Path
from lab.domain.events import PostCreated
from lab.service.store import ForeignDatabase, Store
try:
    store = Store(Path({str(path)!r}), {SCHEMA!r}, {SOURCE!r})
except ForeignDatabase:
    raise SystemExit(42)
"""
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", begin + script]
    return subprocess.run(command, check=False, env=env).returncode


def test_half_a_transaction_is_gone_when_the_process_is_killed(path: Path) -> None:
    script = """
with store.transaction() as change:
    change.execute("INSERT INTO notes VALUES ('kept')")
with store.transaction() as change:
    change.execute("INSERT INTO notes VALUES ('half')")
    change.tell(PostCreated(id="half", title="half"))
    change.set_offset(9)
    os.kill(os.getpid(), 9)
"""
    assert run(script, path) == -9
    with closing(Store(path, SCHEMA, SOURCE)) as store:
        assert (notes(store), store.offset(), store.count_outbox(0)) == (["kept"], 0, 0)


def test_a_database_of_another_service_is_refused(path: Path) -> None:
    Store(path, SCHEMA, "/async-bus/posts").close()
    with pytest.raises(
        ForeignDatabase, match=r"belongs to /async-bus/posts, not to /async-bus/query"
    ):
        Store(path, SCHEMA, "/async-bus/query")
    Store(path, SCHEMA, "/async-bus/posts").close()  # the refused store holds no lock


def test_a_second_copy_of_a_running_service_is_refused(store: Store, path: Path) -> None:
    with pytest.raises(ForeignDatabase, match="a service runs once"):
        Store(path, SCHEMA, SOURCE)
    assert run("", path) == 42
    write(store, "undisturbed")
    store.close()
    with closing(Store(path, SCHEMA, SOURCE)) as again:
        assert notes(again) == ["undisturbed"]


def test_the_file_is_for_this_user_only(store: Store, path: Path) -> None:
    write(store, "private")
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_every_connection_writes_through_to_the_disk(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.rows("INSERT INTO notes VALUES ('sneaked in')")
    assert len(store._open_connections) == 2  # the writer, and this thread's reader
    for connection, _ in store._open_connections:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert connection.execute("PRAGMA fullfsync").fetchone()[0] == 1


def test_a_reader_sees_only_commits_and_never_waits(store: Store) -> None:
    write(store, "before")
    with store.transaction() as change:
        change.execute("INSERT INTO notes VALUES ('not yet')")
        seen: list[list[str]] = []
        reader = threading.Thread(target=lambda: seen.append(notes(store)))
        reader.start()
        reader.join(PATIENCE_S)
        assert seen == [["before"]]
    assert notes(store) == ["before", "not yet"]


def test_writers_of_many_threads_take_turns(store: Store) -> None:
    def work(name: int) -> None:
        for number in range(20):
            write(store, f"{name}-{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(notes(store)) == 160
    assert [number for number, _ in store.read_outbox(0, 1_000)] == list(range(1, 161))


def numbers_in_the_outbox(store: Store) -> list[int]:
    return [number for number, _ in store.read_outbox(0, 1_000)]


@pytest.fixture
def keeps_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.service.store.PUBLISHED_RETENTION", 2)


@pytest.mark.usefixtures("keeps_two")
def test_the_outbox_is_cleared_only_of_old_acknowledged_events(store: Store) -> None:
    for text in ("a", "b", "c", "d"):
        write(store, text)
    store.mark_published([1, 2, 3], [11, 12, 15])
    assert store.last_published() is None  # the next commit stores it
    write(store, "e")
    assert numbers_in_the_outbox(store) == [2, 3, 4, 5]
    ids = [Envelope.from_json(envelope).id for _, envelope in store.read_outbox(0, 10)]
    assert store.first_published() == PublishedEvent(2, 12, ids[0])
    assert store.last_published() == PublishedEvent(3, 15, ids[1])
    for text in ("f", "g", "h"):  # unpublished events are kept, however many
        write(store, text)
    assert numbers_in_the_outbox(store) == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.usefixtures("keeps_two")
def test_a_broken_transaction_keeps_acknowledgements_to_be_noted(store: Store) -> None:
    for text in ("a", "b", "c"):
        write(store, text)
    store.mark_published([1, 2, 3], [1, 2, 3])
    with pytest.raises(sqlite3.IntegrityError):
        write(store, "a")
    assert (numbers_in_the_outbox(store), store.last_published()) == ([1, 2, 3], None)
    write(store, "d")
    newest = store.last_published()
    assert newest is not None
    assert (numbers_in_the_outbox(store), newest.sequence) == ([2, 3, 4], 3)


def test_an_event_the_bus_lost_counts_as_unpublished(path: Path) -> None:
    with closing(Store(path, SCHEMA, SOURCE)) as store:
        for text in ("a", "b", "c"):
            write(store, text)
        store.mark_published([1, 2], [1, 2])
        write(store, "d")
        store.mark_published([3], [3])  # not stored yet, and never will be
        store.mark_unpublished(1)
    with closing(Store(path, SCHEMA, SOURCE)) as store:
        newest = store.last_published()
        assert newest is not None
        assert (newest.number, numbers_in_the_outbox(store)) == (1, [1, 2, 3, 4])


def test_numbers_in_the_outbox_are_never_used_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.service.store.PUBLISHED_RETENTION", 0)
    for number, text in enumerate(("a", "b"), 1):
        with closing(Store(path, SCHEMA, SOURCE)) as store:
            write(store, text)
            assert numbers_in_the_outbox(store) == [number]
            store.mark_published([number], [number])
            with store.transaction():
                pass
            assert numbers_in_the_outbox(store) == []


def test_a_committed_id_is_new_only_once(store: Store) -> None:
    def new_among(*ids: str, breaks: bool = False) -> set[str]:
        with store.transaction() as change:
            new = change.insert_unseen(ids)
            if breaks:
                raise ValueError("the handler has a bug")
        return new

    with pytest.raises(ValueError, match="has a bug"):
        new_among("a", "b", breaks=True)
    assert new_among("a", "b") == {"a", "b"}
    assert new_among("c", "b", "d", "d") == {"c", "d"}
    assert new_among("c", "d") == set()


def test_the_outbox_is_split_into_loads_for_the_bus(store: Store) -> None:
    for number in range(500):
        with store.transaction() as change:
            event = CommentCreated(id=str(number), post_id="p", content="\x01" * 2_000)
            change.tell(event)
    position, loads = 0, []
    while waiting := _limit_batch(store.read_outbox(position, 500)):
        loads.append(sum(len(envelope.encode()) for _, envelope in waiting))
        assert waiting[0][0] == position + 1
        position = waiting[-1][0]
    assert position == 500
    assert max(loads) <= MAX_APPEND_BYTES < sum(loads)
    huge = (1, "x" * 2 * MAX_APPEND_BYTES)
    assert _limit_batch([huge, huge]) == [huge]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_removed_while_it_is_open_takes_nothing(
    store: Store, path: Path, replaced: bool
) -> None:
    write(store, "one")
    path.rename(path.with_name("elsewhere.db"))
    if replaced:
        path.touch()
    with pytest.raises(sqlite3.OperationalError, match="removed or replaced") as raised:
        write(store, "two")
    assert is_machine_error(raised.value)
    with ThreadPoolExecutor() as another, pytest.raises(sqlite3.OperationalError, match="removed"):
        another.submit(notes, store).result()
    path.with_name("elsewhere.db").replace(path)
    write(store, "three")
    assert notes(store) == ["one", "three"]


def test_a_store_is_closed_after_the_transaction_that_another_thread_has_begun(path: Path) -> None:
    store = Store(path, SCHEMA, SOURCE)
    begun, finish = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with store.transaction() as change:
            begun.set()
            finish.wait(PATIENCE_S)
            change.execute("INSERT INTO notes VALUES ('written')")

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(write_slowly)
        assert begun.wait(PATIENCE_S)
        closing_store = threads.submit(store.close)
        finish.set()
        writing.result(PATIENCE_S)
        closing_store.result(PATIENCE_S)
    with closing(Store(path, SCHEMA, SOURCE)) as again:
        assert notes(again) == ["written"]
