"""Bugs of calling services, and bugs that a client sees in any arrangement."""

import secrets
from collections.abc import Callable
from types import ModuleType
from typing import Any

from lab.domain.errors import DependencyFailed, TimedOut
from lab.domain.model import new_id
from lab.sync_chain.stack import ChainService
from tests.programs.breaking import break_handler

COMMENTS = "/posts/{post_id}/comments"
STALE_ANSWERS = 2


def stores_before_it_asks(program: ModuleType) -> None:
    """Stores the comment as pending, asks `moderation`, and then updates the status."""

    def wrong(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_comment(post_id: str, draft: Any) -> Any:
            program.learn_post(post_id)
            comment = _keep(program, post_id, draft)
            status = program.moderate(draft)
            with program.service.store.transaction() as change:
                change.execute("UPDATE comments SET status = ? WHERE id = ?", status, comment.id)
            return comment.model_copy(update={"status": status})

        return create_comment

    break_handler(program.service, "POST", COMMENTS, wrong)


def calls_a_timeout_a_refusal(program: ModuleType) -> None:
    """Reports a timeout as a definite refusal, and stores the refused comment all the same."""

    def wrong(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_comment(post_id: str, draft: Any) -> Any:
            try:
                return create(post_id, draft)
            except TimedOut as error:
                _keep(program, post_id, draft)
                error.definite = True
                raise

        return create_comment

    break_handler(program.service, "POST", COMMENTS, wrong)


def _keep(program: ModuleType, post_id: str, draft: Any) -> Any:
    comment = program.Comment(id=new_id(), post_id=post_id, content=draft.content, status="pending")
    with program.service.store.transaction() as change:
        change.execute(program.INSERT, *comment.model_dump().values())
    return comment


def asks_again_when_nobody_answers(program: ModuleType) -> None:
    ask = ChainService.ask

    def ask_again(service: ChainService, *question: Any, **query: Any) -> Any:
        try:
            return ask(service, *question, **query)
        except TimedOut:
            return ask(service, *question, **query)

    ChainService.ask = ask_again  # type: ignore[method-assign]


def hides_comments_it_can_not_get(program: ModuleType) -> None:
    learn = program.learn_comments

    def learn_comments(posts: list[Any]) -> list[Any]:
        try:
            found: list[Any] = learn(posts)
        except DependencyFailed:
            return []
        return found

    program.learn_comments = learn_comments  # type: ignore[attr-defined]


def shows_what_it_had_before(program: ModuleType) -> None:
    """A cache of the feed: every other read gets the cached answer, and writes do not clear it."""
    cached: dict[tuple[int, str], tuple[Any, int]] = {}

    def wrong(get: Callable[..., Any]) -> Callable[..., Any]:
        def get_feed(limit: int, before: str) -> Any:
            feed, left = cached.get((limit, before), (None, 0))
            fresh = get(limit, before)
            if left:
                cached[limit, before] = feed, left - 1
                return feed if left % 2 else fresh
            cached[limit, before] = fresh, 2 * STALE_ANSWERS
            return fresh

        return get_feed

    break_handler(program.service, "GET", "/feed", wrong)


def shows_comments_newest_first(program: ModuleType) -> None:
    feed_of = program.feed_of
    program.feed_of = lambda posts, comments: feed_of(posts, comments[::-1])  # type: ignore[attr-defined]


def leaves_out_the_rejected(program: ModuleType) -> None:
    feed_of = program.feed_of
    program.feed_of = lambda posts, comments: feed_of(  # type: ignore[attr-defined]
        posts, [one for one in comments if one.status != "rejected"]
    )


def stores_a_post_twice(program: ModuleType) -> None:
    def wrong(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_post(draft: Any) -> Any:
            create(draft)
            return create(draft)

        return create_post

    break_handler(program.service, "POST", "/posts", wrong)


def gives_ids_without_order(program: ModuleType) -> None:
    program.new_id = lambda: f"1{secrets.token_hex(7)[1:]}"  # type: ignore[attr-defined]


BUGS: dict[str, Callable[[ModuleType], None]] = {
    "stores before it asks": stores_before_it_asks,
    "calls a timeout a refusal": calls_a_timeout_a_refusal,
    "asks again when nobody answers": asks_again_when_nobody_answers,
    "hides comments it can't get": hides_comments_it_can_not_get,
    "shows what it had before": shows_what_it_had_before,
    "shows comments newest first": shows_comments_newest_first,
    "leaves out the rejected": leaves_out_the_rejected,
    "stores a post twice": stores_a_post_twice,
    "gives ids without order": gives_ids_without_order,
}
