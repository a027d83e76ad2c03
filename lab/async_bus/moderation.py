"""Moderation: owns the rule, and a record of every verdict.

Calls:     nothing
Publishes: CommentModerated
Consumes:  CommentCreated (there is a comment to judge)
"""

from lab.async_bus.stack import BusService, Change, program
from lab.domain.events import CommentCreated, CommentModerated
from lab.domain.model import Limit, ModerationRecord, RecordNumber, moderate_content

SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    content TEXT NOT NULL,
    status  TEXT NOT NULL
);
"""
INSERT = "INSERT INTO verdicts VALUES (?, ?)"

service = BusService("moderation", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────

# No service waits for a verdict; clients may read the verdicts.


@service.get("/verdicts", local=True)
def list_verdicts(limit: Limit = 20, after: RecordNumber = 0) -> list[ModerationRecord]:
    select = "SELECT rowid AS number, * FROM verdicts WHERE rowid > ? ORDER BY rowid LIMIT ?"
    rows = service.store.rows(select, after, limit)
    return [ModerationRecord(**row) for row in rows]


# ── How we learn what others know ─────────────────────────────────────────


@service.on(CommentCreated)
def judge(comment: CommentCreated, change: Change) -> None:
    status = moderate_content(comment.content)
    change.execute(INSERT, comment.content, status)
    change.tell(CommentModerated(**comment.model_dump() | {"status": status}))


main = program(service)

if __name__ == "__main__":
    main()
