"""The control arrangement in this process: a request is one transaction, and no text is copied."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from lab.domain.model import CommentDraft, PostDraft
from lab.service import idempotency
from lab.service.service import Service
from lab.sync_chain import comments, moderation, posts
from lab.sync_chain.ask.call import CallTransport
from lab.sync_chain.monolith import MEMBERS, RequestStore, _in_one_transaction


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RequestStore]:
    whole = Service("monolith", "monolith", "".join(part.schema for part in MEMBERS))
    opened = whole.open_store(tmp_path, RequestStore)
    assert isinstance(opened, RequestStore)
    transport = CallTransport({part.name: part for part in MEMBERS})
    for part in MEMBERS:
        monkeypatch.setattr(part, "_store", opened)
        monkeypatch.setattr(part, "transport", transport)
    yield opened
    opened.close()


def counts() -> tuple[int, int]:
    stored = comments.service.store.rows("SELECT count(*) AS n FROM comments")[0]["n"]
    return stored, len(moderation.list_verdicts())


def test_a_comment_and_its_verdict_are_one_transaction(store: RequestStore) -> None:
    post = posts.create_post(PostDraft(title="Hello"))
    commits: list[str] = []
    store._writer.set_trace_callback(
        lambda statement: commits.append(statement) if statement == "COMMIT" else None
    )
    create = _in_one_transaction(store, comments.create_comment)
    create(post_id=post.id, draft=CommentDraft(content="Well said"))
    assert commits == ["COMMIT"]
    assert counts() == (1, 1)


def test_a_comment_that_fails_leaves_no_verdict(
    store: RequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = posts.create_post(PostDraft(title="Hello"))

    def refuse(*_: Any) -> None:
        raise OSError("The disk is full.")

    monkeypatch.setattr(comments.service, "remember_answer", refuse)
    create = _in_one_transaction(store, comments.create_comment)
    with pytest.raises(OSError, match="The disk is full"):
        create(post_id=post.id, draft=CommentDraft(content="Well said"))
    assert counts() == (0, 0)


def test_a_request_sent_again_is_stored_once(store: RequestStore) -> None:
    create = _in_one_transaction(store, posts.create_post)
    once = idempotency.IdempotencyFilter(lambda: store).wrap(create)
    for _ in range(2):
        with idempotency.use_key("a key"):
            once(draft=PostDraft(title="Hello"))
    assert len(posts.list_posts()) == 1


def test_a_call_writes_and_reads_no_text(
    store: RequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = posts.create_post(PostDraft(title="Hello"))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a call between functions needs no JSON")

    monkeypatch.setattr(pydantic.BaseModel, "model_dump_json", refuse)
    monkeypatch.setattr(pydantic.BaseModel, "model_validate_json", refuse)
    comments.create_comment(post.id, CommentDraft(content="Well said"))
    assert counts() == (1, 1)
