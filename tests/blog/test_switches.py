"""What each switch of publishing and consuming prevents: with it and without it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from lab.async_bus.dead_letters import count_dead_letters, read_dead_letters, redrive
from lab.async_bus.dual_write import DualWrite
from lab.async_bus.inbox import ATTEMPTS, DeliveryFailed
from lab.cluster.arrangements import ARRANGEMENTS, build_programs
from lab.domain.events import CommentModerated, CommentUpdated, PostCreated
from lab.live.sandbox.session import settings_by_stack
from lab.service.store import Store
from tests.support.consumers import MemoryBus, RecordingConsumer, comment, envelope, poison, post

MakeConsumer = Callable[..., RecordingConsumer]


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[MakeConsumer]:
    made: list[RecordingConsumer] = []

    def make(**switches: Any) -> RecordingConsumer:
        made.append(RecordingConsumer(tmp_path, **switches))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    schema = "CREATE TABLE posts (id TEXT PRIMARY KEY)"
    opened = Store(tmp_path / "posts.db", schema, "/tests/posts")
    yield opened
    opened.close()


def write(store: Store, identity: str) -> None:
    with store.transaction() as change:
        change.execute("INSERT INTO posts VALUES (?)", identity)
        change.tell(PostCreated(id=identity, title="A post"))


def verdict(number: int) -> CommentModerated:
    return CommentModerated(id="c", post_id="p", content=str(number), status="approved")


# ── outbox


async def test_without_an_outbox_the_event_is_lost(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    bus = MemoryBus(down=True)
    dual = DualWrite(store, bus)
    await dual.run()
    await asyncio.to_thread(write, store, "p1")
    bus.down = False
    await asyncio.to_thread(write, store, "p2")
    assert [row["id"] for row in store.rows("SELECT id FROM posts ORDER BY id")] == ["p1", "p2"]
    assert [event.subject for event in bus.log] == ["p2"]
    assert (dual.count_unpublished(), store.count_outbox(0)) == (0, 0)
    assert "now are gone" in capfd.readouterr().err
    with pytest.raises(Exception, match="UNIQUE"):
        await asyncio.to_thread(write, store, "p2")
    assert len(bus.log) == 1, "a transaction that breaks tells nothing"


# ── dedupe


def test_an_event_that_comes_again_is_passed_over(consumer: MakeConsumer) -> None:
    one = consumer()
    one.inbox.apply_batch([comment(1), comment(1), comment(2)])
    one.inbox.apply_batch([comment(2)])
    assert one.notes() == ["1", "2"]
    assert (one.inbox.position, one.store.offset(), one.inbox.skipped) == (2, 2, 2)


def test_events_that_overtook_each_other_are_put_in_order(consumer: MakeConsumer) -> None:
    one = consumer()
    one.inbox.apply_batch([comment(2), comment(1), comment(3)])
    assert one.notes() == ["1", "2", "3"]


def test_where_a_number_is_missing_nothing_behind_it_is_applied(consumer: MakeConsumer) -> None:
    one = consumer()
    with pytest.raises(DeliveryFailed, match="Event 2 is missing"):
        one.inbox.apply_batch([comment(1), comment(3)])
    assert (one.notes(), one.store.offset()) == (["1"], 1)


def test_without_dedupe_events_are_applied_unless_a_key_refuses(
    consumer: MakeConsumer, capfd: pytest.CaptureFixture[str]
) -> None:
    one = consumer(dedupe=False)
    one.inbox.apply_batch([comment(2), comment(1), comment(1), comment(4)])
    assert (one.notes(), one.store.offset()) == (["2", "1", "1", "4"], 4)
    one.inbox.apply_batch([post(5), post(5), comment(6)])
    assert one.store.rows("SELECT count(*) AS n FROM posts")[0]["n"] == 1
    assert (one.notes()[4:], one.inbox.stuck_event) == (["6"], None)
    assert "again?" in capfd.readouterr().err


def test_a_crash_before_the_offset_doubles_only_without_dedupe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for dedupe, noted in ((True, ["1"]), (False, ["1", "1"])):
        folder = tmp_path / str(dedupe)
        folder.mkdir()
        one = RecordingConsumer(folder, dedupe=dedupe)
        with monkeypatch.context() as patch:
            patch.setattr("lab.service.store.Transaction.set_offset", crash)
            with pytest.raises(KeyboardInterrupt):
                one.inbox.apply_batch([comment(1)])
        one.store.close()
        again = RecordingConsumer(folder, dedupe=dedupe)
        again.inbox.apply_batch([comment(1)])
        assert again.notes() == noted
        again.store.close()


# ── dead_letter


def fail_repeatedly(
    one: RecordingConsumer, times: int, *numbers_behind: int, number: int = 2
) -> None:
    for _ in range(times):
        with pytest.raises(DeliveryFailed):
            one.inbox.apply_batch([poison(number), *map(comment, numbers_behind)])


def test_without_dead_letters_everything_waits_behind_a_poison(consumer: MakeConsumer) -> None:
    one = consumer()
    one.inbox.apply_batch([comment(1)])
    fail_repeatedly(one, ATTEMPTS - 1, 3)
    assert one.inbox.stuck_event is None
    fail_repeatedly(one, 3, 3)
    assert "stuck at event 2, a CommentCreated" in str(one.inbox.stuck_event)
    assert (one.notes(), one.store.offset(), count_dead_letters(one.store)) == (["1"], 1, 0)


@pytest.mark.parametrize("apply_ms", [0, 1])
def test_events_before_a_poison_in_one_delivery_are_kept(
    consumer: MakeConsumer, apply_ms: float
) -> None:
    one = consumer(apply_ms=apply_ms)
    with pytest.raises(DeliveryFailed):
        one.inbox.apply_batch([comment(1), poison(2), comment(3)])
    assert (one.notes(), one.store.offset()) == (["1"], 1)


def test_a_poison_is_laid_aside_after_five_attempts(consumer: MakeConsumer) -> None:
    one = consumer(dead_letter=True)
    one.inbox.apply_batch([comment(1)])
    fail_repeatedly(one, ATTEMPTS - 1, 3)
    one.inbox.apply_batch([poison(2), comment(3)])
    assert one.notes() == ["1", "3"]
    assert (one.inbox.stuck_event, one.store.offset()) == (None, 3)
    (letter,) = read_dead_letters(one.store)
    assert (letter["sequence"], letter["type"], letter["attempts"]) == (2, "CommentCreated", 5)
    assert "Field required" in letter["why"]
    assert letter["envelope"]["subject"] == "poison-2"


def test_a_mended_dead_letter_is_applied_once(consumer: MakeConsumer) -> None:
    one = consumer(dead_letter=True)
    bad = envelope(verdict(1), 1)
    for _ in range(ATTEMPTS - 1):
        with pytest.raises(DeliveryFailed):
            one.inbox.apply_batch([bad])
    one.inbox.apply_batch([bad])
    told = redrive(one.store, one.inbox.redrive)
    assert (len(told["redriven"]), told["still_dead"][0]["why"]) == (0, "no verdicts, please")
    assert read_dead_letters(one.store)[0]["attempts"] == ATTEMPTS + 1
    one.healthy = True
    assert redrive(one.store, one.inbox.redrive)["redriven"][0]["sequence"] == 1
    assert one.notes() == ["verdict 1"]
    assert redrive(one.store, one.inbox.redrive) == {"redriven": [], "still_dead": []}
    assert (one.notes(), one.store.offset()) == (["verdict 1"], 1)


# ── apply_ms


def test_a_slow_consumer_is_slow_only_for_events_it_hears(consumer: MakeConsumer) -> None:
    one = consumer(apply_ms=10)
    begun = perf_counter()
    unheard = [envelope(CommentUpdated(**verdict(1).model_dump()), 2)]
    one.inbox.apply_batch([comment(1), *unheard, comment(3)])
    assert perf_counter() - begun >= 0.02
    assert (one.notes(), one.inbox.applied, one.inbox.position) == (["1", "3"], 2, 3)


def test_every_commit_of_a_slow_consumer_stores_the_cursor(consumer: MakeConsumer) -> None:
    one = consumer(apply_ms=1)
    stored: list[tuple[int, str]] = []
    keep = one.store.transaction

    def watched() -> Any:
        stored.append((one.store.offset(), one.store.cursor()))
        return keep()

    one.store.transaction = watched  # type: ignore[method-assign]
    one.inbox.apply_batch([comment(number).set_cursor(f"behind {number}") for number in (1, 2, 3)])
    assert stored == [(0, ""), (1, "behind 1"), (2, "behind 2")]
    assert (one.inbox.cursor, one.store.cursor()) == ("behind 3", "behind 3")


# ── From the switches to the programs


def test_a_switch_is_an_argument_of_services_only(tmp_path: Path) -> None:
    arrangement = ARRANGEMENTS["async-bus"]
    ports = dict.fromkeys(arrangement.processes, 1)
    options = {"outbox": False, "dead_letter": True, "apply_ms": 14}
    started = build_programs("v", arrangement, options, ports, tmp_path, "token")
    for program in started:
        told = " ".join(program.argv)
        is_a_service = program.name != "v.event-bus"
        assert ("--outbox off" in told) is ("--dead-letter on" in told) is is_a_service
        assert ("--apply-ms 14" in told) is is_a_service
        assert "--dedupe" not in told


def test_settings_go_to_the_stacks_that_have_them() -> None:
    chosen = settings_by_stack(["dead_letter=true", "workers=4"], ["sync-chain", "async-bus"])
    assert chosen == {
        "sync-chain": {"workers": 4},
        "async-bus": {"dead_letter": True, "workers": 4},
    }
    wrong = {
        "dead_leter=true": "Did you mean 'dead_letter'",
        "outbox=maybe": "true or false",
        "outbox": "expected NAME=VALUE",
    }
    for setting, says in wrong.items():
        with pytest.raises(ValueError, match=says):
            settings_by_stack([setting], ["async-bus"])
