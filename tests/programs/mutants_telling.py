"""Bugs of services that publish and consume: in the store, inbox, listeners and handlers."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from lab.domain.errors import Invalid, NotFound
from lab.domain.events import CommentCreated, CommentModerated, CommentUpdated
from lab.domain.model import new_id
from tests.programs.breaking import (
    Later,
    break_handler,
    break_listener,
    divide_transactions,
    one_in,
)

# ── The store: transactions that are not atomic


def acknowledges_before_the_commit(program: ModuleType) -> None:
    divide_transactions(("execute", "tell"), Later())


def tells_after_the_transaction(program: ModuleType) -> None:
    divide_transactions(("tell",), Later())


def notes_the_offset_before_the_rows(program: ModuleType) -> None:
    divide_transactions(("execute",), Later())


def notes_the_offset_after_the_rows(program: ModuleType) -> None:
    divide_transactions(("set_offset", "insert_unseen"), Later())


def acknowledges_what_it_rolled_back(program: ModuleType) -> None:
    def wrong(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_comment(post_id: str, draft: Any) -> Any:
            if not one_in(10, draft.content):
                return create(post_id, draft)
            return program.Comment(
                id=new_id(), post_id=post_id, content=draft.content, status="pending"
            )

        return create_comment

    break_handler(program.service, "POST", "/posts/{post_id}/comments", wrong)


# ── The inbox and the listeners


def _mishears(
    kind: type, wrong: Callable[[Callable[..., None]], Callable[..., None]]
) -> Callable[[ModuleType], None]:
    return lambda program: break_listener(program.service, kind, wrong)


def _twice(listener: Callable[..., None]) -> Callable[..., None]:
    def heard(event: Any, change: Any) -> None:
        listener(event, change)
        listener(event, change)

    return heard


def _not_all(listener: Callable[..., None]) -> Callable[..., None]:
    def heard(event: Any, change: Any) -> None:
        if not one_in(5, event.id):
            listener(event, change)

    return heard


def _never(listener: Callable[..., None]) -> Callable[..., None]:
    return lambda event, change: None


def _only_passes_it_on(listener: Callable[..., None]) -> Callable[..., None]:
    return lambda verdict, change: change.tell(CommentUpdated(**verdict.model_dump()))


def _tells_the_opposite(listener: Callable[..., None]) -> Callable[..., None]:
    def judge(comment: Any, change: Any) -> None:
        class Mouth:
            def execute(self, *words: Any) -> None:
                change.execute(*words)

            def tell(self, verdict: CommentModerated) -> None:
                other = "approved" if verdict.status == "rejected" else "rejected"
                change.tell(verdict.model_copy(update={"status": other}))

        listener(comment, Mouth() if one_in(4, comment.id) else change)

    return judge


def applies_the_newer_event_first(program: ModuleType) -> None:
    """Holds back a new comment until its update arrives, and then overwrites the update."""
    held: dict[str, CommentCreated] = {}

    def updated(listener: Callable[..., None]) -> Callable[..., None]:
        def heard(event: CommentUpdated, change: Any) -> None:
            listener(event, change)
            if event.id in held:
                # an upsert that does not check which of the two is newer
                older = held.pop(event.id)
                change.execute(
                    "UPDATE comments SET status = ? WHERE id = ?", older.status, older.id
                )

        return heard

    def created(listener: Callable[..., None]) -> Callable[..., None]:
        def heard(event: CommentCreated, change: Any) -> None:
            if one_in(5, event.id):
                held[event.id] = event
            else:
                listener(event, change)

        return heard

    break_listener(program.service, CommentUpdated, updated)
    break_listener(program.service, CommentCreated, created)


# ── The handlers


def refuses_after_the_commit(program: ModuleType) -> None:
    def wrong(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_comment(post_id: str, draft: Any) -> Any:
            comment = create(post_id, draft)
            if one_in(10, draft.content):
                raise Invalid("content: not as it should be.", field="content")
            return comment

        return create_comment

    break_handler(program.service, "POST", "/posts/{post_id}/comments", wrong)


def keeps_what_it_says_it_does_not_know(program: ModuleType) -> None:
    def wrong(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_comment(post_id: str, draft: Any) -> Any:
            try:
                return create(post_id, draft)
            except NotFound:
                comment = program.Comment(
                    id=new_id(), post_id=post_id, content=draft.content, status="pending"
                )
                with program.service.store.transaction() as change:
                    change.execute(program.INSERT, *comment.model_dump().values())
                raise

        return create_comment

    break_handler(program.service, "POST", "/posts/{post_id}/comments", wrong)


BUGS: dict[str, Callable[[ModuleType], None]] = {
    "acknowledges before the commit": acknowledges_before_the_commit,
    "tells after the transaction": tells_after_the_transaction,
    "notes the offset before the rows": notes_the_offset_before_the_rows,
    "notes the offset after the rows": notes_the_offset_after_the_rows,
    "acknowledges what it rolled back": acknowledges_what_it_rolled_back,
    "applies an event twice": _mishears(CommentCreated, _twice),
    "skips one event in five": _mishears(CommentUpdated, _not_all),
    "never hears of updates": _mishears(CommentUpdated, _never),
    "forgets the verdict": _mishears(CommentModerated, _only_passes_it_on),
    "tells another verdict than it keeps": _mishears(CommentCreated, _tells_the_opposite),
    "applies the newer event first": applies_the_newer_event_first,
    "refuses after the commit": refuses_after_the_commit,
    "keeps what it says it does not know": keeps_what_it_says_it_does_not_know,
}
