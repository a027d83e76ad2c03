"""The bus services inside this process: what they store of an event, and what they publish."""

from contextlib import ExitStack
from pathlib import Path

from lab.async_bus import comments, moderation, query
from lab.async_bus.dead_letters import read_dead_letters, redrive, store_dead_letter
from lab.async_bus.inbox import Inbox
from lab.async_bus.stack import BusService
from lab.domain.events import (
    CommentCreated,
    CommentUpdated,
    Envelope,
    Event,
    PostCreated,
)
from lab.domain.model import CommentDraft
from lab.service.tracing import SpanLog
from tests.support.consumers import envelope
from tests.support.opened import open_database

POST = PostCreated(id="p", title="A post")


def consume(service: BusService, *events: Event) -> None:
    inbox = Inbox(service.store, service.listeners, SpanLog(None, "tests"))
    inbox.apply_batch(
        [envelope(one, number) for number, one in enumerate(events, inbox.position + 1)]
    )


def read_published(service: BusService, after: int = 0) -> list[Event]:
    events = [Envelope.from_json(line).event() for _, line in service.store.read_outbox(after, 100)]
    return [event for event in events if event]


def test_a_comment_and_its_event_are_one_commit(tmp_path: Path) -> None:
    with open_database(comments.service, tmp_path):
        consume(comments.service, POST)
        done: list[str] = []
        comments.service.store._writer.set_trace_callback(done.append)
        kept = comments.create_comment("p", CommentDraft(content="Hello"))
        assert done.count("COMMIT") == 1
        assert [event.model_dump() for event in read_published(comments.service)] == [
            kept.model_dump()
        ]


def test_a_verdict_is_recorded_kept_and_shown_alike(tmp_path: Path) -> None:
    with ExitStack() as held:
        for service in (comments.service, moderation.service, query.service):
            held.enter_context(open_database(service, tmp_path))
        for service in (comments.service, query.service):
            consume(service, POST)
        for content in ("an orange", "an apple"):
            comments.create_comment("p", CommentDraft(content=content))
        created = read_published(comments.service)
        consume(moderation.service, *created)
        recorded = [one.status for one in moderation.list_verdicts()]
        assert recorded == ["rejected", "approved"]
        consume(comments.service, *read_published(moderation.service))
        kept = comments.list_comments("p")
        assert [one.status for one in kept] == recorded
        consume(query.service, *created, *read_published(comments.service, after=len(created)))
        assert query.get_feed()[0].comments == kept


def test_a_redriven_comment_keeps_the_status_it_got_meanwhile(tmp_path: Path) -> None:
    fields = {"id": "c", "post_id": "p", "content": "Hello"}
    with open_database(query.service, tmp_path):
        store = query.service.store
        inbox = Inbox(store, query.service.listeners, SpanLog(None, "tests"), dead_letter=True)
        created = envelope(CommentCreated(**fields), 2)
        with store.transaction() as change:
            store_dead_letter(change, created, "no room for comments", 5)
            change.insert_unseen([created.id])
        inbox.apply_batch([envelope(POST, 1)])
        inbox.position = 2
        inbox.apply_batch([envelope(CommentUpdated(**fields, status="approved"), 3)])
        redrive(store, inbox.redrive)
        assert read_dead_letters(store) == []
        assert [comment.status for comment in query.get_feed()[0].comments] == ["approved"]
