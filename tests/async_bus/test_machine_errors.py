"""Errors of the machine: they hold events up, and make no dead letter."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.async_bus.dead_letters import count_dead_letters, read_dead_letters, redrive
from lab.async_bus.inbox import ATTEMPTS, DeliveryFailed, Inbox
from lab.domain.events import CommentCreated, PostCreated
from lab.service.store import Transaction, is_machine_error
from tests.support.consumers import RecordingConsumer, comment, post

Failure = Callable[[Transaction], None]


def fill_disk(change: Transaction) -> None:
    change.execute("PRAGMA max_page_count = 1")  # SQLite then answers as on a full disk
    for _ in range(100):
        change.execute("INSERT INTO notes VALUES (?)", "x" * 4_000)


def name_a_missing_table(change: Transaction) -> None:
    change.execute("INSERT INTO nowhere VALUES (1)")


def fail_to_open(change: Transaction) -> None:
    raise OSError(24, "Too many open files")


def report_full_disk(change: Transaction) -> None:
    raise sqlite3.OperationalError("database or disk is full")


MACHINE = [fill_disk, fail_to_open, report_full_disk]


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[RecordingConsumer]:
    consumer = RecordingConsumer(tmp_path, dead_letter=True)
    with closing(consumer.store):
        yield consumer


def make_inbox(consumer: RecordingConsumer, failure: Failure, replayable: bool = True) -> Inbox:
    """An inbox whose posts fail until `consumer.healthy`."""

    def insert_post(post: PostCreated, change: Transaction) -> None:
        if not consumer.healthy:
            failure(change)
        consumer._insert_post(post, change)

    listeners = {PostCreated: insert_post, CommentCreated: consumer._record_comment}
    spans = consumer.inbox._spans
    return Inbox(consumer.store, listeners, spans, dead_letter=True, replayable=replayable)


def heal(consumer: RecordingConsumer) -> None:
    consumer.healthy = True
    consumer.store._writer.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("failure", MACHINE)
def test_an_error_of_the_machine_makes_no_dead_letter(
    consumer: RecordingConsumer, failure: Failure
) -> None:
    inbox = make_inbox(consumer, failure)
    for _ in range(2 * ATTEMPTS):
        with pytest.raises(DeliveryFailed):
            inbox.apply_batch([post(1), comment(2)])
    assert (consumer.store.offset(), count_dead_letters(consumer.store)) == (0, 0)
    assert (inbox.stuck_event, list(inbox.failed_subjects)) == (None, [])
    heal(consumer)
    inbox.apply_batch([post(1), comment(2)])
    assert (consumer.store.offset(), consumer.notes()) == (2, ["2"])


def test_a_statement_that_is_wrong_makes_a_dead_letter(consumer: RecordingConsumer) -> None:
    inbox = make_inbox(consumer, name_a_missing_table)
    for _ in range(ATTEMPTS - 1):
        with pytest.raises(DeliveryFailed):
            inbox.apply_batch([post(1), comment(2)])
    inbox.apply_batch([post(1), comment(2)])
    assert "nowhere" in read_dead_letters(consumer.store)[0]["why"]


def test_a_disk_that_is_full_for_dead_letters_delays_them(consumer: RecordingConsumer) -> None:
    inbox = make_inbox(consumer, name_a_missing_table)

    def fail_to_store(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.async_bus.inbox.store_dead_letter", fail_to_store)
        for _ in range(2 * ATTEMPTS):
            with pytest.raises(DeliveryFailed):
                inbox.apply_batch([post(1), comment(2)])
    inbox.apply_batch([post(1), comment(2)])
    assert (consumer.notes(), count_dead_letters(consumer.store)) == (["2"], 1)


def test_a_disk_that_is_full_for_a_rewind_delays_it(
    consumer: RecordingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer.inbox.apply_batch([comment(1), comment(2)])
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "set_offset", lambda *_: fail_to_open(_[0]))
        with pytest.raises(DeliveryFailed):
            consumer.inbox.rewind(0, "")
    assert (consumer.inbox.position, consumer.store.offset()) == (2, 2)


@pytest.mark.parametrize("failure", MACHINE)
def test_a_redrive_that_meets_a_full_disk_is_no_attempt(
    consumer: RecordingConsumer, failure: Failure
) -> None:
    broken = make_inbox(consumer, name_a_missing_table)
    for _ in range(ATTEMPTS - 1):
        with pytest.raises(DeliveryFailed):
            broken.apply_batch([post(1)])
    broken.apply_batch([post(1)])
    (before,) = read_dead_letters(consumer.store)
    inbox = make_inbox(consumer, failure)
    assert len(redrive(consumer.store, inbox.redrive)["still_dead"]) == 1
    assert read_dead_letters(consumer.store) == [before]
    heal(consumer)
    assert len(redrive(consumer.store, inbox.redrive)["redriven"]) == 1


def test_a_pushed_event_is_not_lost_to_a_machine_error(consumer: RecordingConsumer) -> None:
    """It comes once: as a dead letter it can be redriven."""
    make_inbox(consumer, fail_to_open, replayable=False).apply_batch([post(1)])
    assert "Too many open files" in read_dead_letters(consumer.store)[0]["why"]


def test_errors_of_data_and_program_are_not_the_machine_s() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n NOT NULL)")
    for wrong, values in [
        ("INSERT INTO t VALUES (1)", ()),
        ("INSERT INTO t VALUES (1, NULL)", ()),
        ("INSERT INTO t VALUES (?, 1)", ()),
        ("INSERT INTO t VALUES ('a word', 1)", ()),
        ("SELEC", ()),
        ("INSERT INTO t VALUES (1, ?)", (object(),)),
    ]:
        with pytest.raises(sqlite3.Error) as raised:
            connection.execute(wrong, values)
        assert not is_machine_error(raised.value), wrong
    connection.close()
    assert not is_machine_error(ValueError("a bug"))
    assert not is_machine_error(None)
    assert is_machine_error(sqlite3.DatabaseError("database disk image is malformed"))
