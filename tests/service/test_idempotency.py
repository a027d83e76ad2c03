"""The same request twice: with an idempotency key it is done once, whatever happens between."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lab.cluster.arrangements import ARRANGEMENTS
from lab.domain import headers
from lab.domain.errors import IdempotencyKeyReused, Invalid
from lab.service import idempotency
from lab.service.service import Service
from lab.service.store import Store
from tests.support.laboratory import PATIENCE_S, Laboratory, RunningBlog

SCHEMA = f"{idempotency.TABLE} CREATE TABLE IF NOT EXISTS notes (text TEXT)"
HEADER = headers.IDEMPOTENCY_KEY


class NoteNumber(BaseModel):
    number: int


class NoteService:
    """A service in one function: it stores a text, and answers with the number of texts."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.breaks_after_keeping = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.begun = threading.Event()
        self.write = idempotency.IdempotencyFilter(lambda: store).wrap(self._write)

    def _write(self, text: str) -> NoteNumber:
        if text == "one":
            self.begun.set()
            assert self.may_go_on.wait(PATIENCE_S)
        with self.store.transaction() as change:
            change.execute("INSERT INTO notes VALUES (?)", text)
            answer = NoteNumber(number=len(change.rows("SELECT * FROM notes")))
            Service.remember_answer(change, answer)
            if self.breaks_after_keeping:
                raise ConnectionError("the power is gone")
        return answer

    def ask(self, text: str, key: str | None) -> Any:
        """Send a request as a worker does, in a new context."""

        def work() -> Any:
            with nullcontext() if key is None else idempotency.use_key(key):
                answer = self.write(text=text)
            return answer if isinstance(answer, dict) else answer.model_dump()

        return copy_context().run(work)

    def texts(self) -> list[str]:
        return [row["text"] for row in self.store.rows("SELECT text FROM notes ORDER BY rowid")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[NoteService]:
    with closing(Store(tmp_path / "notes.db", SCHEMA, "/tests/notes")) as store:
        yield NoteService(store)


def test_a_repeated_key_gets_the_first_answer(desk: NoteService) -> None:
    assert desk.ask("one", "k") == {"number": 1}
    assert desk.ask("two", "another") == {"number": 2}
    assert desk.ask("one", "k") == {"number": 1}
    with pytest.raises(IdempotencyKeyReused):
        desk.ask("two", "k")
    assert desk.texts() == ["one", "two"]
    with pytest.raises(sqlite3.IntegrityError), desk.store.transaction() as change:
        change.execute("INSERT INTO answers VALUES ('k', '', '')")


def test_without_a_key_the_same_request_is_another_one(desk: NoteService) -> None:
    assert [desk.ask("one", None), desk.ask("one", None)] == [{"number": 1}, {"number": 2}]
    assert desk.store.rows("SELECT * FROM answers") == []


def test_a_write_without_a_commit_is_done_when_repeated(desk: NoteService) -> None:
    desk.breaks_after_keeping = True
    with pytest.raises(ConnectionError):
        desk.ask("one", "k")
    assert desk.texts() == []
    desk.breaks_after_keeping = False
    assert desk.ask("one", "k") == {"number": 1}
    assert desk.texts() == ["one"]


def test_a_copy_at_the_same_time_waits_for_the_answer(desk: NoteService) -> None:
    desk.may_go_on.clear()
    with ThreadPoolExecutor(5) as pool:
        copies = [pool.submit(desk.ask, "one", "k") for _ in range(5)]
        assert desk.begun.wait(PATIENCE_S)
        assert desk.ask("two", "another") == {"number": 1}  # it does not wait for another key
        desk.may_go_on.set()
        answers = [copy.result(PATIENCE_S) for copy in copies]
    assert desk.texts() == ["two", "one"]
    assert answers == [{"number": 2}] * 5


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7fb", "a\tb"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid) as caught, idempotency.use_key(key):
        pass
    assert caught.value.field == HEADER


# ── Running services


@pytest.fixture(scope="module", params=list(ARRANGEMENTS))
def keyed(request: pytest.FixtureRequest, laboratory: Laboratory) -> Iterator[RunningBlog]:
    """Each arrangement, with the switch on."""
    with laboratory.blog(request.param, f"keyed-{request.param}", idempotency=True) as running:
        yield running


def post(blog: RunningBlog, title: str, key: str) -> Any:
    return blog.ask("POST", "posts", "/posts", json={"title": title}, headers={HEADER: key})


def test_a_post_and_a_comment_sent_twice_are_there_once(keyed: RunningBlog) -> None:
    first, second = post(keyed, "Hello", '"a"'), post(keyed, "Hello", '"a"')
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    keyed.settle()
    first, second = (
        keyed.comment(first.json()["id"], "Twice?", headers={HEADER: '"b"'}) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    keyed.settle()
    entries = [entry for entry in keyed.all_of("query", "/feed") if entry["title"] == "Hello"]
    assert [len(entry["comments"]) for entry in entries] == [1]
    verdicts = keyed.get("moderation", "/verdicts", limit=100)
    assert [verdict["content"] for verdict in verdicts].count("Twice?") == 1


def test_a_refusal_is_not_kept_under_the_key(keyed: RunningBlog) -> None:
    refused = keyed.comment("nowhere", "Hello", headers={HEADER: '"c"'})
    assert refused.status_code == 404
    entry = keyed.write_post("Somewhere")
    taken = keyed.comment(entry["id"], "Hello", headers={HEADER: '"c"'})
    assert taken.status_code == 201


def test_a_key_reused_for_another_request_is_refused(keyed: RunningBlog) -> None:
    post(keyed, "This", '"d"')
    refused = post(keyed, "That", '"d"')
    assert refused.status_code == 422
    assert refused.json()["definite"] is True
    assert "That" not in [entry["title"] for entry in keyed.all_of("posts", "/posts")]


def test_a_killed_service_still_knows_the_keys(keyed: RunningBlog) -> None:
    first = post(keyed, "Before", '"e"')
    keyed.kill("posts")
    keyed.restart("posts")
    assert post(keyed, "Before", '"e"').content == first.content


def test_with_the_switch_off_a_key_means_nothing(blog: RunningBlog) -> None:
    assert len({post(blog, "Hello", '"a"').json()["id"] for _ in range(2)}) == 2
