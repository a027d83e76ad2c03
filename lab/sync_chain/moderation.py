"""Moderation: owns the rule, and a record of every verdict.

Calls:     nothing
Publishes: nothing; whoever needs a verdict asks for it
Consumes:  nothing
"""

from lab.domain.model import (
    CommentDraft,
    Limit,
    ModerationRecord,
    ModerationVerdict,
    RecordNumber,
    moderate_content,
)
from lab.sync_chain.stack import ChainService, program

SCHEMA = """
CREATE TABLE IF NOT EXISTS verdicts (
    content TEXT NOT NULL,
    status  TEXT NOT NULL
);
"""
INSERT = "INSERT INTO verdicts VALUES (?, ?)"

service = ChainService("moderation", SCHEMA)

# ── What a client may ask of us ───────────────────────────────────────────


@service.post("/verdicts", status=200)
def judge(draft: CommentDraft) -> ModerationVerdict:
    verdict = ModerationVerdict(status=moderate_content(draft.content))
    with service.store.transaction() as change:
        change.execute(INSERT, draft.content, verdict.status)
    return verdict


@service.get("/verdicts", local=True)
def list_verdicts(limit: Limit = 20, after: RecordNumber = 0) -> list[ModerationRecord]:
    select = "SELECT rowid AS number, * FROM verdicts WHERE rowid > ? ORDER BY rowid LIMIT ?"
    rows = service.store.rows(select, after, limit)
    return [ModerationRecord(**row) for row in rows]


# ── How we learn what others know ─────────────────────────────────────────

# We need nothing that others know: the comment comes with the question.

main = program(service)

if __name__ == "__main__":
    main()
