"""The chain services in this process: what they store if a callee refuses or is silent."""

from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from lab.domain.errors import TimedOut
from lab.domain.model import CommentDraft, PostDraft
from lab.service import idempotency
from lab.sync_chain import comments, posts
from tests.support.opened import open_database


@pytest.mark.parametrize("asked", [["posts"], ["posts", "moderation"]])
def test_a_comment_is_kept_only_when_all_say_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    called: list[str] = []

    def ask(callee: str, *question: Any) -> None:
        called.append(callee)
        if callee == asked[-1]:
            raise TimedOut("No answer.")

    monkeypatch.setattr(comments.service, "transport", ask)
    with open_database(comments.service, tmp_path):
        with pytest.raises(TimedOut):
            comments.create_comment("p", CommentDraft(content="Hello"))
        assert comments.list_comments("p") == []
    assert called == asked


def test_a_post_sent_again_under_its_key_is_kept_once(tmp_path: Path) -> None:
    once = idempotency.IdempotencyFilter(lambda: posts.service.store).wrap(posts.create_post)

    def send() -> None:
        with idempotency.use_key("a key"):
            once(draft=PostDraft(title="Hello"))

    with open_database(posts.service, tmp_path):
        for _ in range(2):
            copy_context().run(send)
        assert [post.title for post in posts.list_posts()] == ["Hello"]
